/* QuickJS-NG as a wasmrun function: modules that a build put in are evaluated at the start-up, and their exports answer events. */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "host.h"

/* QuickJS in this file: its time is the host's, what it prints for its own debugging goes nowhere, and what its header
   does not tell can be reached (how strings are stored, what a module imports, where the stack ends). */
#define gettimeofday host_gettimeofday
#define clock_gettime(clock, time) host_monotonic(time)
#define printf(...) ((void)0)
#define fprintf(...) ((void)0)
#define putchar(c) ((void)0)
#define fputs(...) ((void)0)
#define fwrite(...) ((void)0)
#define fflush(...) ((void)0)
#include "quickjs.c"

#include "low.h"
#include "heap.h"
#include "values.h"
#include "natives.h"
#include "modules.h"

static JSContext *ctx;
static JSRuntime *rt;

typedef struct {
    JSValue function;
    bool is_raw, is_exact;
} Handler;

static Handler *handlers;
static JSValue start_error = JS_UNINITIALIZED; /* what the start-up threw, for every event to report */

/* ---- promises */

typedef struct {
    JSValue promise, reason;
} Rejection;

static Rejection *rejections;
static uint32_t rejection_count;

static void on_rejection(JSContext *context, JSValueConst promise, JSValueConst reason, bool is_handled, void *opaque) {
    (void)opaque;
    if (is_handled) {
        for (uint32_t i = 0; i < rejection_count; i++) {
            if (JS_VALUE_GET_PTR(rejections[i].promise) != JS_VALUE_GET_PTR(promise)) continue;
            JS_FreeValue(context, rejections[i].promise);
            JS_FreeValue(context, rejections[i].reason);
            rejections[i] = rejections[--rejection_count];
            return;
        }
    } else {
        Rejection *more = realloc(rejections, (rejection_count + 1) * sizeof *rejections);
        if (!more) return;
        rejections = more;
        rejections[rejection_count++] = (Rejection){js_dup(promise), js_dup(reason)};
    }
}

static void log_error(const char *what, JSValueConst error) {
    JSValue text = JS_Call(ctx, inspect, JS_UNDEFINED, 1, &error);
    const char *shown = JS_IsException(text) ? NULL : JS_ToCString(ctx, text);
    Writer line = {0};
    uint8_t *at;
    if (shown && (at = reserve(ctx, &line, (uint32_t)(strlen(what) + strlen(shown))))) {
        memcpy(at, what, strlen(what));
        memcpy(at + strlen(what), shown, strlen(shown));
        wasmrun_log(4, (const char *)at, (uint32_t)(strlen(what) + strlen(shown)));
    }
    give(line.data);
    JS_FreeCString(ctx, shown);
    JS_FreeValue(ctx, text);
    JS_FreeValue(ctx, JS_GetException(ctx));
}

static void log_rejections(void) {
    while (rejection_count) {
        Rejection last = rejections[--rejection_count];
        log_error("a promise was rejected, and nothing handles it: ", last.reason);
        JS_FreeValue(ctx, last.promise);
        JS_FreeValue(ctx, last.reason);
    }
}

static void run_jobs(void) {
    JSContext *of;
    int done;
    while ((done = JS_ExecutePendingJob(rt, &of))) {
        if (done < 0) {
            JSValue error = JS_GetException(ctx);
            log_error("a job failed: ", error);
            JS_FreeValue(ctx, error);
        }
    }
}

/* Those that came from the same error are told with it. */
static void forget_rejections(JSValueConst reason) {
    for (uint32_t i = 0; i < rejection_count;) {
        if (JS_IsStrictEqual(ctx, rejections[i].reason, reason)) {
            on_rejection(ctx, rejections[i].promise, JS_UNDEFINED, true, NULL);
        } else {
            i++;
        }
    }
}

/* What a promise comes to, once nothing is left to run; any other value as it is. The value is the callee's. */
static JSValue settle(JSValue value, const char *whose) {
    JSValue result;
    if (JS_IsException(value)) {
        JSValue error = JS_GetException(ctx);
        run_jobs();
        log_rejections();
        return JS_Throw(ctx, error);
    }
    run_jobs();
    if (!JS_IsPromise(value)) {
        log_rejections();
        return value;
    }
    result = JS_PromiseResult(ctx, value);
    if (JS_PromiseState(ctx, value) == JS_PROMISE_REJECTED) forget_rejections(result);
    log_rejections();
    switch (JS_PromiseState(ctx, value)) {
    case JS_PROMISE_FULFILLED: break;
    case JS_PROMISE_REJECTED: result = JS_Throw(ctx, result); break;
    default: result = JS_ThrowTypeError(ctx, "the promise of %s never settles: nothing is left that could do it", whose);
    }
    JS_FreeValue(ctx, value);
    return result;
}

/* ---- errors */

static const uint8_t NO_MEMORY[] = "\x92\x01\x82\xa4type\xabOutOfMemory\xa7message\xb9JavaScript's heap is full";

static uint64_t packed(const uint8_t *data, uint32_t length) { return (uint64_t)(uintptr_t)data << 32 | length; }

/* A property of what was thrown as text; *fallback* where it has none. */
static int write_property(JSValueConst error, const char *name, const char *fallback) {
    JSValue value = JS_IsObject(error) ? JS_GetPropertyStr(ctx, error, name) : JS_UNDEFINED;
    int done;
    if (JS_IsException(value)) {
        JS_FreeValue(ctx, JS_GetException(ctx));
        value = JS_UNDEFINED;
    }
    done = JS_IsString(value) ? write_string(ctx, &low->answer, value, true) : write_text(ctx, &low->answer, fallback);
    JS_FreeValue(ctx, value);
    return done;
}

/* Each line of a stack, as QuickJS writes it, or each item of an array. */
static int write_stack(JSValueConst error) {
    JSValue stack = JS_IsObject(error) ? JS_GetPropertyStr(ctx, error, "stack") : JS_UNDEFINED;
    uint32_t head = low->answer.used, lines = 0;
    const char *text = NULL;
    int done = write_head(ctx, &low->answer, 0xdd, 0, 4);
    if (JS_IsException(stack)) {
        JS_FreeValue(ctx, JS_GetException(ctx));
    } else if (JS_IsArray(stack)) {
        low->answer.used = head;
        done = write_value(ctx, &low->answer, stack);
        lines = UINT32_MAX;
    } else if (done == 0 && JS_IsString(stack) && (text = JS_ToCString(ctx, stack))) {
        for (const char *line = text; *line && done == 0;) {
            size_t indent = strspn(line, " \n"), length;
            if (starts_with(line + indent, "at ")) indent += 3;
            length = strcspn(line + indent, "\n");
            uint8_t *at;
            line += indent;
            if (!length) break;
            done = write_length(ctx, &low->answer, length, 0xa0, 31, OF_TEXT);
            if (done < 0 || !(at = reserve(ctx, &low->answer, (uint32_t)length))) {
                done = -1;
                break;
            }
            memcpy(at, line, length);
            low->answer.used += (uint32_t)length;
            lines++;
            line += length;
        }
    }
    if (done == 0 && lines != UINT32_MAX) put_bits(low->answer.data + head + 1, lines, 4);
    JS_FreeCString(ctx, text);
    JS_FreeValue(ctx, stack);
    return done;
}

/* What QuickJS throws where there is no memory for an error is null. */
static bool is_out_of_memory(JSValueConst error) {
    JSValue message = JS_IsError(error) ? JS_GetPropertyStr(ctx, error, "message") : JS_UNDEFINED;
    const char *text = JS_IsString(message) ? JS_ToCString(ctx, message) : NULL;
    bool is_it = text ? !strcmp(text, "out of memory") : JS_IsNull(error) && low->has_run_out;
    JS_FreeCString(ctx, text);
    JS_FreeValue(ctx, message);
    return is_it;
}

/* The answer that reports what was thrown. Whatever goes wrong meanwhile, there is one. */
static uint64_t report(JSValueConst error) {
    static const uint8_t MAP_OF_3[] = {0x92, 0x01, 0x83};
    uint8_t *at;
    int done = -1;
    low->answer.used = 0;
    at = reserve(ctx, &low->answer, sizeof MAP_OF_3);
    if (!at || is_out_of_memory(error)) goto no_memory;
    memcpy(at, MAP_OF_3, sizeof MAP_OF_3);
    low->answer.used = sizeof MAP_OF_3;
    if (write_text(ctx, &low->answer, "type") < 0 || write_property(error, "name", "Error") < 0) goto end;
    if (write_text(ctx, &low->answer, "message") < 0) goto end;
    if (JS_IsError(error)) {
        done = write_property(error, "message", "");
    } else {
        /* Anything can be thrown. */
        JSValue text = JS_Call(ctx, inspect, JS_UNDEFINED, 1, &error);
        if (JS_IsException(text)) {
            JS_FreeValue(ctx, JS_GetException(ctx));
            text = JS_NewString(ctx, "what was thrown cannot be shown");
        }
        done = write_string(ctx, &low->answer, text, true);
        JS_FreeValue(ctx, text);
    }
    if (done == 0) done = write_text(ctx, &low->answer, "stack");
    if (done == 0) done = write_stack(error);
end:
    JS_FreeValue(ctx, JS_GetException(ctx));
    if (done == 0) return packed(low->answer.data, low->answer.used);
no_memory:
    return packed(NO_MEMORY, sizeof NO_MEMORY - 1);
}

static uint64_t report_exception(void) {
    uint64_t reported;
    low->event_values[2] = JS_GetException(ctx);
    reported = report(low->event_values[2]);
    return reported;
}

/* An error that is not JavaScript's. */
static uint64_t report_text(const char *type, const char *message) {
    static const uint8_t MAP_OF_2[] = {0x92, 0x01, 0x82};
    uint8_t *at;
    low->answer.used = 0;
    at = reserve(ctx, &low->answer, sizeof MAP_OF_2);
    if (!at) return packed(NO_MEMORY, sizeof NO_MEMORY - 1);
    memcpy(at, MAP_OF_2, sizeof MAP_OF_2);
    low->answer.used = sizeof MAP_OF_2;
    if (write_text(ctx, &low->answer, "type") < 0 || write_text(ctx, &low->answer, type) < 0 || write_text(ctx, &low->answer, "message") < 0
        || write_text(ctx, &low->answer, message) < 0) return packed(NO_MEMORY, sizeof NO_MEMORY - 1);
    return packed(low->answer.data, low->answer.used);
}

/* ---- the start-up */

static JSValue like_a_context;

/* What each event would make first: an object with the names of a context. */
static void name_contexts(void) {
    static const char *const NAMES[] = {
        "function", "version", "memoryLimitBytes", "fuelLimit", "requestId", "deadlineMs", "clientContext", "tenantId", "traceId",
    };
    most_low = 40;
    like_a_context = JS_NewObject(ctx);
    for (uint32_t i = 0; i < countof(NAMES); i++) JS_DefinePropertyValueStr(ctx, like_a_context, NAMES[i], JS_NULL, JS_PROP_C_W_E);
    most_low = 0;
}

static bool make_context(void) {
    begin_language();
    rt = JS_NewRuntime2(&ALLOCATOR, NULL);
    if (!rt) return false;
    is_making_context = true;
    ctx = JS_NewContextRaw(rt);
    if (!ctx || JS_AddIntrinsicBaseObjects(ctx) || JS_AddIntrinsicDate(ctx) || JS_AddIntrinsicEval(ctx)
        || JS_AddIntrinsicRegExp(ctx) || JS_AddIntrinsicJSON(ctx) || JS_AddIntrinsicProxy(ctx) || JS_AddIntrinsicMapSet(ctx)
        || JS_AddIntrinsicTypedArrays(ctx) || JS_AddIntrinsicPromise(ctx) || JS_AddIntrinsicWeakRef(ctx)
        || JS_AddIntrinsicDOMException(ctx)) return false;
    is_making_context = false;
    name_contexts();
    set_stack_limits(rt, sources.stack);
    JS_SetModuleLoaderFunc2(rt, normalize, load, NULL, NULL);
    JS_SetHostPromiseRejectionTracker(rt, on_rejection, NULL);
    return true;
}

static JSModuleDef *evaluate(JSModuleDef *module, const char *whose) {
    JSValue done;
    if (!module) return NULL;
    done = settle(JS_EvalFunction(ctx, js_dup(JS_MKPTR(JS_TAG_MODULE, module))), whose);
    JS_FreeValue(ctx, done);
    return JS_IsException(done) ? NULL : module;
}

/* The function's main module, evaluated; nothing where that failed, and an exception is thrown. */
static JSModuleDef *run_modules(void) {
    JSValue math, global, symbol;
    JSModuleDef *module;
    char *path;
    symbol = JS_NewSymbol(ctx, "wasmrun.exact", false);
    exact_mark = JS_ValueToAtom(ctx, symbol);
    JS_FreeValue(ctx, symbol);
    global = JS_GetGlobalObject(ctx);
    math = JS_GetPropertyStr(ctx, global, "Math");
    JS_DefinePropertyValueStr(ctx, math, "random", JS_NewCFunction(ctx, math_random, "random", 0), JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    JS_FreeValue(ctx, math);
    JS_FreeValue(ctx, global);
    phase = EVALUATING;
    if (!evaluate(compile(ctx, PRELUDE_NAME, PRELUDE, sizeof PRELUDE - 1), PRELUDE_NAME)) return NULL;
    begin_own();
    path = strndup(sources.main, sources.main_length);
    if (!path) {
        JS_ThrowOutOfMemory(ctx);
        return NULL;
    }
    module = evaluate(load(ctx, path, NULL, JS_UNDEFINED), path);
    free(path);
    return module;
}

static bool ends_in_raw(const char *name, uint32_t length) { return length >= 4 && !memcmp(name + length - 4, "_raw", 4); }

static bool find_handlers(JSValueConst exports) {
    Reader from = sources.handlers;
    handlers = calloc(sources.handler_count + 1, sizeof *handlers);
    if (!handlers) {
        JS_ThrowOutOfMemory(ctx);
        return false;
    }
    for (uint32_t i = 0; i < sources.handler_count; i++) {
        const char *name;
        uint32_t length;
        JSAtom atom;
        JSValue function, mark;
        read_text(&from, &name, &length);
        atom = JS_NewAtomLen(ctx, name, length);
        function = JS_GetProperty(ctx, exports, atom);
        JS_FreeAtom(ctx, atom);
        if (!JS_IsFunction(ctx, function)) {
            if (!JS_IsException(function)) JS_ThrowTypeError(ctx, "the export %.*s is no function, which it was at the build", (int)length, name);
            JS_FreeValue(ctx, function);
            return false;
        }
        mark = JS_GetProperty(ctx, function, exact_mark);
        handlers[i] = (Handler){function, ends_in_raw(name, length), JS_ToBool(ctx, mark)};
        JS_FreeValue(ctx, mark);
    }
    return true;
}

static bool run_init(JSValueConst exports) {
    JSValue init = JS_GetPropertyStr(ctx, exports, "init"), done;
    bool is_good = true;
    phase = RUNNING;
    if (JS_IsFunction(ctx, init)) {
        done = settle(JS_Call(ctx, init, JS_UNDEFINED, 0, NULL), "init");
        is_good = !JS_IsException(done);
        JS_FreeValue(ctx, done);
    }
    JS_FreeValue(ctx, init);
    return is_good;
}

static void prepare_events(void) {
    JS_RunGC(rt);
    JS_SetGCThreshold(rt, rt->malloc_state.malloc_size + GARBAGE_BYTES);
    low->answer = low->request = (Writer){0};
    begin_events();
    /* Of the objects that there are, the last one is written to when there is another: it is where that will be. */
    JS_NewObject(ctx);
}

EXPORT("wasmrun_init") void wasmrun_init(void) {
    uint32_t length = sources_bytes();
    uint8_t *data = length ? malloc(length) : NULL;
    Reader from = {data, data + length, NULL};
    JSModuleDef *module;
    bool is_good = false;
    if (!length) return;
    if (!data) __builtin_trap();
    sources_copy(data);
    if (!read_sources(&from) || !make_context()) __builtin_trap();
    module = run_modules();
    if (module) {
        JSValue exports = JS_GetModuleNamespace(ctx, module);
        is_good = !JS_IsException(exports) && find_handlers(exports) && run_init(exports);
        JS_FreeValue(ctx, exports);
    }
    if (!is_good) start_error = JS_GetException(ctx);
    prepare_events();
}

EXPORT("wasmrun_resume") void wasmrun_resume(void) { forget_the_time(); }

/* ---- events */

static void end_event(void) {
    low->is_over = false;
    give(low->event_input);
    low->event_input = NULL;
    for (uint32_t i = 0; i < countof(low->event_values); i++) {
        JS_FreeValue(ctx, low->event_values[i]);
        low->event_values[i] = JS_UNDEFINED;
    }
}

EXPORT("wasmrun_alloc") void *wasmrun_alloc(uint32_t size) {
    if (low->is_over) end_event();
    return take(size ? size : 1);
}

EXPORT("wasmrun_free") void wasmrun_free(void *data, uint32_t length) {
    (void)data, (void)length;
    if (low->is_over) end_event();
}

/* request_id as requestId. */
static JSAtom camel(const uint8_t *name, uint32_t length) {
    char spelled[64];
    uint32_t used = 0;
    if (length > sizeof spelled) return JS_NewAtomLen(ctx, (const char *)name, length);
    for (uint32_t i = 0; i < length; i++) {
        if (name[i] == '_' && used && i + 1 < length && name[i + 1] >= 'a' && name[i + 1] <= 'z') {
            spelled[used++] = (char)(name[++i] - 32);
        } else {
            spelled[used++] = (char)name[i];
        }
    }
    return JS_NewAtomLen(ctx, spelled, used);
}

static JSValue read_context(Reader *from) {
    Head map = read_head(from);
    JSValue context;
    if (map.kind != MAP) return damaged(from, "the context is no map");
    context = JS_NewObject(ctx);
    for (uint64_t i = 0; i < map.bits && !JS_IsException(context); i++) {
        Head key = read_head(from);
        const uint8_t *name = from->at;
        JSValue value = JS_EXCEPTION;
        JSAtom atom;
        if (key.kind == TEXT) {
            from->at += key.bits;
            value = read_value(ctx, from);
        } else if (key.kind != DAMAGED) {
            damaged(from, "a key in the context is no text");
        }
        atom = JS_IsException(value) ? JS_ATOM_NULL : camel(name, (uint32_t)key.bits);
        if (atom == JS_ATOM_NULL || JS_DefinePropertyValue(ctx, context, atom, value, JS_PROP_C_W_E) < 0) {
            JS_FreeValue(ctx, context);
            context = JS_EXCEPTION;
        }
        JS_FreeAtom(ctx, atom);
    }
    return context;
}

static const char *read_input(const uint8_t *input, uint32_t length) {
    Reader from = {input, input + length, NULL};
    Head both = read_head(&from);
    JSValue value;
    if (both.kind != ARRAY || both.bits != 2) return from.problem ? from.problem : "the input is no array of event and context";
    value = read_value(ctx, &from);
    if (JS_IsException(value)) return from.problem;
    low->event_values[0] = value;
    low->is_exact = false;
    value = read_context(&from);
    if (JS_IsException(value)) return from.problem;
    low->event_values[1] = value;
    return from.at == from.end ? NULL : "more follows the input";
}

static uint64_t answer_value(JSValueConst value) {
    uint8_t *at;
    low->answer.used = 0;
    at = reserve(ctx, &low->answer, 2);
    if (!at) return report_exception();
    at[0] = 0x92;
    at[1] = 0;
    low->answer.used = 2;
    return write_value(ctx, &low->answer, value) < 0 ? report_exception() : packed(low->answer.data, low->answer.used);
}

/* The bytes of a view, which stay where they are until the event is over; those of a string otherwise. */
static uint64_t answer_raw(JSValueConst value) {
    size_t length = 0;
    uint8_t *bytes = NULL;
    low->answer.used = 0;
    if (JS_IsString(value)) {
        if (write_string(ctx, &low->answer, value, false) < 0) return 0;
        return packed(low->answer.data, low->answer.used);
    }
    if (JS_GetClassID(value) == JS_CLASS_ARRAY_BUFFER) bytes = JS_GetArrayBuffer(ctx, &length, value);
    else if (JS_GetClassID(value) == JS_CLASS_UINT8_ARRAY) bytes = JS_GetUint8Array(ctx, &length, value);
    else if (!JS_IsUndefined(value) && !JS_IsNull(value)) JS_ThrowTypeError(ctx, "a raw handler answers a Uint8Array or a string");
    return packed(bytes, (uint32_t)length);
}

static uint64_t handle_raw(Handler *handler, const uint8_t *input, uint32_t length) {
    uint64_t given = 0;
    low->event_values[0] = JS_NewUint8ArrayCopy(ctx, input, length);
    if (!JS_IsException(low->event_values[0])) {
        low->event_values[2] = settle(JS_Call(ctx, handler->function, JS_UNDEFINED, 1, (JSValueConst *)low->event_values), "the handler");
        if (!JS_IsException(low->event_values[2])) given = answer_raw(low->event_values[2]);
    }
    if (JS_HasException(ctx)) {
        /* The ABI has no other way to say it. */
        log_error("the raw handler failed: ", JS_GetException(ctx));
        __builtin_trap();
    }
    return given;
}

static uint64_t handle(Handler *handler, const uint8_t *input, uint32_t length) {
    const char *problem;
    low->is_exact = handler->is_exact;
    problem = read_input(input, length);
    if (problem) return report_text("InvalidInput", problem);
    if (JS_HasException(ctx)) return report_exception();
    low->is_exact = handler->is_exact;
    low->event_values[2] = settle(JS_Call(ctx, handler->function, JS_UNDEFINED, 2, (JSValueConst *)low->event_values), "the handler");
    return JS_IsException(low->event_values[2]) ? report_exception() : answer_value(low->event_values[2]);
}

EXPORT("wasmrun_dispatch") uint64_t wasmrun_dispatch(uint32_t index, uint8_t *input, uint32_t length) {
    uint64_t given;
    low->event_input = input;
    low->has_run_out = false;
    if (!JS_IsUninitialized(start_error)) {
        given = report(start_error);
    } else if (handlers[index].is_raw) {
        given = handle_raw(&handlers[index], input, length);
    } else {
        given = handle(&handlers[index], input, length);
    }
    low->is_over = true;
    return given;
}

/* ---- a build looks at sources, which are the event of this handler */

EXPORT("wasmrun_check") uint64_t wasmrun_check(uint8_t *input, uint32_t length) {
    Reader from = {input, input + length, NULL};
    Writer files = {0}, functions = {0}, names = {0};
    JSModuleDef *module;
    JSValue exports;
    JSPropertyEnum *properties;
    uint32_t count, handler_count = 0;
    uint8_t *at;
    if (!read_count(&from, &count) || !read_sources(&from)) return 0;
    if (!make_context()) return packed(NO_MEMORY, sizeof NO_MEMORY - 1);
    found_files = &files;
    found_host_functions = &functions;
    module = run_modules();
    if (!module) return report_exception();
    {
        struct list_head *element;
        bool is_http = false;
        list_for_each(element, &ctx->loaded_modules) is_http |= takes_http(ctx, list_entry(element, JSModuleDef, link));
        if (is_http) note_host_function(ctx, "http_request");
    }
    exports = JS_GetModuleNamespace(ctx, module);
    if (JS_GetOwnPropertyNames(ctx, &properties, &count, exports, JS_GPN_STRING_MASK) < 0) return report_exception();
    for (uint32_t i = 0; i < count; i++) {
        JSValue item = JS_GetProperty(ctx, exports, properties[i].atom), name = JS_AtomToString(ctx, properties[i].atom);
        if (JS_IsFunction(ctx, item) && write_string(ctx, &names, name, true) == 0) handler_count++;
        JS_FreeValue(ctx, item);
        JS_FreeValue(ctx, name);
    }
    /* [0, [files, host functions, functions that are exported]] */
    low->answer.used = 0;
    at = reserve(ctx, &low->answer, 3 + 15 + files.used + functions.used + names.used);
    if (!at) return report_exception();
    memcpy(at, "\x92\x00\x93", 3);
    low->answer.used = 3;
    const struct {
        Writer *of;
        uint32_t count;
    } parts[] = {{&files, found_file_count}, {&functions, found_host_function_count}, {&names, handler_count}};
    for (uint32_t i = 0; i < countof(parts); i++) {
        write_head(ctx, &low->answer, 0xdd, parts[i].count, 4);
        if (parts[i].of->used) memcpy(low->answer.data + low->answer.used, parts[i].of->data, parts[i].of->used);
        low->answer.used += parts[i].of->used;
    }
    return packed(low->answer.data, low->answer.used);
}

/* What the prelude gets from C, as the module "wasmrun:native"; and a Math.random whose seed is a sandbox's own. */

static enum { EVALUATING, RUNNING } phase;
static JSValue make_failure, inspect; /* of the prelude */
static JSAtom exact_mark;

/* The names of the host functions that a build left imports for, in the order of these. */
static struct {
    const char *name;
    uint32_t length;
} host_functions[32];
static uint32_t host_function_count;

static JSValue throw_failure(JSContext *ctx, JSValueConst type, JSValueConst message) {
    JSValueConst arguments[] = {type, message};
    JSValue error = JS_Call(ctx, make_failure, JS_UNDEFINED, 2, arguments);
    return JS_IsException(error) ? error : JS_Throw(ctx, error);
}

static JSValue failure_of_reply(JSContext *ctx, JSValueConst error) {
    JSValue type = JS_GetPropertyStr(ctx, error, "type"), message = JS_GetPropertyStr(ctx, error, "message");
    JSValue thrown = throw_failure(ctx, type, message);
    JS_FreeValue(ctx, type);
    JS_FreeValue(ctx, message);
    return thrown;
}

static JSValue call_slot(JSContext *ctx, uint32_t slot, JSValueConst value) {
    uint64_t packed;
    uint8_t *reply;
    JSValue answer;
    uint32_t length, used = low->request.used;
    bool is_error;
    Reader from;
    if (write_value(ctx, &low->request, value) < 0) {
        low->request.used = used;
        return JS_EXCEPTION;
    }
    packed = slots[slot](low->request.data + used, low->request.used - used);
    low->request.used = used;
    if (!packed) return JS_ThrowOutOfMemory(ctx);
    reply = (uint8_t *)(uintptr_t)(packed >> 32);
    length = (uint32_t)packed;
    from = (Reader){reply, reply + length, NULL};
    answer = JS_EXCEPTION;
    if (length > 2 && reply[0] == 0x92 && reply[1] <= 1) {
        is_error = reply[1] == 1;
        from.at += 2;
        answer = read_value(ctx, &from);
    } else {
        damaged(&from, NOT_VALUES);
    }
    give(reply);
    if (from.problem) return JS_ThrowInternalError(ctx, "the host's reply cannot be read: %s", from.problem);
    if (!JS_IsException(answer) && is_error) {
        JSValue thrown = failure_of_reply(ctx, answer);
        JS_FreeValue(ctx, answer);
        return thrown;
    }
    return answer;
}

static JSValue call_host(JSContext *ctx, JSValueConst name, JSValueConst value) {
    size_t length;
    const char *text;
    uint32_t slot = 0;
    if (phase == EVALUATING) {
        return JS_ThrowTypeError(ctx, "the host can be called in init and in handlers, not while modules are evaluated");
    }
    text = JS_ToCStringLen(ctx, &length, name);
    if (!text) return JS_EXCEPTION;
    while (slot < host_function_count
           && (host_functions[slot].length != length || memcmp(host_functions[slot].name, text, length))) slot++;
    JS_FreeCString(ctx, text);
    if (slot == host_function_count) return JS_ThrowTypeError(ctx, "the build found no import of this host function");
    return call_slot(ctx, slot, value);
}

static JSValue native_call(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    (void)this_value, (void)count;
    return call_host(ctx, arguments[0], arguments[1]);
}

static JSValue native_log(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    Writer text = {0};
    int32_t level;
    (void)this_value, (void)count;
    if (JS_ToInt32(ctx, &level, arguments[0]) < 0 || write_string(ctx, &text, arguments[1], false) < 0) {
        give(text.data);
        return JS_EXCEPTION;
    }
    wasmrun_log((uint32_t)level, (const char *)text.data, text.used);
    give(text.data);
    return JS_UNDEFINED;
}

static JSValue native_encode(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    Writer text = {0};
    JSValue bytes = JS_EXCEPTION;
    (void)this_value, (void)count;
    if (write_string(ctx, &text, arguments[0], false) == 0) bytes = JS_NewUint8ArrayCopy(ctx, text.data, text.used);
    give(text.data);
    return bytes;
}

static bool is_utf8(const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        uint8_t c = *at++;
        uint32_t more = c < 0x80 ? 0 : c < 0xc2 ? 4 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : 4;
        if (more == 4 || (size_t)(end - at) < more) return false;
        if (more) {
            uint8_t least = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
            if (at[0] < least || at[0] > most) return false;
            for (uint32_t i = 1; i < more; i++) {
                if (at[i] < 0x80 || at[i] > 0xbf) return false;
            }
            at += more;
        }
    }
    return true;
}

static JSValue native_decode(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    size_t length;
    uint8_t *bytes = JS_GetUint8Array(ctx, &length, arguments[0]);
    (void)this_value, (void)count;
    if (!bytes && length) return JS_EXCEPTION;
    if (JS_ToBool(ctx, arguments[1]) && !is_utf8(bytes, bytes + length)) return JS_ThrowTypeError(ctx, "the bytes are not UTF-8");
    return JS_NewStringLen(ctx, (const char *)bytes, length);
}

static JSValue native_random(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    uint32_t length;
    size_t size;
    JSValue bytes;
    (void)this_value, (void)count;
    if (JS_ToUint32(ctx, &length, arguments[0]) < 0) return JS_EXCEPTION;
    bytes = JS_NewUint8ArrayCopy(ctx, NULL, length);
    if (!JS_IsException(bytes)) wasi_random_get(JS_GetUint8Array(ctx, &size, bytes), length);
    return bytes;
}

/* Chance and time begin when they are first asked for in a sandbox. */
static void forget_the_time(void) { low->random_state = low->origin_ns = 0; }

static JSValue native_clocks(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    JSValue both = JS_NewArray(ctx);
    (void)this_value, (void)count, (void)arguments;
    if (!low->origin_ns) {
        low->origin_ns = clock_ns(MONOTONIC) | 1;
        low->origin_real_ns = clock_ns(REALTIME);
    }
    if (JS_IsException(both)) return both;
    if (JS_SetPropertyUint32(ctx, both, 0, JS_NewFloat64(ctx, (double)(clock_ns(MONOTONIC) | 1) / 1e6 - (double)low->origin_ns / 1e6)) < 0
        || JS_SetPropertyUint32(ctx, both, 1, JS_NewFloat64(ctx, (double)low->origin_real_ns / 1e6)) < 0) {
        JS_FreeValue(ctx, both);
        return JS_EXCEPTION;
    }
    return both;
}

static JSValue math_random(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    uint64_t bits;
    (void)ctx, (void)this_value, (void)count, (void)arguments;
    if (!low->random_state) {
        wasi_random_get(&low->random_state, sizeof low->random_state);
        low->random_state |= 1;
    }
    /* 52 bits behind a point: from 1 on, below 2. */
    bits = xorshift64star(&low->random_state) >> 12 | (uint64_t)0x3ff << 52;
    return js_float64(*(double *)&bits - 1.0);
}

static JSValue native_exact(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    (void)this_value, (void)count;
    if (!JS_IsFunction(ctx, arguments[0])) return JS_ThrowTypeError(ctx, "exact takes a handler");
    if (JS_DefinePropertyValue(ctx, arguments[0], exact_mark, JS_TRUE, 0) < 0) return JS_EXCEPTION;
    return js_dup(arguments[0]);
}

static JSValue native_set_hooks(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments) {
    JSValue *hooks[] = {&float_prototype, &unfold, &make_failure, &inspect};
    (void)ctx, (void)this_value, (void)count;
    for (uint32_t i = 0; i < countof(hooks); i++) *hooks[i] = js_dup(arguments[i]);
    return JS_UNDEFINED;
}

static const JSCFunctionListEntry NATIVES[] = {
    JS_CFUNC_DEF("call", 2, native_call),     JS_CFUNC_DEF("log", 2, native_log),
    JS_CFUNC_DEF("encode", 1, native_encode), JS_CFUNC_DEF("decode", 2, native_decode),
    JS_CFUNC_DEF("random", 1, native_random), JS_CFUNC_DEF("clocks", 0, native_clocks),
    JS_CFUNC_DEF("exact", 1, native_exact),   JS_CFUNC_DEF("setHooks", 4, native_set_hooks),
};

static int init_natives(JSContext *ctx, JSModuleDef *module) {
    return JS_SetModuleExportList(ctx, module, NATIVES, countof(NATIVES));
}

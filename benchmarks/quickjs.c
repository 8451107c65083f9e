/* QuickJS as a function: the start-up evaluates a script that builds a table, and each event is answered by its handler. */
#include <stdint.h>
#include <stdlib.h>

#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(name), used))

static const char SCRIPT[] =
    "const table = new Map();\n"
    "for (let i = 0; i < 20000; i++) table.set('key' + i, {id: i, name: 'item ' + i});\n"
    "function handle(event) {\n"
    "  const sum = (event.numbers ?? []).reduce((a, b) => a + b, 0);\n"
    "  return {found: table.get(event.key) ?? null, size: table.size, sum};\n"
    "}\n"
    "handle";

static JSContext *context;
static JSValue handler;

EXPORT("wasmrun_init") void wasmrun_init(void) {
    context = JS_NewContext(JS_NewRuntime());
    handler = JS_Eval(context, SCRIPT, sizeof SCRIPT - 1, "handler.js", JS_EVAL_TYPE_GLOBAL);
    if (JS_IsException(handler)) __builtin_trap();
}

/* The engine reads the clock to seed Math.random, which this script does not call. */
EXPORT("wasmrun_resume") void wasmrun_resume(void) {}

EXPORT("wasmrun_alloc") void *wasmrun_alloc(uint32_t size) { return malloc(size + 1); }

EXPORT("wasmrun_handle_raw") uint64_t wasmrun_handle_raw(char *text, uint32_t length) {
    size_t size = 0;
    text[length] = 0;
    JSValue event = JS_ParseJSON(context, text, length, "event");
    JSValue answer = JS_Call(context, handler, JS_UNDEFINED, 1, &event);
    const char *json = JS_ToCStringLen(context, &size, JS_JSONStringify(context, answer, JS_UNDEFINED, JS_UNDEFINED));
    return (uint64_t)(uintptr_t)json << 32 | size;
}

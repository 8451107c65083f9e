/* hello: a string in, a map out; the function of the README. */
#include "../wasmrun.h"

WASMRUN_HANDLER(wasmrun_handle) {
    wasmrun_bytes name;
    if (!wasmrun_get_str(event, "name", &name))
        return wasmrun_fail(answer, "InvalidEvent", "the event needs a string \"name\"");
    wasmrun_log(WASMRUN_INFO, "greeting somebody");
    wasmrun_write_map(answer, 1);
    wasmrun_write_text(answer, "hello");
    wasmrun_write_str(answer, name.data, name.length);
    return 0;
}

/* echo: gives back what it gets. The smallest function there is, and the one to measure the host with. */
#include "../wasmrun.h"

WASMRUN_HANDLER(wasmrun_handle) {
    wasmrun_write_value(answer, event);
    return 0;
}

WASMRUN_RAW_HANDLER(wasmrun_handle_raw) {
    *output = input; /* the input's memory is the guest's until the event ends: no copy */
    return 0;
}

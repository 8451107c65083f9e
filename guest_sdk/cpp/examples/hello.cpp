/* hello: a string in, a map out; the function of the README. */
#include "wasmrun.hpp"

static wasmrun::result hello(wasmrun::value event, wasmrun::writer &answer) {
    auto name = event.get<std::string_view>("name");
    if (!name) return wasmrun::fail("InvalidEvent", "the event needs a string \"name\"");
    wasmrun::log(wasmrun::level::info, "greeting somebody");
    return answer.map("hello", *name);
}
WASMRUN_FUNCTION(wasmrun_handle, hello)

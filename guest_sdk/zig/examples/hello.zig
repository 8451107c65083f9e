//! hello: a string in, a map out; the function of the README.

const wasmrun = @import("wasmrun");

comptime {
    wasmrun.handler("wasmrun_handle", hello);
}

fn hello(event: struct { name: []const u8 }) struct { hello: []const u8 } {
    wasmrun.log(.info, "greeting somebody");
    return .{ .hello = event.name };
}

//! Functions for wasmrun in Zig (native ABI, version 1; see ../abi.md).
//!
//!     const wasmrun = @import("wasmrun");
//!
//!     comptime {
//!         wasmrun.handler("wasmrun_handle", hello);
//!     }
//!
//!     fn hello(event: struct { name: []const u8 }) struct { hello: []const u8 } {
//!         return .{ .hello = event.name };
//!     }
//!
//! What the event has to be is the type of the handler's argument; `msgpack.zig` says how types are read and written. Everything that
//! is read or allocated lives until the event ends (`arena.zig`).

const std = @import("std");
const arena = @import("arena.zig");
const msgpack = @import("msgpack.zig");

pub const Bytes = msgpack.Bytes;
pub const Value = msgpack.Value;

/// Memory for the length of the event; inside the init hook, for the life of the sandbox.
pub const allocator = arena.allocator;

pub const Context = struct {
    request_id: []const u8,
    function: []const u8,
    version: []const u8,
    /// Unix time.
    deadline_ms: i64,
    memory_limit_bytes: u64,
    fuel_limit: u64,
    client_context: Value = .nil,
    tenant_id: ?[]const u8 = null,
    trace_id: ?[]const u8 = null,
};

// ---- entries

/// Exports the entry `name`; the default one is `wasmrun_handle`. `handle` is a function of the event, or of the event and a `Context`.
/// An error that it returns is reported: what `fail` was given, a host function's own error, or the error's name.
pub fn handler(comptime name: []const u8, comptime handle: anytype) void {
    if (std.mem.endsWith(u8, name, "_raw")) @compileError("an entry named ..._raw takes bytes: use rawHandler");
    const params = @typeInfo(@TypeOf(handle)).@"fn".param_types;
    const entry = struct {
        fn respond(input: []const u8, answer: *msgpack.Writer) anyerror!void {
            const pair = try Pair.open(input);
            var reader: msgpack.Reader = .{ .data = input, .at = pair.event, .allocator = allocator };
            const event = reader.read(params[0].?) catch |problem| return unfit(problem, "InvalidEvent", "the event needs ", &reader);
            if (params.len == 1) return finish(answer, handle(event));
            reader.at = pair.context;
            const context = reader.read(Context) catch |problem| return unfit(problem, "InvalidInput", "the context needs ", &reader);
            return finish(answer, handle(event, context));
        }

        fn call(pointer: usize, length: usize) callconv(.c) u64 {
            return run(slice(pointer, length), respond);
        }
    };
    @export(&entry.call, .{ .name = name });
}

/// Exports the entry `name`, which has to end in `_raw`: bytes in, bytes out. An error traps, because a raw answer has no place for one.
pub fn rawHandler(comptime name: []const u8, comptime handle: fn (input: []u8) anyerror![]const u8) void {
    if (!std.mem.endsWith(u8, name, "_raw")) @compileError("the name of an entry that takes bytes has to end in _raw");
    const entry = struct {
        fn call(pointer: usize, length: usize) callconv(.c) u64 {
            arena.eventStarts();
            const output = handle(slice(pointer, length)) catch |problem| {
                log(.err, @errorName(problem));
                @trap();
            };
            arena.eventAnswered();
            return pack(output);
        }
    };
    @export(&entry.call, .{ .name = name });
}

/// Has `start` run once, while the sandbox is being prepared and before any event. What it allocates stays. An error traps.
pub fn init(comptime start: fn () anyerror!void) void {
    const hook = struct {
        fn call() callconv(.c) void {
            arena.eventStarts();
            start() catch |problem| {
                log(.err, @errorName(problem));
                @trap();
            };
            arena.keep();
        }
    };
    @export(&hook.call, .{ .name = "wasmrun_init" });
}

// ---- errors

pub const Report = struct {
    type: []const u8,
    message: []const u8,
    stack: []const []const u8 = &.{},
};

var report: Report = undefined;

/// Makes the answer an error: `return wasmrun.fail("InvalidEvent", "the event needs …")`.
pub fn fail(error_type: []const u8, message: []const u8) error{Reported} {
    return failStack(error_type, message, &.{});
}

/// The same with frames for the caller to see.
pub fn failStack(error_type: []const u8, message: []const u8, stack: []const []const u8) error{Reported} {
    report = .{ .type = error_type, .message = message, .stack = stack };
    return error.Reported;
}

/// After `error.Refused`: what the host function, or the HTTP request, failed with. Returning that error reports it.
pub fn refusal() Report {
    return report;
}

// ---- what the host does

pub const Level = enum(i32) { trace, debug, info, warn, err };

/// Writes a line to the log.
pub fn log(level: Level, text: []const u8) void {
    imports.log(@backingInt(level), text.ptr, text.len);
}

/// `std.log` on the log: `pub const std_options: std.Options = .{ .logFn = wasmrun.logFn };`
pub fn logFn(comptime level: std.log.Level, comptime _: @EnumLiteral(), comptime format: []const u8, values: anytype) void {
    const text = std.fmt.allocPrint(allocator, format, values) catch return;
    defer allocator.free(text);
    log(switch (level) {
        .err => .err,
        .warn => .warn,
        .info => .info,
        .debug => .debug,
    }, text);
}

/// For modules with safety checks: `pub const panic = wasmrun.panic;` logs what a check found before it traps.
pub const panic = std.debug.FullPanic(struct {
    fn call(message: []const u8, _: ?usize) noreturn {
        log(.err, message);
        @trap();
    }
}.call);

/// A host function of the embedding program: `const db_get = wasmrun.Import("db.get");`, and `try db_get.call(User, "user:1")`.
pub fn Import(comptime name: []const u8) type {
    return struct {
        /// Sends `request` and reads the reply as a `Reply`. `error.Refused` is the host function's own error: see `refusal`.
        pub fn call(comptime Reply: type, request: anytype) anyerror!Reply {
            const exchange = @extern(*const Exchange, .{ .name = name, .library_name = "wasmrun" });
            var writer: msgpack.Writer = .{ .allocator = allocator };
            try writer.write(request);
            const packed_reply = exchange(writer.list.items.ptr, writer.list.items.len);
            var reader = try openReply(packed_reply);
            return reader.read(Reply) catch |problem| unfit(problem, "InvalidReply", name ++ " has to answer ", &reader);
        }
    };
}

pub const Header = struct { []const u8, []const u8 };

pub const Request = struct {
    method: []const u8 = "GET",
    url: []const u8,
    headers: []const Header = &.{},
    body: []const u8 = "",
    timeout_ms: ?u32 = null,
};

pub const Response = struct {
    status: u16,
    headers: Value,
    /// As the server sent it: nothing is unpacked.
    body: []const u8,

    /// By its name in lower case.
    pub fn header(response: Response, name: []const u8) ?[]const u8 {
        const value = response.headers.get(name) orelse return null;
        return if (value == .str) value.str else null;
    }
};

/// Has the host do an HTTP request. A response of any status is one; `error.Refused` is a request that was refused or failed.
pub fn http(request: Request) anyerror!Response {
    const Sent = struct { method: []const u8, url: []const u8, headers: Value, body: Bytes };
    const pairs = try allocator.alloc(Value.Pair, request.headers.len);
    for (pairs, request.headers) |*pair, header| pair.* = .{ .key = header[0], .value = .{ .str = header[1] } };
    const sent: Sent = .{ .method = request.method, .url = request.url, .headers = .{ .map = pairs }, .body = .{ .data = request.body } };
    const Got = struct { status: u16, headers: Value, body: Bytes };
    const got = if (request.timeout_ms) |timeout_ms|
        try Import("http_request").call(Got, .{
            .method = sent.method,
            .url = sent.url,
            .headers = sent.headers,
            .body = sent.body,
            .timeout_ms = timeout_ms,
        })
    else
        try Import("http_request").call(Got, sent);
    return .{ .status = got.status, .headers = got.headers, .body = got.body.data };
}

// ---- inside

const Exchange = fn (pointer: [*]const u8, length: usize) callconv(.c) u64;

const imports = struct {
    extern "wasmrun" fn log(level: i32, pointer: [*]const u8, length: usize) void;
};

/// Where the event and the context are in an input that was checked as a whole.
const Pair = struct {
    event: usize,
    context: usize,

    fn open(input: []const u8) error{InvalidInput}!Pair {
        if (input.len == 0 or input[0] != 0x92) return error.InvalidInput;
        const context = msgpack.endOf(input, 1) orelse return error.InvalidInput;
        const end = msgpack.endOf(input, context) orelse return error.InvalidInput;
        return if (end == input.len) .{ .event = 1, .context = context } else error.InvalidInput;
    }
};

fn slice(pointer: usize, length: usize) []u8 {
    return if (length == 0) &.{} else @as([*]u8, @ptrFromInt(pointer))[0..length];
}

fn pack(data: []const u8) u64 {
    return @as(u64, @intFromPtr(data.ptr)) << 32 | data.len;
}

fn finish(answer: *msgpack.Writer, result: anytype) anyerror!void {
    try answer.array(2);
    try answer.write(0);
    try answer.write(if (@typeInfo(@TypeOf(result)) == .error_union) try result else result);
}

fn unfit(problem: anyerror, error_type: []const u8, prefix: []const u8, reader: *const msgpack.Reader) anyerror {
    if (problem != error.Mismatch) return problem;
    return fail(error_type, try std.mem.concat(allocator, u8, &.{ prefix, try reader.complaint() }));
}

/// [1, {"type": "OutOfMemory", "message": "memory cannot grow", "stack": []}], ready, because it cannot be built any more.
const out_of_memory = "\x92\x01\x83\xa4type\xabOutOfMemory\xa7message\xb2memory cannot grow\xa5stack\x90";

fn run(input: []const u8, respond: *const fn ([]const u8, *msgpack.Writer) anyerror!void) u64 {
    arena.eventStarts();
    defer arena.eventAnswered();
    var answer: msgpack.Writer = .{ .allocator = allocator };
    respond(input, &answer) catch |problem| {
        switch (problem) {
            error.Reported, error.Refused => {},
            error.OutOfMemory => return pack(out_of_memory),
            error.InvalidInput => report = .{
                .type = "InvalidInput",
                .message = "the input is not MessagePack of [event, context], or is nested too deep",
            },
            else => report = .{ .type = @errorName(problem), .message = "" },
        }
        answer.list.clearRetainingCapacity();
        answer.write(.{ 1, report }) catch return pack(out_of_memory);
    };
    return pack(answer.list.items);
}

/// The value of a reply. `error.NoReply` is the host giving up.
fn openReply(packed_reply: u64) anyerror!msgpack.Reader {
    const reply = slice(@intCast(packed_reply >> 32), @truncate(packed_reply));
    if (reply.len < 3 or reply[0] != 0x92 or msgpack.endOf(reply, 0) != reply.len) return error.NoReply;
    var reader: msgpack.Reader = .{ .data = reply, .at = 2, .allocator = allocator };
    if (reply[1] == 0) return reader;
    if (reply[1] != 1) return error.NoReply;
    const Refusal = struct { type: []const u8 = "HostFunctionError", message: []const u8 = "" };
    const refused = reader.read(Refusal) catch Refusal{};
    report = .{ .type = refused.type, .message = refused.message };
    return error.Refused;
}

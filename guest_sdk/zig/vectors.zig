//! The guest of the test vectors: ../vectors/README.md says what each entry does.

const std = @import("std");
const wasmrun = @import("wasmrun");

const Value = wasmrun.Value;

comptime {
    wasmrun.init(start);
    wasmrun.handler("echo", echo);
    wasmrun.handler("show_event", showEvent);
    wasmrun.handler("show_context", showContext);
    wasmrun.handler("fail", fail);
    wasmrun.handler("write_logs", writeLogs);
    wasmrun.handler("count_starts", countStarts);
    wasmrun.handler("fetch", fetch);
    wasmrun.handler("ask", ask);
}

var starts: u32 = 0;

fn start() !void {
    starts += 1;
}

fn echo(event: Value) Value {
    return event;
}

fn showEvent(event: Value) ![]const u8 {
    var text: std.ArrayList(u8) = .empty;
    try show(&text, event);
    return text.items;
}

fn showContext(_: Value, context: wasmrun.Context) wasmrun.Context {
    return context;
}

fn fail(event: wasmrun.Report) error{Reported}!void {
    return wasmrun.failStack(event.type, event.message, event.stack);
}

fn writeLogs(event: []const Value) !void {
    for (event) |line| {
        if (line != .array or line.array.len != 2) return error.NoLine;
        wasmrun.log(@fromBackingInt(@intCast(line.array[0].int)), line.array[1].str);
    }
}

fn countStarts(_: Value) u32 {
    return starts;
}

fn fetch(event: struct { method: []const u8, url: []const u8, headers: Value, body: ?wasmrun.Bytes }) !struct {
    status: u16,
    headers: Value,
    body: wasmrun.Bytes,
} {
    const headers = try wasmrun.allocator.alloc(wasmrun.Header, event.headers.map.len);
    for (headers, event.headers.map) |*header, pair| header.* = .{ pair.key, pair.value.str };
    const response = try wasmrun.http(.{
        .method = event.method,
        .url = event.url,
        .headers = headers,
        .body = if (event.body) |body| body.data else "",
    });
    return .{ .status = response.status, .headers = response.headers, .body = .{ .data = response.body } };
}

fn ask(event: Value) !Value {
    return wasmrun.Import("vectors.ask").call(Value, event);
}

fn show(text: *std.ArrayList(u8), value: Value) error{OutOfMemory}!void {
    const gpa = wasmrun.allocator;
    switch (value) {
        .nil => try text.appendSlice(gpa, "null"),
        .bool => |truth| try text.appendSlice(gpa, if (truth) "true" else "false"),
        .int => |number| try text.print(gpa, "{d}", .{number}),
        .uint => |number| try text.print(gpa, "{d}", .{number}),
        .float => |number| if (std.math.isNan(number)) {
            try text.appendSlice(gpa, "nan");
        } else {
            try text.print(gpa, "0x{x:0>16}", .{@as(u64, @bitCast(number))});
        },
        .str => |bytes| try showText(text, bytes),
        .bin => |bytes| try text.print(gpa, "b\"{x}\"", .{bytes}),
        .array => |items| {
            try text.append(gpa, '[');
            for (items, 0..) |item, i| {
                if (i != 0) try text.append(gpa, ',');
                try show(text, item);
            }
            try text.append(gpa, ']');
        },
        .map => |pairs| {
            try text.append(gpa, '{');
            for (pairs, 0..) |pair, i| {
                if (i != 0) try text.append(gpa, ',');
                try showText(text, pair.key);
                try text.append(gpa, ':');
                try show(text, pair.value);
            }
            try text.append(gpa, '}');
        },
    }
}

fn showText(text: *std.ArrayList(u8), bytes: []const u8) error{OutOfMemory}!void {
    const gpa = wasmrun.allocator;
    try text.append(gpa, '"');
    for (bytes) |byte| {
        if (byte < 0x20) {
            try text.print(gpa, "\\u{x:0>4}", .{byte});
        } else {
            if (byte == '"' or byte == '\\') try text.append(gpa, '\\');
            try text.append(gpa, byte);
        }
    }
    try text.append(gpa, '"');
}

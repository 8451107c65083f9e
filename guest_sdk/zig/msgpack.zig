//! MessagePack to Zig values and back: what a type says is what is read.
//!
//! | Zig | MessagePack |
//! |---|---|
//! | `bool`, integers to 64 bits, floats | the same; a float is also read from an integer |
//! | `[]const u8`, string literals | str |
//! | `Bytes` | bin |
//! | slices, arrays, tuples | array |
//! | structs | map of their fields; unknown keys are skipped, and a field with a default, or an optional one, may be missing |
//! | enums | str, the name of a field |
//! | optionals, `null`, `void` | nil, or the value |
//! | `Value` | any value |

const std = @import("std");
const Allocator = std.mem.Allocator;

/// Arrays and maps nested deeper than this are refused.
pub const max_depth = 128;

/// Binary data: `[]const u8` alone is text.
pub const Bytes = struct { data: []const u8 };

/// Any value. Integers that fit are an `int`; a `uint` is one above `maxInt(i64)`.
pub const Value = union(enum) {
    nil,
    bool: bool,
    int: i64,
    uint: u64,
    float: f64,
    str: []const u8,
    bin: []const u8,
    array: []const Value,
    map: []const Pair,

    pub const Pair = struct { key: []const u8, value: Value };

    /// The value of a key, if this is a map that has it.
    pub fn get(value: Value, key: []const u8) ?Value {
        if (value != .map) return null;
        for (value.map) |pair| if (std.mem.eql(u8, pair.key, key)) return pair.value;
        return null;
    }
};

/// The part of a value before its content.
const Head = struct {
    kind: enum { nil, bool, int, float, str, bin, array, map, ext },
    /// Bytes before the content.
    length: usize,
    /// Bytes of content, items, or pairs.
    size: usize = 0,
    /// Of a bool, an int (two's complement), or a float (as a double).
    bits: u64 = 0,
    negative: bool = false,
};

/// The head at `at`; null when it, or the content that it announces, is not all there. An array of n items takes n bytes at least, so
/// that a short input cannot announce a long loop.
fn headAt(data: []const u8, at: usize) ?Head {
    if (at >= data.len) return null;
    const first = data[at];
    var head: Head = switch (first) {
        0x00...0x7f => .{ .kind = .int, .length = 1, .bits = first },
        0x80...0x8f => .{ .kind = .map, .length = 1, .size = first & 0x0f },
        0x90...0x9f => .{ .kind = .array, .length = 1, .size = first & 0x0f },
        0xa0...0xbf => .{ .kind = .str, .length = 1, .size = first & 0x1f },
        0xc0 => .{ .kind = .nil, .length = 1 },
        0xc1 => return null,
        0xc2, 0xc3 => .{ .kind = .bool, .length = 1, .bits = first & 1 },
        0xc4, 0xc5, 0xc6 => .{ .kind = .bin, .length = 1 + (@as(usize, 1) << @intCast(first - 0xc4)) },
        0xc7, 0xc8, 0xc9 => .{ .kind = .ext, .length = 1 + (@as(usize, 1) << @intCast(first - 0xc7)) },
        0xca, 0xcb => .{ .kind = .float, .length = 1 + (@as(usize, 4) << @intCast(first - 0xca)) },
        0xcc...0xcf => .{ .kind = .int, .length = 1 + (@as(usize, 1) << @intCast(first - 0xcc)) },
        0xd0...0xd3 => .{ .kind = .int, .length = 1 + (@as(usize, 1) << @intCast(first - 0xd0)) },
        0xd4...0xd8 => .{ .kind = .ext, .length = 1, .size = @as(usize, 1) << @intCast(first - 0xd4) },
        0xd9, 0xda, 0xdb => .{ .kind = .str, .length = 1 + (@as(usize, 1) << @intCast(first - 0xd9)) },
        0xdc, 0xdd => .{ .kind = .array, .length = 1 + (@as(usize, 2) << @intCast(first - 0xdc)) },
        0xde, 0xdf => .{ .kind = .map, .length = 1 + (@as(usize, 2) << @intCast(first - 0xde)) },
        0xe0...0xff => .{ .kind = .int, .length = 1, .bits = @bitCast(@as(i64, @as(i8, @bitCast(first)))), .negative = true },
    };
    if (head.length > data.len - at) return null;
    if (head.length > 1) {
        var number: u64 = 0;
        for (data[at + 1 ..][0 .. head.length - 1]) |byte| number = number << 8 | byte;
        switch (head.kind) {
            .int => {
                const unused: u6 = @intCast(8 * (9 - head.length));
                if (first >= 0xd0) number = @bitCast(@as(i64, @bitCast(number << unused)) >> unused);
                head.negative = first >= 0xd0 and @as(i64, @bitCast(number)) < 0;
                head.bits = number;
            },
            .float => head.bits = if (first == 0xcb) number else @bitCast(@as(f64, @as(f32, @bitCast(@as(u32, @truncate(number)))))),
            else => head.size = @truncate(number),
        }
    }
    if (head.kind == .ext) {
        if (head.length == data.len - at) return null;
        head.length += 1;
    }
    const left = data.len - at - head.length;
    return if (head.size <= if (head.kind == .map) left / 2 else left) head else null;
}

/// The offset behind the value at `start`; null when it is malformed or nests too deep. It does not recurse.
pub noinline fn endOf(data: []const u8, start: usize) ?usize {
    var outer: [max_depth]usize = undefined; // how many items the arrays and maps around this one are still missing
    var items: usize = 1;
    var depth: usize = 0;
    var at = start;
    while (true) {
        while (items == 0) {
            if (depth == 0) return at;
            depth -= 1;
            items = outer[depth];
        }
        items -= 1;
        const head = headAt(data, at) orelse return null;
        at += head.length;
        switch (head.kind) {
            .str, .bin, .ext => at += head.size,
            .array, .map => {
                if (depth == max_depth) return null;
                outer[depth] = items;
                depth += 1;
                items = if (head.kind == .map) head.size * 2 else head.size;
            },
            else => {},
        }
    }
}

/// A position in MessagePack that was checked as a whole, with `endOf`.
pub const Reader = struct {
    data: []const u8,
    at: usize,
    allocator: Allocator,
    /// After a mismatch: the word for what was wanted, and the fields that led there.
    wanted: []const u8 = "",
    path: [8][]const u8 = undefined,
    depth: usize = 0,

    pub const Error = error{Mismatch} || Allocator.Error;

    /// The next value as a `T`. Text and bytes point into what is read; arrays are allocated.
    pub fn read(reader: *Reader, comptime T: type) Error!T {
        if (T == Value) return reader.readValue();
        if (T == []const u8) return reader.content(.str, "a string");
        if (T == Bytes) return .{ .data = try reader.content(.bin, "binary") };
        switch (@typeInfo(T)) {
            .bool => return (try reader.expect(.bool, "a boolean")).bits != 0,
            .int => {
                const head = try reader.expect(.int, "an integer");
                const number = if (head.negative) std.math.cast(T, @as(i64, @bitCast(head.bits))) else std.math.cast(T, head.bits);
                return number orelse reader.mismatch("an integer of the type " ++ @typeName(T));
            },
            .float => {
                const head = headAt(reader.data, reader.at) orelse return reader.mismatch("a number");
                const number: f64 = switch (head.kind) {
                    .float => @bitCast(head.bits),
                    .int => if (head.negative) @floatFromInt(@as(i64, @bitCast(head.bits))) else @floatFromInt(head.bits),
                    else => return reader.mismatch("a number"),
                };
                reader.at += head.length;
                return @floatCast(number);
            },
            .optional => |optional| {
                if (!reader.takeNil()) return try reader.read(optional.child);
                return null;
            },
            .@"enum" => return std.meta.stringToEnum(T, try reader.content(.str, "a string")) orelse reader.mismatch("a known word"),
            .pointer => |pointer| {
                if (pointer.size != .slice) @compileError("not a type that can be read: " ++ @typeName(T));
                const items = try reader.allocator.alloc(pointer.child, (try reader.expect(.array, "an array")).size);
                for (items) |*item| item.* = try reader.read(pointer.child);
                return items;
            },
            .array => |array| {
                if ((try reader.expect(.array, "an array")).size != array.len) return reader.mismatch("an array of another length");
                var items: T = undefined;
                for (&items) |*item| item.* = try reader.read(array.child);
                return items;
            },
            .@"struct" => return reader.readStruct(T),
            else => @compileError("not a type that can be read: " ++ @typeName(T)),
        }
    }

    fn readStruct(reader: *Reader, comptime T: type) Error!T {
        const fields = @typeInfo(T).@"struct";
        var result: T = undefined;
        var seen: [fields.field_names.len]bool = @splat(false);
        const is_map = if (headAt(reader.data, reader.at)) |head| head.kind == .map else false;
        var pairs = if (is_map) (try reader.expect(.map, "a map")).size else 0;
        while (pairs != 0) : (pairs -= 1) {
            const key = reader.content(.str, "a string") catch {
                reader.skip();
                reader.skip();
                continue;
            };
            inline for (fields.field_names, fields.field_types, 0..) |name, Field, i| {
                if (!seen[i] and std.mem.eql(u8, key, name)) {
                    reader.enter(name);
                    @field(result, name) = try reader.read(Field);
                    reader.depth -= 1;
                    seen[i] = true;
                    break;
                }
            } else reader.skip();
        }
        inline for (fields.field_names, fields.field_types, fields.field_attrs, 0..) |name, Field, attributes, i| {
            if (!seen[i]) {
                if (comptime attributes.defaultValue(Field)) |default| {
                    @field(result, name) = default;
                } else if (@typeInfo(Field) == .optional) {
                    @field(result, name) = null;
                } else {
                    reader.enter(name);
                    return reader.mismatch(comptime wordFor(Field));
                }
            }
        }
        if (!is_map) return reader.mismatch("a map");
        return result;
    }

    fn readValue(reader: *Reader) Error!Value {
        const head = headAt(reader.data, reader.at) orelse return reader.mismatch("a value");
        switch (head.kind) {
            .str => return .{ .str = try reader.content(.str, "a string") },
            .bin => return .{ .bin = try reader.content(.bin, "binary") },
            else => reader.at += head.length,
        }
        switch (head.kind) {
            .nil => return .nil,
            .bool => return .{ .bool = head.bits != 0 },
            .int => {
                if (!head.negative and head.bits > std.math.maxInt(i64)) return .{ .uint = head.bits };
                return .{ .int = @bitCast(head.bits) };
            },
            .float => return .{ .float = @bitCast(head.bits) },
            .array => {
                const items = try reader.allocator.alloc(Value, head.size);
                for (items) |*item| item.* = try reader.readValue();
                return .{ .array = items };
            },
            .map => {
                const pairs = try reader.allocator.alloc(Value.Pair, head.size);
                for (pairs) |*pair| {
                    pair.key = try reader.content(.str, "text as a key");
                    pair.value = try reader.readValue();
                }
                return .{ .map = pairs };
            },
            else => return reader.mismatch("no extension"),
        }
    }

    fn takeNil(reader: *Reader) bool {
        const found = reader.at < reader.data.len and reader.data[reader.at] == 0xc0;
        reader.at += @intFromBool(found);
        return found;
    }

    fn expect(reader: *Reader, kind: @FieldType(Head, "kind"), wanted: []const u8) error{Mismatch}!Head {
        const head = headAt(reader.data, reader.at) orelse return reader.mismatch(wanted);
        if (head.kind != kind) return reader.mismatch(wanted);
        reader.at += head.length;
        return head;
    }

    fn content(reader: *Reader, kind: @FieldType(Head, "kind"), wanted: []const u8) error{Mismatch}![]const u8 {
        const head = try reader.expect(kind, wanted);
        defer reader.at += head.size;
        return reader.data[reader.at..][0..head.size];
    }

    fn skip(reader: *Reader) void {
        reader.at = endOf(reader.data, reader.at) orelse reader.data.len;
    }

    fn enter(reader: *Reader, name: []const u8) void {
        if (reader.depth < reader.path.len) reader.path[reader.depth] = name;
        reader.depth += 1;
    }

    fn mismatch(reader: *Reader, wanted: []const u8) error{Mismatch} {
        reader.wanted = wanted;
        return error.Mismatch;
    }

    /// What a mismatch was: `a string "user.name"`.
    pub fn complaint(reader: *const Reader) Allocator.Error![]const u8 {
        if (reader.depth == 0) return reader.wanted;
        const path = try std.mem.join(reader.allocator, ".", reader.path[0..@min(reader.depth, reader.path.len)]);
        return std.mem.concat(reader.allocator, u8, &.{ reader.wanted, " \"", path, "\"" });
    }
};

fn wordFor(comptime T: type) []const u8 {
    if (T == []const u8) return "a string";
    if (T == Bytes) return "binary";
    return switch (@typeInfo(T)) {
        .bool => "a boolean",
        .int => "an integer",
        .float => "a number",
        .pointer, .array => "an array",
        .@"enum" => "a string",
        .@"struct" => "a map",
        else => "a value",
    };
}

/// Writes values one after the other into memory that grows.
pub const Writer = struct {
    list: std.ArrayList(u8) = .empty,
    allocator: Allocator,

    pub fn write(writer: *Writer, value: anytype) Allocator.Error!void {
        const T = @TypeOf(value);
        if (T == Value) return writer.writeValue(value);
        if (T == Bytes) return writer.content(&.{ 0xc4, 0xc5, 0xc6 }, 0, 0, value.data);
        switch (@typeInfo(T)) {
            .void, .null => try writer.head(0xc0, 0, 0),
            .bool => try writer.head(if (value) 0xc3 else 0xc2, 0, 0),
            .int, .comptime_int => if (value < 0) try writer.writeInt(@intCast(value)) else try writer.writeUint(@intCast(value)),
            .float, .comptime_float => try writer.head(0xcb, @bitCast(@as(f64, value)), 8),
            .optional => if (value) |present| try writer.write(present) else try writer.head(0xc0, 0, 0),
            .@"enum" => try writer.write(@as([]const u8, @tagName(value))),
            .enum_literal => try writer.write(@as([]const u8, @tagName(value))),
            .pointer => |pointer| switch (pointer.size) {
                .slice => if (pointer.child == u8) try writer.writeText(value) else {
                    try writer.array(value.len);
                    for (value) |item| try writer.write(item);
                },
                .one => switch (@typeInfo(pointer.child)) {
                    .array => |items| try writer.write(@as([]const items.child, value)),
                    else => try writer.write(value.*),
                },
                else => @compileError("not a type that can be written: " ++ @typeName(T)),
            },
            .array => |items| try writer.write(@as([]const items.child, &value)),
            .@"struct" => |fields| {
                if (fields.is_tuple) try writer.array(fields.field_names.len) else try writer.map(fields.field_names.len);
                inline for (fields.field_names) |name| {
                    if (!fields.is_tuple) try writer.writeText(name);
                    try writer.write(@field(value, name));
                }
            },
            else => @compileError("not a type that can be written: " ++ @typeName(T)),
        }
    }

    fn writeValue(writer: *Writer, value: Value) Allocator.Error!void {
        switch (value) {
            .nil => try writer.head(0xc0, 0, 0),
            .bool => |truth| try writer.write(truth),
            .int => |number| try writer.write(number),
            .uint => |number| try writer.writeUint(number),
            .float => |number| try writer.write(number),
            .str => |text| try writer.writeText(text),
            .bin => |data| try writer.write(Bytes{ .data = data }),
            .array => |items| {
                try writer.array(items.len);
                for (items) |item| try writer.writeValue(item);
            },
            .map => |pairs| {
                try writer.map(pairs.len);
                for (pairs) |pair| {
                    try writer.writeText(pair.key);
                    try writer.writeValue(pair.value);
                }
            },
        }
    }

    /// Then `count` values.
    pub fn array(writer: *Writer, count: usize) Allocator.Error!void {
        try writer.sized(&.{ 0xdc, 0xdc, 0xdd }, 0x90, 15, count);
    }

    /// Then `count` pairs: a key, its value, a key, …
    pub fn map(writer: *Writer, count: usize) Allocator.Error!void {
        try writer.sized(&.{ 0xde, 0xde, 0xdf }, 0x80, 15, count);
    }

    fn writeText(writer: *Writer, text: []const u8) Allocator.Error!void {
        try writer.content(&.{ 0xd9, 0xda, 0xdb }, 0xa0, 31, text);
    }

    fn writeInt(writer: *Writer, number: i64) Allocator.Error!void {
        const bits: u64 = @bitCast(number);
        if (number >= -32) return writer.head(@truncate(bits), 0, 0);
        if (number >= std.math.minInt(i8)) return writer.head(0xd0, bits, 1);
        if (number >= std.math.minInt(i16)) return writer.head(0xd1, bits, 2);
        if (number >= std.math.minInt(i32)) return writer.head(0xd2, bits, 4);
        try writer.head(0xd3, bits, 8);
    }

    fn writeUint(writer: *Writer, number: u64) Allocator.Error!void {
        if (number <= 0x7f) return writer.head(@truncate(number), 0, 0);
        if (number <= std.math.maxInt(u8)) return writer.head(0xcc, number, 1);
        if (number <= std.math.maxInt(u16)) return writer.head(0xcd, number, 2);
        if (number <= std.math.maxInt(u32)) return writer.head(0xce, number, 4);
        try writer.head(0xcf, number, 8);
    }

    fn content(writer: *Writer, firsts: *const [3]u8, short: u8, longest_short: usize, data: []const u8) Allocator.Error!void {
        try writer.sized(firsts, short, longest_short, data.len);
        try writer.list.appendSlice(writer.allocator, data);
    }

    /// A first byte and a size: in the first byte where that may be (`short`), else in 1, 2 or 4 bytes.
    fn sized(writer: *Writer, firsts: *const [3]u8, short: u8, longest_short: usize, size: usize) Allocator.Error!void {
        if (short != 0 and size <= longest_short) return writer.head(short | @as(u8, @truncate(size)), 0, 0);
        if (size <= std.math.maxInt(u8) and firsts[0] != firsts[1]) return writer.head(firsts[0], size, 1);
        if (size <= std.math.maxInt(u16)) return writer.head(firsts[1], size, 2);
        try writer.head(firsts[2], size, 4);
    }

    fn head(writer: *Writer, first: u8, number: u64, width: usize) Allocator.Error!void {
        const to = try writer.list.addManyAsSlice(writer.allocator, 1 + width);
        to[0] = first;
        for (to[1..], 0..) |*byte, i| byte.* = @truncate(number >> @intCast(8 * (width - 1 - i)));
    }
};

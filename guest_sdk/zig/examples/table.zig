//! Sums up a table: {"csv": "city,people\nParis,2100000\n"} gives {"rows", "columns"}, and for each column its name, how many of its
//! fields are empty, how many different ones there are, the longest, and, where all that is there are numbers, least, most, sum and mean.
//! "delimiter" is another one than a comma; the first line has the names. Fields may be quoted, as RFC 4180 says.

const std = @import("std");
const wasmrun = @import("wasmrun");

comptime {
    wasmrun.handler("wasmrun_handle", summary);
}

const Event = struct { csv: []const u8, delimiter: []const u8 = "," };

const Numbers = struct { least: f64, most: f64, sum: f64, mean: f64 };

const Column = struct {
    name: []const u8,
    empty: u32 = 0,
    unique: u32 = 0,
    longest: []const u8 = "",
    numbers: ?Numbers = null,
};

/// What is known of a column while rows come in.
const Tally = struct {
    column: Column,
    seen: std.StringHashMapUnmanaged(void) = .empty,
    numbers: ?Numbers = .{ .least = std.math.inf(f64), .most = -std.math.inf(f64), .sum = 0, .mean = 0 },

    fn add(tally: *Tally, field: []const u8) !void {
        const column = &tally.column;
        if (field.len == 0) {
            column.empty += 1;
            return;
        }
        try tally.seen.put(wasmrun.allocator, field, {});
        if (field.len > column.longest.len) column.longest = field;
        if (tally.numbers) |*numbers| {
            const number = std.fmt.parseFloat(f64, field) catch std.math.nan(f64);
            if (!std.math.isFinite(number)) {
                tally.numbers = null;
                return;
            }
            numbers.least = @min(numbers.least, number);
            numbers.most = @max(numbers.most, number);
            numbers.sum += number;
        }
    }

    fn finish(tally: *Tally, rows: u32) Column {
        var column = tally.column;
        column.unique = tally.seen.count();
        column.numbers = if (rows == column.empty) null else tally.numbers;
        if (column.numbers) |*numbers| numbers.mean = numbers.sum / @as(f64, @floatFromInt(rows - column.empty));
        return column;
    }
};

fn summary(event: Event) !struct { rows: u32, columns: []const Column } {
    if (event.delimiter.len != 1) return wasmrun.fail("InvalidEvent", "\"delimiter\" has to be one character");
    var lines: Lines = .{ .text = event.csv, .delimiter = event.delimiter[0] };
    const names = try lines.next() orelse return wasmrun.fail("InvalidTable", "the table is empty");
    const tallies = try wasmrun.allocator.alloc(Tally, names.len);
    for (tallies, names) |*tally, name| tally.* = .{ .column = .{ .name = name } };
    var rows: u32 = 0;
    while (try lines.next()) |fields| : (rows += 1) {
        if (fields.len != names.len) return lines.fail("{d} fields, where the first line has {d}", .{ fields.len, names.len });
        for (tallies, fields) |*tally, field| try tally.add(field);
    }
    const columns = try wasmrun.allocator.alloc(Column, names.len);
    for (columns, tallies) |*column, *tally| column.* = tally.finish(rows);
    return .{ .rows = rows, .columns = columns };
}

/// The lines of a table, as fields. Empty lines are none.
const Lines = struct {
    text: []const u8,
    delimiter: u8,
    at: usize = 0,
    line: usize = 0,
    /// The line that the last row started on.
    row: usize = 0,
    fields: std.ArrayList([]const u8) = .empty,

    /// The next row; its fields stand until the one after.
    fn next(lines: *Lines) !?[]const []const u8 {
        lines.fields.clearRetainingCapacity();
        while (lines.at < lines.text.len and lines.endsLine()) lines.newLine();
        if (lines.at >= lines.text.len) return null;
        lines.row = lines.line + 1;
        while (true) {
            try lines.fields.append(wasmrun.allocator, try lines.field());
            if (lines.at >= lines.text.len or lines.endsLine()) break;
            lines.at += 1;
        }
        return lines.fields.items;
    }

    fn field(lines: *Lines) ![]const u8 {
        if (lines.at < lines.text.len and lines.text[lines.at] == '"') return lines.quoted();
        const start = lines.at;
        while (lines.at < lines.text.len and lines.text[lines.at] != lines.delimiter and !lines.endsLine()) lines.at += 1;
        return lines.text[start..lines.at];
    }

    fn quoted(lines: *Lines) ![]const u8 {
        var start = lines.at + 1;
        var pieces: []const u8 = "";
        while (std.mem.indexOfScalarPos(u8, lines.text, start, '"')) |end| {
            lines.line += std.mem.countScalar(u8, lines.text[start..end], '\n');
            const piece = lines.text[start..end];
            pieces = if (pieces.len == 0) piece else try std.mem.concat(wasmrun.allocator, u8, &.{ pieces, piece });
            lines.at = end + 1;
            if (lines.at >= lines.text.len or lines.endsLine() or lines.text[lines.at] == lines.delimiter) return pieces;
            if (lines.text[lines.at] != '"') return lines.fail("text behind a closing quote", .{});
            pieces = try std.mem.concat(wasmrun.allocator, u8, &.{ pieces, "\"" });
            start = lines.at + 1;
        }
        return lines.fail("a quote that is not closed", .{});
    }

    fn endsLine(lines: *const Lines) bool {
        const rest = lines.text[lines.at..];
        return rest[0] == '\n' or std.mem.startsWith(u8, rest, "\r\n");
    }

    fn newLine(lines: *Lines) void {
        lines.at += if (lines.text[lines.at] == '\n') 1 else 2;
        lines.line += 1;
    }

    fn fail(lines: *const Lines, comptime format: []const u8, values: anytype) error{ Reported, OutOfMemory } {
        const message = std.fmt.allocPrint(wasmrun.allocator, "line {d}: " ++ format, .{lines.row} ++ values) catch return error.OutOfMemory;
        return wasmrun.fail("InvalidTable", message);
    }
};

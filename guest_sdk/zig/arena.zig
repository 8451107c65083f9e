//! The memory of one event: what is allocated while it is answered goes all at once, when it is over.
//!
//! An event is over at the first of these, after the handler returned: `wasmrun_free` (the host has read the answer and will use the
//! sandbox again), the next `wasmrun_alloc`, or the next handler call. Until then the answer stays. What the init hook allocates stays
//! for the life of the sandbox.

const std = @import("std");

/// A contiguous piece of memory. There is one, unless another allocator grew the memory in between.
const Chunk = struct {
    next: ?*Chunk,
    end: usize,
};

const page = 64 * 1024;
const alignment = 16;

var current: ?*Chunk = null;
var top: usize = 0;
var mark_chunk: ?*Chunk = null;
var mark_top: usize = 0;
var phase: enum { idle, running, answered } = .idle;

extern var __heap_base: u8;

/// Memory for the length of the event. Freeing gives back what was allocated last, and nothing else.
pub const allocator: std.mem.Allocator = .{
    .ptr = undefined,
    .vtable = &.{ .alloc = alloc, .resize = resize, .remap = remap, .free = free },
};

pub fn eventStarts() void {
    if (phase == .answered) empty();
    phase = .running;
}

pub fn eventAnswered() void {
    phase = .answered;
}

/// What was allocated until now stays.
pub fn keep() void {
    mark_chunk = current;
    mark_top = top;
    phase = .idle;
}

fn empty() void {
    current = mark_chunk;
    top = mark_top;
    phase = .idle;
}

export fn wasmrun_alloc(size: usize) usize {
    if (phase == .answered) empty();
    return take(size, alignment) orelse 0;
}

export fn wasmrun_free(_: usize, _: usize) void {
    if (phase == .answered) empty();
}

/// The end of memory, without its very last page: the address behind that one is not a 32-bit number.
fn memoryEnd() usize {
    const pages: usize = @min(@wasmMemorySize(0), 65535);
    return pages * page;
}

fn grow(bytes: usize) bool {
    const pages = std.math.divCeil(usize, bytes, page) catch unreachable;
    if (@wasmMemorySize(0) + pages > 65535) return false;
    return @wasmMemoryGrow(0, pages) != -1;
}

fn chunkAt(address: usize, end: usize) *Chunk {
    const chunk: *Chunk = @ptrFromInt(address);
    chunk.* = .{ .next = null, .end = end };
    return chunk;
}

fn startOf(chunk: *Chunk) usize {
    return @intFromPtr(chunk) + alignment;
}

fn firstChunk() ?*Chunk {
    const base = std.mem.alignForward(usize, @intFromPtr(&__heap_base), alignment);
    if (base + 2 * alignment > memoryEnd() and !grow(page)) return null;
    const chunk = chunkAt(base, memoryEnd());
    current = chunk;
    mark_chunk = chunk;
    mark_top = startOf(chunk);
    top = mark_top;
    return chunk;
}

fn take(size: usize, align_to: usize) ?usize {
    if (size > std.math.maxInt(usize) - 2 * page - align_to) return null;
    var chunk = current orelse firstChunk() orelse return null;
    while (true) {
        const start = std.mem.alignForward(usize, top, align_to);
        const missing = (start -| chunk.end) + (size -| (chunk.end -| start));
        if (missing == 0) {
            top = start + @max(size, 1);
            return start;
        }
        if (chunk.next == null) {
            const end = memoryEnd();
            const follows = chunk.end == end;
            if (!grow(if (follows) missing else size + align_to + alignment)) return null;
            if (follows) chunk.end = memoryEnd() else chunk.next = chunkAt(end, memoryEnd());
        }
        if (chunk.next) |next| {
            chunk = next;
            current = chunk;
            top = startOf(chunk);
        }
    }
}

fn alloc(_: *anyopaque, size: usize, align_to: std.mem.Alignment, _: usize) ?[*]u8 {
    return @ptrFromInt(take(size, align_to.toByteUnits()) orelse return null);
}

fn resize(_: *anyopaque, memory: []u8, _: std.mem.Alignment, size: usize, _: usize) bool {
    if (size <= memory.len) return true;
    const start = @intFromPtr(memory.ptr);
    const chunk = current orelse return false;
    if (start + memory.len != top) return false;
    if (size > chunk.end - start) {
        if (chunk.end != memoryEnd() or !grow(size - (chunk.end - start))) return false;
        chunk.end = memoryEnd();
    }
    top = start + size;
    return true;
}

fn remap(context: *anyopaque, memory: []u8, align_to: std.mem.Alignment, size: usize, from: usize) ?[*]u8 {
    return if (resize(context, memory, align_to, size, from)) memory.ptr else null;
}

fn free(_: *anyopaque, memory: []u8, _: std.mem.Alignment, _: usize) void {
    if (@intFromPtr(memory.ptr) + memory.len == top) top = @intFromPtr(memory.ptr);
}

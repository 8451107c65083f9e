//! What the host writes to and reads from, for the life of an event.

use alloc::alloc::{alloc, dealloc, Layout};
use alloc::vec::Vec;
use core::cell::UnsafeCell;

struct Event {
    /// Blocks that the host was given, with their sizes.
    held: Vec<(usize, usize)>,
    answer: Vec<u8>,
    is_over: bool,
}

struct Shared(UnsafeCell<Event>);

// A sandbox is one thread, and none of what is below calls anything that could come back here while it holds the reference.
unsafe impl Sync for Shared {}

static EVENT: Shared = Shared(UnsafeCell::new(Event { held: Vec::new(), answer: Vec::new(), is_over: false }));

fn event() -> &'static mut Event {
    unsafe { &mut *EVENT.0.get() }
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.max(1), 16).ok()
}

#[unsafe(no_mangle)]
extern "C" fn wasmrun_alloc(size: usize) -> usize {
    event_starts();
    let Some(layout) = layout(size) else { return 0 };
    let held = &mut event().held;
    if held.try_reserve(1).is_err() {
        return 0;
    }
    let ptr = unsafe { alloc(layout) } as usize;
    if ptr != 0 {
        held.push((ptr, size));
    }
    ptr
}

#[unsafe(no_mangle)]
extern "C" fn wasmrun_free(_ptr: usize, _len: usize) {
    event().is_over = true;
    event_starts();
}

/// Lets go of what belonged to the event before, if one was answered.
pub fn event_starts() {
    let event = event();
    if event.is_over {
        event.is_over = false;
        event.answer = Vec::new();
        for (ptr, size) in event.held.drain(..) {
            if let Some(layout) = layout(size) {
                unsafe { dealloc(ptr as *mut u8, layout) };
            }
        }
    }
}

/// The bytes that the host wrote at a place that it was given; none for any other place. They stay until the event is over.
pub fn taken(ptr: usize, len: usize) -> &'static [u8] {
    if len > 0 && event().held.iter().any(|(held, size)| *held == ptr && len <= *size) {
        unsafe { core::slice::from_raw_parts(ptr as *const u8, len) }
    } else {
        &[]
    }
}

pub fn give(output: Vec<u8>) -> u64 {
    let event = event();
    event.is_over = true;
    event.answer = output;
    (event.answer.as_ptr() as u64) << 32 | event.answer.len() as u64
}

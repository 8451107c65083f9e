//! What std would bring: an allocator, and what happens in a panic.

use alloc::alloc::{GlobalAlloc, Layout};
use alloc::string::ToString;
use core::cell::UnsafeCell;
use core::panic::PanicInfo;

const PAGE: usize = 65_536;

/// Blocks of powers of two; a list of free ones for each.
struct Blocks {
    free: UnsafeCell<[usize; 32]>,
    fresh: UnsafeCell<(usize, usize)>,
}

// A sandbox is one thread.
unsafe impl Sync for Blocks {}

#[global_allocator]
static BLOCKS: Blocks = Blocks { free: UnsafeCell::new([0; 32]), fresh: UnsafeCell::new((0, 0)) };

fn class(layout: Layout) -> usize {
    layout.size().max(layout.align()).max(16).next_power_of_two().trailing_zeros() as usize
}

unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size().max(layout.align()) > 1 << 30 {
            return core::ptr::null_mut();
        }
        let class = class(layout);
        let free = &mut (*self.free.get())[class];
        if *free != 0 {
            let block = *free as *mut usize;
            *free = *block;
            return block as *mut u8;
        }
        let size = 1usize << class;
        let (top, end) = &mut *self.fresh.get();
        // At a multiple of its size up to a page, which is all the alignment that there is.
        let mut start = top.next_multiple_of(size.min(PAGE));
        if start.checked_add(size).is_none_or(|behind| behind > *end) {
            let pages = size.div_ceil(PAGE);
            let before = core::arch::wasm32::memory_grow(0, pages);
            if before == usize::MAX {
                return core::ptr::null_mut();
            }
            if before * PAGE != *end {
                *top = before * PAGE;
            }
            *end = (before + pages) * PAGE;
            start = top.next_multiple_of(size.min(PAGE));
            if start + size > *end {
                return self.alloc(layout);
            }
        }
        *top = start + size;
        start as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let free = &mut (*self.free.get())[class(layout)];
        *(block as *mut usize) = *free;
        *free = block as usize;
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::host::stop(&info.to_string())
}

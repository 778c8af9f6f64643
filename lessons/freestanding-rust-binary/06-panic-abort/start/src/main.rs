#![no_std]

use core::panic::PanicInfo;

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

fn main() {}

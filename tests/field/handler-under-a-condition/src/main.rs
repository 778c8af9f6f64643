#![no_std]

use core::panic::PanicInfo;

#[cfg(test)]
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

fn main() {}

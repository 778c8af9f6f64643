#![no_std]

#[panic_handler]
use core::panic::PanicInfo;

fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

fn main() {}

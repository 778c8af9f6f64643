#![no_std]
#![no_main]

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[link_section = ".text.start"]
pub extern "C" fn _start() -> ! {
    loop {}
}

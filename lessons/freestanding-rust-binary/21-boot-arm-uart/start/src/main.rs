#![no_std]
#![no_main]

use core::panic::PanicInfo;

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

/// Where the processor finds its first instruction: word 1 of the vector table.
#[link_section = ".vector_table"]
#[no_mangle]
pub static RESET: extern "C" fn() -> ! = _start;

/// The program begins here.
#[no_mangle]
pub extern "C" fn _start() -> ! {
    loop {}
}

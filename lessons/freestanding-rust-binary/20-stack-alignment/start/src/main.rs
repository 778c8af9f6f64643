#![no_std]
#![no_main]

mod work;

use core::panic::PanicInfo;

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

/// The program begins here.
#[no_mangle]
pub extern "C" fn _start() -> ! {
    work::work()
}

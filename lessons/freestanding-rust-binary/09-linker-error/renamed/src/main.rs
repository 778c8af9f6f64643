#![no_std]
#![no_main]

use core::panic::PanicInfo;

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

/// The program begins here: the linker looks for this name.
#[no_mangle]
pub extern "C" fn start() -> ! {
    loop {}
}

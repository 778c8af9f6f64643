#![no_std]
#![no_main]

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

unsafe extern "C" {
    static __ehdr_start: u8;
}

#[no_mangle]
pub extern "C" fn _start() -> ! {
    loop {}
}

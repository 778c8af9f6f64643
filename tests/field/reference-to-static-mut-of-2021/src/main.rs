#![no_std]
#![no_main]

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

static mut COUNT: u8 = 0;

#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let _count = unsafe { &mut COUNT };
    loop {}
}

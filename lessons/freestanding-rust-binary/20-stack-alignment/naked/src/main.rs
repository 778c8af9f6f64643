#![no_std]
#![no_main]

mod work;

use core::arch::naked_asm;
use core::panic::PanicInfo;

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

/// The program begins here: it calls `begin`, and so puts an address on the stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("call {begin}", begin = sym begin);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("bl {begin}", begin = sym begin);
}

/// The first function that is called.
extern "C" fn begin() -> ! {
    work::work()
}

#![no_std]
#![no_main]

mod work;

use core::arch::global_asm;
use core::panic::PanicInfo;

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

// The program begins here: it calls `begin`, and so puts an address on the stack.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "call begin",
);

// The same on AArch64, where a call puts nothing there.
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "bl begin",
);

/// The first function that is called.
#[no_mangle]
extern "C" fn begin() -> ! {
    work::work()
}

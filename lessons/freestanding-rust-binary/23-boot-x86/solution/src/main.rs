#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

global_asm!(include_str!("boot.s"));

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

/// The first serial port: a byte that is written there is sent.
const SERIAL: u16 = 0x3f8;

/// QEMU's device for kernels that want to end: `value` becomes the exit code `value * 2 + 1`.
const EXIT: u16 = 0xf4;

/// Writes a byte to an I/O port.
fn out(port: u16, byte: u8) {
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte) };
}

/// The kernel begins here, called by boot.s.
#[no_mangle]
pub extern "C" fn _start() -> ! {
    for byte in b"Hello from long mode!\n" {
        out(SERIAL, *byte);
    }
    out(EXIT, 16);
    loop {}
}

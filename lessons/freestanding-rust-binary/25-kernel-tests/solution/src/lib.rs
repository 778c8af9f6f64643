//! What the kernel and its tests share.
#![no_std]

use core::arch::{asm, global_asm};
use core::fmt;

global_asm!(include_str!("boot.s"));

/// The smallest multiple of `align` that is not below `address`: where something that must be aligned can begin.
pub fn align_up(address: u64, align: u64) -> u64 {
    (address + align - 1) / align * align
}

/// The first serial port.
pub struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            unsafe { asm!("out dx, al", in("dx") 0x3f8_u16, in("al") byte) };
        }
        Ok(())
    }
}

/// Prints on the serial port.
#[macro_export]
macro_rules! print {
    ($($words:tt)*) => {{
        let _ = core::fmt::Write::write_fmt(&mut $crate::Serial, format_args!($($words)*));
    }};
}

/// Switches the PC off; QEMU then ends with 0.
pub fn power_off() -> ! {
    unsafe { asm!("out dx, ax", in("dx") 0x604_u16, in("ax") 0x2000_u16) };
    halt()
}

/// Ends QEMU with the exit code `2 * value + 1`, which is never 0.
pub fn exit(value: u8) -> ! {
    unsafe { asm!("out dx, al", in("dx") 0xf4_u16, in("al") value) };
    halt()
}

/// Sleeps for good.
pub fn halt() -> ! {
    loop {
        unsafe { asm!("hlt") };
    }
}

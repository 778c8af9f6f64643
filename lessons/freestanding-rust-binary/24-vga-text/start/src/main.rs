#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

global_asm!(include_str!("boot.s"));

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    halt()
}

/// Sleeps for good.
fn halt() -> ! {
    loop {
        unsafe { asm!("hlt") };
    }
}

const COLUMNS: usize = 80;
const ROWS: usize = 25;

/// The screen: for each cell a byte for the character and a byte for its colours, row after row.
const SCREEN: *mut u8 = 0xb8000 as *mut u8;

/// Writes text to the screen, beginning at the top.
struct Writer {
    row: usize,
    column: usize,
    color: u8,
}

impl Writer {
    /// Puts a character into a cell.
    fn put(&self, row: usize, column: usize, character: u8) {
        // yours to write, in place of this line
        let _ = (SCREEN, row, column, character, self.color);
    }

    /// Fills the screen with spaces.
    fn clear(&mut self) {
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                self.put(row, column, b' ');
            }
        }
        self.row = 0;
        self.column = 0;
    }

    /// Writes a character and goes on to the next cell; `\n` goes on to the next row.
    fn write_byte(&mut self, byte: u8) {
        // yours to write, in place of this line
        let _ = byte;
    }
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.write_byte(byte);
        }
        Ok(())
    }
}

/// The kernel begins here, called by boot.s.
#[no_mangle]
pub extern "C" fn _start() -> ! {
    let mut writer = Writer { row: 0, column: 0, color: 0x1f };
    writer.clear();
    let _ = writeln!(writer, "Hello from the screen!");
    let _ = writeln!(writer, "{} + {} = {}", 1, 2, 1 + 2);
    halt()
}

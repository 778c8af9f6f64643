#![no_std]
#![no_main]

use core::hint::black_box;
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

/// The board's serial port.
struct Uart;

impl Uart {
    /// Sends one byte.
    fn send(&self, byte: u8) {
        unsafe {
            (0x4000_4008 as *mut u32).write_volatile(1);
            (0x4000_4000 as *mut u8).write_volatile(byte);
        }
    }
}

/// The program begins here.
#[no_mangle]
pub extern "C" fn _start() -> ! {
    for byte in b"Looking for the fourth of three numbers.\n" {
        Uart.send(*byte);
    }
    let numbers = [10, 20, 30];
    let index = black_box(3); // the compiler is not to see through this
    let number = numbers[index];
    Uart.send(number);
    loop {}
}

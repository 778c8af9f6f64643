#![no_std]
#![no_main]

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

/// The board's serial port: a byte that is written here is sent.
const UART_DATA: *mut u8 = 0x4000_4000 as *mut u8;

/// Its switch: bit 0 lets it send.
const UART_CONTROL: *mut u32 = 0x4000_4008 as *mut u32;

/// The program begins here.
#[no_mangle]
pub extern "C" fn _start() -> ! {
    unsafe { UART_CONTROL.write_volatile(1) };
    for byte in b"Hello from bare metal!\n" {
        unsafe { UART_DATA.write_volatile(*byte) };
    }
    loop {}
}

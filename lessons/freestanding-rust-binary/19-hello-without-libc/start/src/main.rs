#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;

/// The compiler calls this function on a panic.
#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

/// The number by which the system knows the request to write.
#[cfg(target_arch = "x86_64")]
const WRITE: usize = 1;
#[cfg(target_arch = "aarch64")]
const WRITE: usize = 64;

/// Asks the system for something: the number of the request, and what it needs to know.
#[cfg(target_arch = "x86_64")]
fn system_call(number: usize, first: usize, second: usize, third: usize) -> isize {
    let answer: isize;
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _, // the system uses these two for itself
            lateout("r11") _,
        );
    }
    answer
}

#[cfg(target_arch = "aarch64")]
fn system_call(number: usize, first: usize, second: usize, third: usize) -> isize {
    let answer: isize;
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first => answer,
            in("x1") second,
            in("x2") third,
        );
    }
    answer
}

/// The program begins here.
#[no_mangle]
pub extern "C" fn _start() {
    let text = "Hello from a program that nobody helps!\n";
    system_call(WRITE, 1, text.as_ptr() as usize, text.len());
}

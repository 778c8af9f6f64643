//! Something to do for the program: it keeps two numbers on the stack, and prints their bytes.

use core::arch::asm;

/// Two numbers that lie at an address divisible by sixteen.
#[repr(align(16))]
struct Pair(u64, u64);

/// Print the bytes of a pair, then end the program. It becomes part of the function that calls it.
#[inline(always)]
pub fn work() -> ! {
    let mut pair = Pair(0, 0);
    // No instruction at all, but it is given the address: so the compiler cannot leave the zeros out.
    unsafe { asm!("/* {} */", in(reg) &mut pair) };
    pair.0 = u64::from_le_bytes(*b"Well ali");
    pair.1 = u64::from_le_bytes(*b"gned.  \n");
    system_call(WRITE, 1, &pair as *const Pair as usize, 16);
    system_call(EXIT, 0, 0, 0);
    loop {}
}

#[cfg(target_arch = "x86_64")]
const WRITE: usize = 1;
#[cfg(target_arch = "x86_64")]
const EXIT: usize = 60;

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn system_call(number: usize, first: usize, second: usize, third: usize) {
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => _,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
}

#[cfg(target_arch = "aarch64")]
const WRITE: usize = 64;
#[cfg(target_arch = "aarch64")]
const EXIT: usize = 93;

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn system_call(number: usize, first: usize, second: usize, third: usize) {
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first => _,
            in("x1") second,
            in("x2") third,
        );
    }
}

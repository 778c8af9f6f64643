#![no_std]
#![no_main]

use blog_os::{align_up, exit, power_off, print};
use core::panic::PanicInfo;

/// A test that fails panics.
#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    print!("FAILED\n{info}\n");
    exit(16)
}

fn rounds_up() {
    assert_eq!(align_up(5000, 4096), 8192);
}

fn keeps_what_is_aligned() {
    assert_eq!(align_up(8192, 4096), 8192);
}

fn zero_is_aligned() {
    assert_eq!(align_up(0, 4096), 0);
}

/// Every test: its name, and the function.
const TESTS: &[(&str, fn())] = &[
    ("rounds_up", rounds_up),
    ("keeps_what_is_aligned", keeps_what_is_aligned),
    ("zero_is_aligned", zero_is_aligned),
];

#[no_mangle]
pub extern "C" fn _start() -> ! {
    for (name, test) in TESTS {
        print!("test {name} ... ");
        test();
        print!("ok\n");
    }
    power_off()
}

#![feature(lang_items)]
#![no_main]
#![no_std]

#[no_mangle]
pub extern "C" fn _start() -> ! {
    loop {}
}

#[lang = "panic_fmt"]
extern "C" fn panic_fmt() {}

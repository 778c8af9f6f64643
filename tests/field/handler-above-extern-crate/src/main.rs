#![no_std]

#[panic_handler]
extern crate core;

fn main() {}

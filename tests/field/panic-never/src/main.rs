#![no_std]

extern crate panic_never;

fn main() {}

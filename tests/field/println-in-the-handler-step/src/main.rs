#![no_std]
fn main() {
    println!("Hello, world!");
}

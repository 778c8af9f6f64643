// A freestanding Rust binary

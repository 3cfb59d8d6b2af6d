//! Benches of the rooms.

fn main() {}

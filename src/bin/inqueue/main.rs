//! The command line of Inqueue.

fn main() {}

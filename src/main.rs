//! The plustwo daemon.
fn main() {}

//! The `mediaforge` command.

fn main() {}

//! `cargo xtask`: Shipline's commands and the repository's own chores.

fn main() {}

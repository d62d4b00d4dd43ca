//! Plugins in Python: they do what those in Rust do, get no more of the machine, and tell their authors what is wrong.

mod building;
mod captive;
mod twin;

//! How far a long verb has got, for people at a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on stderr that counts records up to `length`; nothing at all if stderr is no terminal.
pub fn records(length: u64) -> ProgressBar {
    bar(length, "{wide_bar} {human_pos} of {human_len} records, {per_sec}, {eta} left")
}

/// The same for the bytes of a file.
pub fn bytes(length: u64) -> ProgressBar {
    bar(length, "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template that is right");
    ProgressBar::new(length).with_style(style)
}

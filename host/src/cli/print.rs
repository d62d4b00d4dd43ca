//! Printing listings, to a terminal or into a pipe.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context, Result};
use serde::Serialize;

/// Prints one block of text. A reader that has seen enough (`| head`) is no error.
pub fn text(text: &impl std::fmt::Display) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("can't print to stdout"),
    }
}

/// Prints one JSON document, for programs and for people.
pub fn json(value: &impl Serialize) -> Result<()> {
    text(&serde_json::to_string_pretty(value).context("can't print this as JSON")?)
}

/// Prints a part of something long; answers whether anybody still reads.
pub fn part(text: &impl std::fmt::Display) -> Result<bool> {
    match write!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        printed => printed.map(|()| true).context("can't print to stdout"),
    }
}

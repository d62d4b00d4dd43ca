//! What a guest writes: its log, stdout and stderr, as bounded lines that cannot forge anything.

use std::fmt::Write;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::meter::Meter;
use crate::model::GuestLog;

/// The longest line kept, in bytes before escaping.
const LINE_LENGTH: usize = 4096;
/// What one line costs beside its text, so that empty lines are bounded too.
const LINE_OVERHEAD: usize = 32;
/// The most bytes a guest may write to stdout or stderr at once.
const WRITE_SIZE: usize = 64 << 10;

/// One guest's log, shared by everything that writes to it.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Lines>>);

struct Lines {
    kept: GuestLog,
    /// Bytes that may still be kept.
    left: usize,
    /// Unfinished lines of stdout and stderr.
    unfinished: [Vec<u8>; 2],
}

/// A stream of the guest that ends up in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard output.
    Stdout = 0,
    /// Standard error; panics are written here.
    Stderr = 1,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Log {
    /// An empty log that keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let lines = Lines { kept: GuestLog::default(), left: limit, unfinished: [Vec::new(), Vec::new()] };
        Self(Arc::new(Mutex::new(lines)))
    }

    /// Adds one line of the guest's own log; `false` if it did not fit.
    pub(super) fn line(&self, level: u8, text: &str) -> bool {
        self.lock().push(level_name(level), text.as_bytes())
    }

    /// Adds what became of one of the guest's requests.
    pub(super) fn request(&self, text: &str) {
        self.lock().push("request", text.as_bytes());
    }

    /// Everything kept so far; the log is empty afterwards.
    pub(super) fn take(&self) -> GuestLog {
        let mut lines = self.lock();
        for source in [Source::Stdout, Source::Stderr] {
            lines.finish(source);
        }
        mem::take(&mut lines.kept)
    }

    fn write(&self, source: Source, bytes: &[u8]) {
        let mut lines = self.lock();
        let mut parts = bytes.split(|&byte| byte == b'\n');
        let first = parts.next().unwrap_or_default();
        lines.extend(source, first);
        for part in parts {
            lines.finish(source);
            lines.extend(source, part);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().expect("no code panics while it holds a guest's log")
    }
}

impl Lines {
    /// Continues the unfinished line of `source`.
    fn extend(&mut self, source: Source, bytes: &[u8]) {
        // Once nothing fits any more, nothing is collected either: a flood costs the host no memory.
        let limit = if self.left == 0 { 0 } else { LINE_LENGTH };
        let line = &mut self.unfinished[source as usize];
        let fits = bytes.len().min(limit.saturating_sub(line.len()));
        line.extend_from_slice(&bytes[..fits]);
        self.kept.dropped_bytes += (bytes.len() - fits) as u64;
    }

    /// Ends the unfinished line of `source`, if there is one.
    fn finish(&mut self, source: Source) {
        let mut line = mem::take(&mut self.unfinished[source as usize]);
        if !line.is_empty() {
            self.push(source.name(), &line);
            line.clear();
            self.unfinished[source as usize] = line;
        }
    }

    /// Keeps a line, or as much of it as fits.
    fn push(&mut self, origin: &str, text: &[u8]) -> bool {
        if self.left == 0 {
            self.kept.dropped_bytes += text.len() as u64;
            return false;
        }
        let text_kept = &text[..text.len().min(LINE_LENGTH)];
        self.kept.dropped_bytes += (text.len() - text_kept.len()) as u64;
        let line = format!("{origin}: {}", escaped(&String::from_utf8_lossy(text_kept)));
        let cost = line.len() + LINE_OVERHEAD;
        if cost > self.left {
            self.left = 0;
            self.kept.dropped_bytes += text_kept.len() as u64;
            return false;
        }
        self.left -= cost;
        self.kept.lines.push(line);
        true
    }
}

/// The text with everything escaped that could end a line, move a cursor or turn the direction of writing.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        let is_hostile = char.is_control()
            || matches!(char, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if is_hostile {
            write!(safe, "{}", char.escape_default()).expect("writing to a string cannot fail");
        } else {
            safe.push(char);
        }
    }
    safe
}

/// The syslog severity (RFC 5424 §6.2.1) in words; anything above 7 counts as 7.
fn level_name(level: u8) -> &'static str {
    const NAMES: [&str; 8] = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];
    NAMES[usize::from(level.min(7))]
}

/// Stdout or stderr of a guest. Always ready: a guest that floods it is not even slowed down, only ignored.
pub(super) struct LogStream {
    /// Where the lines go.
    pub(super) log: Log,
    /// Who pays for them.
    pub(super) meter: Arc<Meter>,
    /// Which stream it is.
    pub(super) source: Source,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self { log: self.log.clone(), meter: Arc::clone(&self.meter), source: self.source })
    }

    /// Only the third WASI preview asks for this, and it is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.meter.charge_bytes(bytes.len());
        self.log.write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_SIZE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_across_writes_and_labelled() {
        let log = Log::new(1 << 10);
        log.write(Source::Stdout, b"one\ntw");
        log.write(Source::Stderr, b"oh no");
        log.write(Source::Stdout, b"o\n\n");
        assert!(log.line(4, "careful"));
        assert_eq!(log.take().lines, ["stdout: one", "stdout: two", "warning: careful", "stderr: oh no"]);
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let log = Log::new(1 << 10);
        for _ in 0..1000 {
            log.write(Source::Stdout, &[b'x'; 1000]);
            log.write(Source::Stdout, b"\n");
        }
        let kept = log.take();
        let bytes: usize = kept.lines.iter().map(String::len).sum();
        assert!(bytes <= 1 << 10, "{bytes}");
        assert!(kept.dropped_bytes > 990_000, "{}", kept.dropped_bytes);
    }

    #[test]
    fn empty_lines_are_bounded_too() {
        let log = Log::new(1 << 10);
        for _ in 0..1000 {
            log.line(6, "");
        }
        assert!(log.take().lines.len() <= 32);
    }

    #[test]
    fn a_line_cannot_forge_another_line_or_a_terminal_command() {
        let log = Log::new(1 << 10);
        log.line(3, "done\n{\"seq\":7}\u{1b}[2J\u{202e}txt");
        assert_eq!(log.take().lines, [r#"error: done\n{"seq":7}\u{1b}[2J\u{202e}txt"#]);
    }
}

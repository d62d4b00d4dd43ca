//! What is shown of a snapshot, in which order, from where on; and what keys do to that.

use std::cmp::Ordering;
use std::time::Duration;

use clap::ValueEnum;

use crate::admission::{Load, Snapshot};

/// Lines that a page key goes.
const PAGE: usize = 10;

/// A snapshot as it is looked at.
#[derive(Debug)]
pub struct View {
    /// The latest one.
    pub snapshot: Snapshot,
    /// What comes first.
    pub sort: Column,
    /// The first principal that is shown.
    pub offset: usize,
    /// Whether it stands still.
    pub is_paused: bool,
    /// What is in the way of a newer one.
    pub problem: Option<String>,
}

/// A column, and what rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// By name.
    Name,
    /// Most calls running first.
    Running,
    /// Most calls waiting first.
    Queued,
    /// Most fuel burned lately first.
    Fuel,
    /// Longest parked first.
    Parked,
    /// Most refused first.
    Rejects,
    /// Longest expected wait first.
    Wait,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing but to be shown anew.
    Draw,
    /// The end.
    Quit,
}

/// The keys that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter.
    Letter(char),
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the top.
    Home,
    /// Away.
    Escape,
}

impl Column {
    /// All columns, from left to right.
    pub const ALL: [Self; 7] = [Self::Name, Self::Running, Self::Queued, Self::Fuel, Self::Parked, Self::Rejects, Self::Wait];

    /// What stands above it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Running => "running",
            Self::Queued => "queued",
            Self::Fuel => "fuel/s",
            Self::Parked => "parked",
            Self::Rejects => "rejects",
            Self::Wait => "wait",
        }
    }

    /// The key that sorts by it.
    pub const fn key(self) -> char {
        match self {
            Self::Name => 'n',
            Self::Running => 'r',
            Self::Queued => 'u',
            Self::Fuel => 'f',
            Self::Parked => 'p',
            Self::Rejects => 'x',
            Self::Wait => 'w',
        }
    }

    /// What stands in it.
    pub fn show(self, load: &Load) -> String {
        match self {
            Self::Name => printable(&load.name),
            Self::Running => load.running.to_string(),
            Self::Queued => load.queued.to_string(),
            Self::Fuel => short(load.fuel_per_second),
            Self::Parked => match load.parked {
                0 => format!("{}s", load.parked_seconds),
                now => format!("{}s ({now} now)", load.parked_seconds),
            },
            Self::Rejects => load.rejects.to_string(),
            Self::Wait => span(load.estimated_wait_ms),
        }
    }

    /// Which of two comes first.
    fn compare(self, one: &Load, other: &Load) -> Ordering {
        let most = |of: &Load| match self {
            Self::Name => (0, 0),
            Self::Running => (of.running as u64, 0),
            Self::Queued => (of.queued as u64, 0),
            Self::Fuel => (of.fuel_per_second, 0),
            Self::Parked => (of.parked_seconds, of.parked as u64),
            Self::Rejects => (of.rejects, 0),
            Self::Wait => (of.estimated_wait_ms, 0),
        };
        // Of equals, by name: rows must not change places for nothing.
        most(other).cmp(&most(one)).then_with(|| (&one.name, &one.issuer).cmp(&(&other.name, &other.issuer)))
    }
}

impl View {
    /// A view of a first snapshot.
    pub const fn new(snapshot: Snapshot, sort: Column) -> Self {
        Self { snapshot, sort, offset: 0, is_paused: false, problem: None }
    }

    /// Shows a newer snapshot, or what is in the way of one.
    pub fn renew(&mut self, snapshot: Result<Snapshot, String>) {
        match snapshot {
            Ok(snapshot) => {
                self.snapshot = snapshot;
                self.problem = None;
                self.offset = self.offset.min(self.last());
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// Does what a key says.
    pub fn press(&mut self, key: Key) -> Asked {
        match key {
            Key::Escape | Key::Letter('q') => return Asked::Quit,
            Key::Letter(' ') => self.is_paused = !self.is_paused,
            Key::Letter(letter) => {
                if let Some(column) = Column::ALL.into_iter().find(|column| column.key() == letter) {
                    self.sort = column;
                }
            }
            Key::Up => self.offset = self.offset.saturating_sub(1),
            Key::Down => self.offset = (self.offset + 1).min(self.last()),
            Key::PageUp => self.offset = self.offset.saturating_sub(PAGE),
            Key::PageDown => self.offset = (self.offset + PAGE).min(self.last()),
            Key::Home => self.offset = 0,
        }
        Asked::Draw
    }

    /// Rows in their order.
    pub fn sorted<'a>(&self, loads: &'a [Load]) -> Vec<&'a Load> {
        let mut sorted: Vec<_> = loads.iter().collect();
        sorted.sort_by(|one, other| self.sort.compare(one, other));
        sorted
    }

    /// What all calls together take, in words.
    pub fn totals(&self) -> [String; 2] {
        let host = &self.snapshot.host;
        let memory = |bytes| bytesize::ByteSize(bytes).display().iec();
        [
            format!(
                "fuel {} of {} a second   slots {} of {}   memory {} of {}",
                short(host.fuel_per_second),
                short(host.capacity),
                host.running,
                host.slots,
                memory(host.memory),
                memory(host.memory_limit)
            ),
            format!(
                "queued {} ({} fuel)   parked {}   rejects {}   estimated wait {}   principals {}",
                host.queued,
                short(host.queue_fuel),
                host.parked,
                host.rejects,
                span(host.estimated_wait_ms),
                self.snapshot.principals_known
            ),
        ]
    }

    /// How much of its fuel, of its slots and of its memory the host uses; 0 to 1 each.
    pub fn shares(&self) -> [f64; 3] {
        let host = &self.snapshot.host;
        let share = |used: f64, of: f64| if of > 0.0 { (used / of).clamp(0.0, 1.0) } else { 0.0 };
        [
            share(host.fuel_per_second as f64, host.capacity as f64),
            share(host.running as f64, host.slots as f64),
            share(host.memory as f64, host.memory_limit as f64),
        ]
    }

    fn last(&self) -> usize {
        self.snapshot.principals.len().saturating_sub(1)
    }
}

/// A large number as people read it.
fn short(number: u64) -> String {
    let scaled = number as f64;
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1}k", scaled / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", scaled / 1e6),
        1_000_000_000..1_000_000_000_000 => format!("{:.1}G", scaled / 1e9),
        _ => format!("{:.1}T", scaled / 1e12),
    }
}

fn span(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0".to_owned(),
        1..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{:.1}s", milliseconds as f64 / 1e3),
        _ => humantime::format_duration(Duration::from_secs(milliseconds / 1_000)).to_string(),
    }
}

/// A subject is somebody else's text; control characters in it could write anywhere on the screen.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

//! What a running call may use of its host.

use std::cell::OnceCell;
use std::time::SystemTime;

use serde::Serialize;

use crate::RowFilter;
use crate::http::Backend;

#[cfg(not(target_family = "wasm"))]
use crate::testing::Link;
#[cfg(target_family = "wasm")]
use crate::wasm::Link;

/// The running call: who it is for, and what the host offers to it.
pub struct Context {
    pub(crate) link: Link,
    /// Fetched at first use: many tools never ask.
    facts: OnceCell<Facts>,
}

/// What the host knows of the call.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) subject: String,
    pub(crate) trace_id: String,
    pub(crate) attempt: u32,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) row_filter: Option<String>,
}

impl Context {
    pub(crate) fn new(link: Link) -> Context {
        Context { link, facts: OnceCell::new() }
    }

    /// The authenticated principal on whose behalf the call runs.
    pub fn subject(&self) -> &str {
        &self.facts().subject
    }

    /// The W3C trace id of the call: 32 lowercase hexadecimal digits. Outbound requests carry it by themselves.
    pub fn trace_id(&self) -> &str {
        &self.facts().trace_id
    }

    /// Which run of this call this is, from 1. More than 1 means that the outcome of an earlier run was lost.
    pub fn attempt(&self) -> u32 {
        self.facts().attempt
    }

    /// The caller's idempotency key, if the tool writes. Requests to backends carry a key of their own, derived from it,
    /// without the tool's doing.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.facts().idempotency_key.as_deref()
    }

    /// A hint which rows of the tool's resource the caller may see, if the host can say. A tool may use it to ask its
    /// backend for less.
    pub fn row_filter(&self) -> Option<RowFilter> {
        self.facts().row_filter.as_deref().and_then(RowFilter::parse)
    }

    /// What time it is. Tests set it; a tool that asks the system instead can't be tested at another time than now.
    pub fn now(&self) -> SystemTime {
        self.link.now()
    }

    /// Reports progress to the caller: `done` of `total`, in the tool's own unit. `done` must grow with every report.
    pub fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        self.link.progress(done, total, message);
    }

    /// Whether the caller has given up. A tool that works in steps asks between them and stops.
    pub fn is_cancelled(&self) -> bool {
        self.link.is_cancelled()
    }

    /// Whether the policies let the caller act on this row. `resource` is a `[[resource]]` name of the manifest, `row`
    /// an object with its declared attributes. A row without a JSON form is not permitted.
    pub fn permits(&self, resource: &str, row: &impl Serialize) -> bool {
        serde_json::to_string(row).is_ok_and(|row| self.link.permits(resource, &row))
    }

    /// Writes a line to the plugin's log and, if the caller asked for it, to the caller: no secrets.
    pub fn log(&self, level: Level, message: &str) {
        self.link.log(level, message);
    }

    /// A logical backend of the manifest (`backends = ["billing"]`). Where it is and how to authenticate to it, the
    /// operator decides; the tool never sees either. Or one of its literal origins (`origins = ["https://api.example.com"]`),
    /// by itself.
    pub fn backend<'a>(&'a self, name: &'a str) -> Backend<'a> {
        Backend::new(self, name)
    }

    fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| self.link.facts())
    }
}

/// How grave a line of the log is: the syslog severities (RFC 5424), which are MCP's log levels too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing works any more.
    Emergency = 0,
    /// Somebody has to act now.
    Alert = 1,
    /// A part is down.
    Critical = 2,
    /// An operation failed.
    Error = 3,
    /// Something will fail if nobody looks.
    Warning = 4,
    /// Unusual, but right.
    Notice = 5,
    /// What is going on.
    Info = 6,
    /// For the author of the plugin.
    Debug = 7,
}

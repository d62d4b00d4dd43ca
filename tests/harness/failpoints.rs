//! The named failpoints of the host: places where a test can make it crash, or fail.
//!
//! They are compiled in only where tests are. [`Host::failing`](super::Host::failing) sets them: `call::intended=3*off->return`
//! lets three calls pass the place and crashes the host at the fourth. A crash is an abort: nothing is flushed, no destructor
//! runs, and what the kernel has is kept, as after `kill -9`.

/// Where a host can be made to crash, in the order in which a call comes by; what has happened there, and what has not.
pub const CRASHES: [(&str, &str); 26] = [
    ("call::claim", "the call is authorized; its key was not looked up"),
    ("call::queued", "it waits durably; its caller was not told"),
    ("call::claimed", "it may run; its key is reserved in memory, nothing is written"),
    ("body::unnamed", "the file of a long intent, outcome or answer is written and synced, and has no name yet"),
    ("body::named", "the same file is durable under its name; no row names it"),
    ("store::applied", "a group of commits, of intents or outcomes, is applied; it is not flushed"),
    ("store::flushed", "the group is flushed, not synced"),
    ("store::synced", "the group is durable; nobody has been told"),
    ("call::intended", "the intent is durable, the call is about to run"),
    ("outbound::leaves", "a request to a backend is about to leave"),
    ("outbound::answered", "the backend has answered; the host has not noticed"),
    ("directory::written", "what a file is to hold is written and synced beside it"),
    ("directory::renamed", "the file holds it; nobody has been told"),
    ("call::executed", "the call has run; its outcome is known to nobody else"),
    ("call::asked", "what the run asked is durable, and so is that its call waits for the answers; nobody waits for them yet"),
    ("call::concluded", "the outcome is durable, or for a read on its way; the caller has no answer"),
    ("mark::unnamed", "how far the log got is written beside the mark that it replaces"),
    ("upkeep::forgotten", "answers are forgotten; their files are still there"),
    ("compact::written", "at the start, the store is written anew beside the old one; it has not taken its place"),
    ("compact::exchanged", "the new one has taken the place of the old one, which is still there"),
    ("recovery::page", "at the start after a crash, some open calls got their outcome"),
    ("install::staged", "the files of a plugin are written and synced, beside those that are installed"),
    ("install::laid_down", "they are durable under their digest; nothing names it"),
    ("install::recorded", "the log says that they are put in force; they are not"),
    ("install::written", "what would be in force is written beside what is"),
    ("install::committed", "it is in force on disk; the host that runs does not serve it"),
];

/// Where a host can be made to fail or to leave something out, and where the tests of its parts have something come in between.
pub const FAULTS: [(&str, &str); 9] = [
    ("backup::copied", "the rows and bodies of a backup are copied, the keys are not: tests stop it there"),
    ("claim::held", "a key's claim is read, the end of its call is not: tests have the sweep come in between"),
    ("compact::worth", "a small store is written anew as well (`return`)"),
    ("install::unchanged", "the change of the generation that comes with an installation can't be written down (`return`)"),
    ("install::unsynced", "the sync after what is installed was renamed fails (`return`)"),
    ("store::commit", "a commit panics (`panic`)"),
    ("store::sync", "the sync after a flush fails (`return`), or is left out (`return(skip)`)"),
    ("subjects::found", "the keys of subjects are found or made, and not remembered: tests have an erasure come in between"),
    ("upkeep::grace", "what has expired is forgotten at once (`return`), not a minute later"),
];

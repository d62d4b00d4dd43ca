//! All integration tests, one binary. They drive the real `tidegate` over real sockets, with real plugins, a real backend
//! and real clients.
//!
//! | module | what it holds the host to |
//! |---|---|
//! | `admin` | the admin API: who is let in, and that it says what the admin socket says |
//! | `asking` | tools that ask their callers: in the answer, behind a handle, durably, and badly |
//! | `audit` | what was written down: found, shown, checked and taken elsewhere |
//! | `auth` | tokens of a real provider; forged ones; the local user; `dev`'s own tokens |
//! | `author` | from an empty folder to a tool that is served, edited, served again and called |
//! | `call_path` | the main job: list, call, keys, policies, the error envelope |
//! | `degradation` | backends that die, hang and stumble: the envelope, the breaker, retries, and one effect per key |
//! | `doctor` | what is broken is named, with what to do about it |
//! | `durability` | `kill -9` at awkward moments; what recovery makes of it |
//! | `keeping` | retention, legal holds, erasure: what stays in the log and what goes |
//! | `backup` | backups of a host under load, restored elsewhere |
//! | `faults` | full, unwritable and failing disks, and commits that panic, under a host that lives on |
//! | `fetch` | the plugin `fetch`: pages as Markdown, through the operator's allow-list and no further |
//! | `files` | the plugin `files`: granted directories, what leads out of them and does not, crashes and full disks |
//! | `hostile` | guests that spin, hoard, crash and pry, while honest calls run beside them |
//! | `idempotency` | what a key stands for, what burns it, what settles what is unknown |
//! | `installed` | plugins that are installed, approved, pinned, taken back; crashes and full disks in between |
//! | `bad_input` | manifests, configs, components and command lines that are wrong |
//! | `connections` | more connections than files, idle ones and slow ones |
//! | `outbound` | what leaves the host: credentials, TLS, redirects, literal origins, backends that are slow, endless or broken |
//! | `pending` | calls that go on without their callers: the host's own tool, the URL, the command line |
//! | `provenance` | who signed a plugin, and how plugins travel: archives, URLs, registries, honest ones and others |
//! | `protocol` | what the MCP specification demands on the wire |
//! | `python` | plugins in Python: the same as in Rust, what they can't do, how they are built |
//! | `policy_tools` | policies that change under a running host, and what admins ask about them |
//! | `story` | the whole life of a plugin, in each language: made, edited, signed, installed, widened and taken back under load |
//! | `stdio` | `tidegate run`, alone and beside a live host |
//! | `clients` | the official clients and the official conformance suite |
//! | `readme` | every command in the README |
//! | `reload` | other plugins under a running host: which take effect, which don't, and what calls notice |
//! | `rows` | who sees and changes which rows |
//! | `sinks` | further places that all records go to: files, collectors, and what they miss |
//! | `signals` | traces, metrics and logs: what a collector gets, and what happens if there is none |
//! | `load` | the load generator: what it measures, and what does not escape it |
//! | `layering` | who may use whom in the source |
//! | `top` | who runs, who waits and who burns, as the operator sees it |
//! | `power` | power cuts under load, on a disk of the test's own |
//! | `kill` | hundreds of crashes at random moments and at every step of a call, under load |

mod harness;

mod admin;
mod asking;
mod audit;
mod auth;
mod author;
mod backpressure;
mod backup;
mod bad_input;
mod call_path;
mod clients;
mod connections;
mod degradation;
mod doctor;
mod durability;
mod faults;
mod fetch;
mod files;
mod hostile;
mod idempotency;
mod installed;
mod keeping;
mod kill;
mod layering;
mod load;
mod outbound;
mod pending;
mod policy_tools;
mod power;
mod protocol;
mod provenance;
mod python;
mod readme;
mod reload;
mod rows;
mod signals;
mod sinks;
mod stdio;
mod story;
mod top;

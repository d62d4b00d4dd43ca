//! A plugin that attacks its host: one tool per attack, and an honest one beside them.
//!
//! An attack that the host stops never answers. One that answers tells what it got hold of.

mod ambient;
mod answers;
mod careless;
mod compute;
mod flood;
mod memory;
mod overstep;
#[cfg_attr(target_family = "wasm", path = "raw_wasi.rs")]
#[cfg_attr(not(target_family = "wasm"), path = "raw_native.rs")]
mod raw;
mod waiting;

use ambient::{Change, DumpEnvironment, Fetch};
use answers::{BadStructured, DeepOutput, GarbageOutput, Honest, HugeOutput, StrangeFailure};
use careless::{CarelessRead, CarelessWrite};
use compute::{Recurse, Spin, Trap};
use flood::{FloodHostCalls, FloodLog, FloodProgress, FloodStdout, RandomFlood};
use memory::{Allocate, FindSecret, LeaveSecret};
use overstep::{AnswerRows, SendUnasked};
use waiting::{IgnoreResponse, ManyHandles, Sleep};

tidegate_plugin_sdk::export!(
    Honest,
    Spin,
    Recurse,
    Trap,
    Allocate,
    LeaveSecret,
    FindSecret,
    FloodStdout,
    FloodLog,
    FloodProgress,
    FloodHostCalls,
    RandomFlood,
    HugeOutput,
    DeepOutput,
    GarbageOutput,
    BadStructured,
    StrangeFailure,
    IgnoreResponse,
    ManyHandles,
    Sleep,
    DumpEnvironment,
    Fetch,
    Change,
    SendUnasked,
    AnswerRows,
    CarelessRead,
    CarelessWrite,
);

#[cfg(test)]
mod tests;

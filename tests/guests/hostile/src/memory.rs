//! Attacks on memory: taking all of it, and looking for what others left in it.

use std::hint::black_box;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_plugin_sdk::{Content, Context, Failure, NoInput, Tool};

use crate::raw;

/// How much to take at a time, in bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// How many copies of the secret to leave.
const COPIES: usize = 10_000;

/// How long the secret is, in bytes.
const SECRET_BYTES: usize = 64;

/// Takes all memory there is.
pub(crate) struct Allocate;

impl Tool for Allocate {
    const NAME: &'static str = "allocate";
    const DESCRIPTION: &'static str = "Allocates memory without end.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        let mut pieces = Vec::new();
        loop {
            // Written to, so that it is really there.
            pieces.push(vec![1_u8; PIECE_BYTES]);
        }
    }
}

/// Leaves secrets behind in memory.
pub(crate) struct LeaveSecret;

/// What a search found.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Secrets {
    /// How many copies of the secret.
    copies: usize,
    /// In how many bytes of memory.
    memory_bytes: usize,
}

/// Which secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seed {
    /// The secret is made from this number.
    seed: u64,
}

impl Tool for LeaveSecret {
    const NAME: &'static str = "leave_secret";
    const DESCRIPTION: &'static str = "Leaves ten thousand copies of a secret in memory, and counts them.";
    type Input = Seed;
    type Output = Secrets;

    fn call(Seed { seed }: Seed, _: &Context) -> Result<Secrets, Failure> {
        for _ in 0..COPIES {
            let secret: Vec<u8> = (0..SECRET_BYTES).map(|at| secret_byte(seed, at)).collect();
            // Nobody reads them: without the box the compiler would not write them either.
            std::mem::forget(black_box(secret));
        }
        // Looked for at once, so that a later search which finds none is known to be able to find them.
        search(seed)
    }
}

/// Looks for secrets that an earlier call left behind.
pub(crate) struct FindSecret;

impl Tool for FindSecret {
    const NAME: &'static str = "find_secret";
    const DESCRIPTION: &'static str = "Searches all of its memory, old and newly grown, for copies of a secret.";
    type Input = Seed;
    type Output = Secrets;

    fn call(Seed { seed }: Seed, _: &Context) -> Result<Secrets, Failure> {
        search(seed)
    }
}

fn search(seed: u64) -> Result<Secrets, Failure> {
    // The secret is compared byte by byte as it is computed: it is never whole in memory to be found by itself.
    let copies = raw::count_in_memory(SECRET_BYTES, |at| secret_byte(seed, at))?;
    Ok(Secrets { copies, memory_bytes: raw::memory_bytes()? })
}

/// One byte of the secret: splitmix64 of seed and place.
fn secret_byte(seed: u64, at: usize) -> u8 {
    let mut mixed = seed.wrapping_add((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 56) as u8
}

//! `wasi:random` for guests: the system's randomness during calls, a fixed sequence while describing.

use std::sync::Arc;

use wasmtime::component::HasData;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::meter::Meter;

/// The seed of the fixed sequence; any number serves.
const SEED: u64 = 0x5449_4445_4741_5445;

/// One guest's source of randomness.
pub(super) struct Random {
    /// The most bytes one request may ask for.
    limit: u64,
    meter: Arc<Meter>,
    source: Source,
}

enum Source {
    System,
    /// SplitMix64 (Steele, Lea, Flood 2014): the same on every load, so a description cannot depend on luck.
    Fixed(u64),
}

/// Names [`Random`] as the data that the linked functions work on.
pub(super) struct HasRandom;

impl HasData for HasRandom {
    type Data<'a> = &'a mut Random;
}

impl Random {
    /// The system's randomness if `live`, else the fixed sequence.
    pub(super) fn new(limit: u64, meter: Arc<Meter>, live: bool) -> Self {
        Self { limit, meter, source: if live { Source::System } else { Source::Fixed(SEED) } }
    }

    fn bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if count > self.limit {
            wasmtime::bail!("the plugin asked for {count} random bytes at once; at most {} are given", self.limit);
        }
        let mut bytes = vec![0; usize::try_from(count)?];
        self.meter.charge_bytes(bytes.len());
        match &mut self.source {
            Source::System => getrandom::fill(&mut bytes)?,
            Source::Fixed(state) => {
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&split_mix(state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
        Ok(bytes)
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        match &mut self.source {
            Source::System => Ok(getrandom::u64()?),
            Source::Fixed(state) => Ok(split_mix(state)),
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl random::Host for Random {
    fn get_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(count)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.number()
    }
}

impl insecure::Host for Random {
    fn get_insecure_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(count)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.number()
    }
}

impl insecure_seed::Host for Random {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.number()?, self.number()?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(live: bool) -> Random {
        Random::new(64, Meter::for_tests(Duration::from_millis(1)), live)
    }

    #[test]
    fn describing_sees_the_same_sequence_every_time() {
        assert_eq!(source(false).bytes(20).expect("within the limit"), source(false).bytes(20).expect("within the limit"));
    }

    #[test]
    fn calls_see_fresh_randomness_and_pay_for_it() {
        let mut random = source(true);
        assert_ne!(random.bytes(32).expect("within the limit"), source(true).bytes(32).expect("within the limit"));
        assert_eq!(random.meter.owed(), 32);
    }

    #[test]
    fn a_request_for_too_much_is_refused() {
        assert!(source(true).bytes(65).is_err());
    }
}

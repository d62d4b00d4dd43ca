//! How much fuel this machine burns in a second: measured with the engine that runs the guests, in a few milliseconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, Instance, Module, Store};

use super::Sandbox;
use super::error::SandboxError;

/// A core module that mixes numbers into its memory until its fuel is used up. As text:
///
/// ```wat
/// (module
///   (memory 1)
///   (func (export "spin") (local i32)
///     (loop
///       (local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 1103515245)) (i32.const 12345)))
///       (i32.store (i32.and (local.get 0) (i32.const 65532))
///         (i32.xor (local.get 0) (i32.load (i32.and (i32.shr_u (local.get 0) (i32.const 8)) (i32.const 65532)))))
///       (br 0))))
/// ```
const SPIN: &[u8] = &[
    0x00, b'a', b's', b'm', 0x01, 0x00, 0x00, 0x00, // module, version 1
    0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // type 0: no parameters, no results
    0x03, 0x02, 0x01, 0x00, // function 0 is of type 0
    0x05, 0x03, 0x01, 0x00, 0x01, // one page of memory
    0x07, 0x08, 0x01, 0x04, b's', b'p', b'i', b'n', 0x00, 0x00, // function 0 is exported as "spin"
    0x0a, 0x35, 0x01, 0x33, 0x01, 0x01, 0x7f, // its code, with one local of type i32
    0x03, 0x40, // loop
    0x20, 0x00, 0x41, 0xed, 0x9c, 0x99, 0x8e, 0x04, 0x6c, // local.get 0, i32.const 1103515245, i32.mul
    0x41, 0xb9, 0xe0, 0x00, 0x6a, 0x21, 0x00, // i32.const 12345, i32.add, local.set 0
    0x20, 0x00, 0x41, 0xfc, 0xff, 0x03, 0x71, // local.get 0, i32.const 65532, i32.and
    0x20, 0x00, // local.get 0
    0x20, 0x00, 0x41, 0x08, 0x76, // local.get 0, i32.const 8, i32.shr_u
    0x41, 0xfc, 0xff, 0x03, 0x71, // i32.const 65532, i32.and
    0x28, 0x02, 0x00, 0x73, 0x36, 0x02, 0x00, // i32.load, i32.xor, i32.store
    0x0c, 0x00, 0x0b, 0x0b, // br 0, end, end
];

/// What one round burns: a millisecond or two.
const ROUND: u64 = 2_000_000;
/// The fastest of so many rounds counts: whatever else the machine does makes them slower, never faster.
const ROUNDS: usize = 5;

impl Sandbox {
    /// Fuel that all guests together burn in a second, measured now: what one core burns, times the guests that compute at once.
    pub fn capacity(&self) -> Result<u64, SandboxError> {
        let core = measure(&self.engine).map_err(SandboxError::Engine)?;
        Ok(core.saturating_mul(self.config.running() as u64).max(1))
    }
}

fn measure(engine: &Engine) -> wasmtime::Result<u64> {
    let module = Module::new(engine, SPIN)?;
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        store.set_fuel(ROUND)?;
        let begun = spent();
        // It ends as it must: out of fuel.
        let ended = spin.call(&mut store, ());
        debug_assert!(ended.is_err());
        fastest = fastest.min(spent().saturating_sub(begun));
    }
    Ok((ROUND as f64 / fastest.as_secs_f64().max(1e-9)) as u64)
}

/// What this thread has spent of the processor: what others take of it does not count.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::SandboxConfig;

    #[test]
    fn the_module_is_what_its_text_says() {
        let source = include_str!("capacity.rs");
        let text: String = source
            .lines()
            .skip_while(|line| !line.contains("```wat"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("///"))
            .collect();
        assert_eq!(wat::parse_str(text).expect("well formed"), SPIN);
    }

    #[test]
    fn a_machine_burns_at_least_a_hundred_million_fuel_a_second() {
        let config = SandboxConfig { max_instances: 1, max_running: std::num::NonZeroUsize::new(3), ..SandboxConfig::default() };
        let capacity = Sandbox::new(&config, |_| false).and_then(|sandbox| sandbox.capacity()).expect("it runs");
        assert!((300_000_000..100_000_000_000).contains(&capacity), "{capacity}");
    }
}

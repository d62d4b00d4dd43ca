//! Attacks on the processor and the stack.

use std::hint::black_box;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::{Content, Context, Failure, NoInput, Tool};

/// Never ends.
pub(crate) struct Spin;

impl Tool for Spin {
    const NAME: &'static str = "spin";
    const DESCRIPTION: &'static str = "Loops forever.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
}

/// Uses up the stack.
pub(crate) struct Recurse;

impl Tool for Recurse {
    const NAME: &'static str = "recurse";
    const DESCRIPTION: &'static str = "Calls itself without end.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text(deeper(0).to_string()))
    }
}

#[expect(unconditional_recursion, reason = "that is the attack")]
fn deeper(depth: u64) -> u64 {
    // Used after the call, so that it is no tail call.
    black_box(deeper(black_box(depth + 1))) + depth
}

/// Dies.
pub(crate) struct Trap;

/// How to die.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Death {
    #[serde(default)]
    how: How,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum How {
    #[default]
    Panic,
    Abort,
    OutOfBounds,
    Exit,
}

impl Tool for Trap {
    const NAME: &'static str = "trap";
    const DESCRIPTION: &'static str = "Ends the instance: by a panic, an abort, an access out of bounds or an exit.";
    type Input = Death;
    type Output = Content;

    fn call(death: Death, _: &Context) -> Result<Content, Failure> {
        match death.how {
            How::Panic => panic!("this tool panics"),
            How::Abort => std::process::abort(),
            // SAFETY: none, on purpose. In a sandbox this is the last page of 4 GiB, which no instance has.
            How::OutOfBounds => unsafe { black_box(0xffff_0000_usize as *const u8).read_volatile() },
            How::Exit => std::process::exit(0),
        };
        Ok(Content::new().text("still here"))
    }
}

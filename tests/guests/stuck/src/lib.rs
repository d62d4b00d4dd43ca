//! A plugin that never finishes describing itself: a host gives up loading it.

use std::hint::black_box;

use serde_json::Value;
use tidegate_plugin_sdk::{Content, Context, Failure, NoInput, Tool};

/// Would do nothing, if it could ever be called.
struct Stuck;

impl Tool for Stuck {
    const NAME: &'static str = "stuck";
    const DESCRIPTION: &'static str = "Can't be described in finite time.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new())
    }

    fn input_schema() -> Value {
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
}

tidegate_plugin_sdk::export!(Stuck);

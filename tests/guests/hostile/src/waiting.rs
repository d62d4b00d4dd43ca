//! Attacks by holding on to things: time, connections, handles.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::{Content, Context, Failure, NoInput, Tool};

use crate::raw;

/// Waits longer than anybody lives.
pub(crate) struct Sleep;

impl Tool for Sleep {
    const NAME: &'static str = "sleep";
    const DESCRIPTION: &'static str = "Waits for centuries, without using the processor.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        raw::sleep_nanoseconds(u64::MAX)?;
        Ok(Content::new().text("good morning"))
    }
}

/// Starts a request and never reads the answer.
pub(crate) struct IgnoreResponse;

/// What to do instead of reading it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instead {
    /// Whether to return, to loop, or to wait, holding the request.
    #[serde(default)]
    then: Then,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Then {
    #[default]
    Return,
    Spin,
    Sleep,
}

impl Tool for IgnoreResponse {
    const NAME: &'static str = "ignore_response";
    const DESCRIPTION: &'static str = "Starts a request to `billing` and never reads its answer.";
    type Input = Instead;
    type Output = Content;

    fn call(instead: Instead, _: &Context) -> Result<Content, Failure> {
        let request = raw::start_request("billing", "/invoices")?;
        match instead.then {
            Then::Return => {}
            Then::Spin => loop {
                std::hint::black_box(&request);
            },
            Then::Sleep => raw::sleep_nanoseconds(u64::MAX)?,
        }
        Ok(Content::new().text("a request is under way"))
    }
}

/// Makes the host keep more and more things.
pub(crate) struct ManyHandles;

/// Which handles, and how many.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Handles {
    /// Timers, header lists, or requests to `billing`.
    #[serde(default)]
    kind: Kind,
    /// How many; ten million unless said otherwise.
    #[serde(default = "ten_million")]
    count: u64,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Kind {
    #[default]
    Pollables,
    Fields,
    Requests,
}

impl Tool for ManyHandles {
    const NAME: &'static str = "many_pollables";
    const DESCRIPTION: &'static str = "Opens handles of the host and never closes them.";
    type Input = Handles;
    type Output = Content;

    fn call(Handles { kind, count }: Handles, _: &Context) -> Result<Content, Failure> {
        let held = raw::hold_handles(kind, count)?;
        Ok(Content::new().text(format!("holding {held} handles")))
    }
}

fn ten_million() -> u64 {
    10_000_000
}

//! Tools whose calls are answered with tasks, as `slow = true` in their manifest entries asks for (scenarios `tasks-*`).

use std::thread::sleep;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::code::CANCELLED;
use tidegate_plugin_sdk::{Content, Context, Failure, Hints, NoInput, Tool};

/// How often a tool that waits looks whether its caller gave up.
const GLANCE: Duration = Duration::from_millis(50);

/// Never a task.
pub(crate) struct Greet;

/// Whom to greet.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whom {
    /// The name.
    name: String,
}

impl Tool for Greet {
    const NAME: &'static str = "greet";
    const DESCRIPTION: &'static str = "Greets somebody by name, at once.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Whom;
    type Output = Content;

    fn call(whom: Whom, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text(format!("Hello, {}!", whom.name)))
    }
}

pub(crate) struct SlowCompute;

/// How long to take.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Work {
    /// Seconds to take.
    #[schemars(range(min = 0.0, max = 80.0))]
    seconds: f64,
    /// What to call the work.
    #[serde(default)]
    label: String,
}

impl Tool for SlowCompute {
    const NAME: &'static str = "slow_compute";
    const DESCRIPTION: &'static str = "Takes as many seconds as it is told, and ends early if it is called off.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Work;
    type Output = Content;

    fn call(Work { seconds, label }: Work, context: &Context) -> Result<Content, Failure> {
        wait(Duration::from_secs_f64(seconds.clamp(0.0, 80.0)), context)?;
        Ok(Content::new().text(format!("Computed `{label}` for {seconds} s.")))
    }
}

/// `requires_client = ["io.modelcontextprotocol/tasks"]`: it runs as a task or not at all.
pub(crate) struct FailingJob;

impl Tool for FailingJob {
    const NAME: &'static str = "failing_job";
    const DESCRIPTION: &'static str = "Fails after a second.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        wait(Duration::from_secs(1), context)?;
        Err(Failure::failed("This job always fails."))
    }
}

/// `test_hook = "protocol_error"`: whatever it answers, whoever asks for its result is told a JSON-RPC error.
pub(crate) struct ProtocolErrorJob;

impl Tool for ProtocolErrorJob {
    const NAME: &'static str = "protocol_error_job";
    const DESCRIPTION: &'static str = "Ends in a protocol error.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        // What is done at once is answered at once, and not asked for later.
        wait(Duration::from_millis(500), context)?;
        Ok(Content::new().text("Nobody is told this."))
    }
}

/// The suite wants to be asked whether to delete. No tool can ask its caller anything while it runs, so nothing is deleted.
pub(crate) struct ConfirmDelete;

/// What to delete.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Doomed {
    /// The file.
    filename: String,
}

impl Tool for ConfirmDelete {
    const NAME: &'static str = "confirm_delete";
    const DESCRIPTION: &'static str = "Deletes nothing, because nobody can be asked.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Doomed;
    type Output = Content;

    fn call(Doomed { filename }: Doomed, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text(format!("`{filename}` stays: nobody was asked whether it may go.")))
    }
}

fn wait(wait: Duration, context: &Context) -> Result<(), Failure> {
    let begun = Instant::now();
    while let Some(left) = wait.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        if context.is_cancelled() {
            return Err(Failure::new(CANCELLED, "The work was called off."));
        }
        sleep(left.min(GLANCE));
    }
    Ok(())
}

//! Tools whose calls are answered with tasks, most of them as `slow = true` in their manifest entries asks for (scenarios `tasks-*`).

use std::thread::sleep;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::code::CANCELLED;
use tidegate_plugin_sdk::{Content, Context, Elicited, Failure, Hints, NoInput, Question, Tool};

use crate::asking::{filled_in, user_name};

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

/// A task that waits for one answer.
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
    const DESCRIPTION: &'static str =
        "Asks the person whether a file may go, and tells what would become of it: it deletes nothing.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Doomed;
    type Output = Content;

    fn call(Doomed { filename }: Doomed, context: &Context) -> Result<Content, Failure> {
        let may_go = context.confirm("delete", &format!("Delete `{filename}`?"))?;
        Ok(Content::new().text(format!("`{filename}` {}.", if may_go { "is deleted" } else { "stays" })))
    }
}

/// A task that waits for two answers, which may come one by one.
pub(crate) struct MultiInput;

/// The form of both questions.
#[derive(Deserialize, JsonSchema)]
struct Signature {
    name: String,
    confirm: bool,
}

impl Tool for MultiInput {
    const NAME: &'static str = "multi_input";
    const DESCRIPTION: &'static str = "Asks the person for two signatures at once.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let questions = [("first", "Who signs first?"), ("second", "Who signs second?")];
        let mut told = Vec::new();
        for answer in context.ask(&questions.map(|(key, message)| Question::form::<Signature>(key, message)))? {
            let answer = answer.ok_or_else(|| Failure::failed("the client takes no questions to the person (elicitation)"))?;
            let Signature { name, confirm } = filled_in(Elicited::read(&answer)?)?;
            told.push(format!("{name} {}", if confirm { "signed" } else { "did not sign" }));
        }
        Ok(Content::new().text(format!("{}.", told.join(", "))))
    }
}

/// `requires_client = ["io.modelcontextprotocol/tasks", "elicitation"]`, and not `slow`: it asks before it is a task.
pub(crate) struct TestToolWithTask;

impl Tool for TestToolWithTask {
    const NAME: &'static str = "test_tool_with_task";
    const DESCRIPTION: &'static str = "Asks the person for their name at once, and then takes six seconds to greet them.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let name = user_name(context)?;
        // Longer than the host keeps a client that takes tasks waiting for its answer.
        wait(Duration::from_secs(6), context)?;
        Ok(Content::new().text(format!("Hello, {name}!")))
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

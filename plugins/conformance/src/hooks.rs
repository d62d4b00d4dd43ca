//! Tools whose point is what the host does around them, as their manifest entries say (scenario `server-stateless`).

use tidegate_plugin_sdk::{Content, Context, Failure, Hints, NoInput, Tool};

/// `requires_client = ["sampling"]`: the host refuses a client that did not declare it, before anything runs.
pub(crate) struct TestMissingCapability;

impl Tool for TestMissingCapability {
    const NAME: &'static str = "test_missing_capability";
    const DESCRIPTION: &'static str = "Runs only for clients that can sample.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text("The client can sample."))
    }
}

/// `requires_client = ["elicitation"]`. It never asks anything: the suite only looks that no server sends a request of
/// its own on the response stream, and a progress report makes it a stream if the client wants one.
pub(crate) struct TestStreamingElicitation;

impl Tool for TestStreamingElicitation {
    const NAME: &'static str = "test_streaming_elicitation";
    const DESCRIPTION: &'static str = "Runs only for clients that can elicit, and asks them nothing.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        context.progress(1, Some(1), "nothing to ask");
        Ok(Content::new().text("The client can elicit."))
    }
}

/// `test_hook = "tools_changed"`: once it has run, the host tells its subscribers that the list of tools changed.
pub(crate) struct TestTriggerToolChange;

impl Tool for TestTriggerToolChange {
    const NAME: &'static str = "test_trigger_tool_change";
    const DESCRIPTION: &'static str = "Makes the server announce a change of its tools.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text("The tools changed."))
    }
}

/// `test_hook = "prompts_changed"`: the same for prompts.
pub(crate) struct TestTriggerPromptChange;

impl Tool for TestTriggerPromptChange {
    const NAME: &'static str = "test_trigger_prompt_change";
    const DESCRIPTION: &'static str = "Makes the server announce a change of its prompts.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text("The prompts changed."))
    }
}

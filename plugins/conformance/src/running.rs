//! Tools that do something while they run: fail, report progress, log.

use std::thread::sleep;
use std::time::Duration;

use tidegate_plugin_sdk::{Content, Context, Failure, Hints, Level, NoInput, Tool};

/// How long the suite wants a tool to take between two reports.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct TestErrorHandling;

impl Tool for TestErrorHandling {
    const NAME: &'static str = "test_error_handling";
    const DESCRIPTION: &'static str = "Always fails.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Err(Failure::failed("This tool intentionally returns an error for testing"))
    }
}

pub(crate) struct TestToolWithProgress;

impl Tool for TestToolWithProgress {
    const NAME: &'static str = "test_tool_with_progress";
    const DESCRIPTION: &'static str = "Reports progress three times while it runs.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        context.progress(0, Some(100), "started");
        sleep(PAUSE);
        context.progress(50, Some(100), "half done");
        sleep(PAUSE);
        context.progress(100, Some(100), "done");
        Ok(Content::new().text("The tool ran to its end."))
    }
}

pub(crate) struct TestLoggingTool;

impl Tool for TestLoggingTool {
    const NAME: &'static str = "test_logging_tool";
    const DESCRIPTION: &'static str = "Logs three lines while it runs.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        context.log(Level::Info, "Tool execution started");
        sleep(PAUSE);
        context.log(Level::Info, "Tool processing data");
        sleep(PAUSE);
        context.log(Level::Info, "Tool execution completed");
        Ok(Content::new().text("The tool logged three lines."))
    }
}

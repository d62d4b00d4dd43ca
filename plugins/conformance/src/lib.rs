//! The tools that the official MCP conformance suite (0.2.0-alpha.12, revision 2026-07-28) expects of a server.
//!
//! What the contract has no words for, such as refusing a client that lacks a capability, the manifest beside this
//! crate asks of the host.

mod asking;
mod content;
mod headers;
mod hooks;
mod running;
mod schema;
mod tasks;

use asking::{
    TestCapabilities, TestElicitation, TestListRoots, TestMultiRound, TestMultipleInputs, TestRequestState, TestSampling,
    TestTamperedState,
};
use content::{TestAudioContent, TestEmbeddedResource, TestImageContent, TestMultipleContentTypes, TestSimpleText};
use headers::TestCustomHeaders;
use hooks::{TestMissingCapability, TestStreamingElicitation, TestTriggerPromptChange, TestTriggerToolChange};
use running::{TestErrorHandling, TestLoggingTool, TestToolWithProgress};
use schema::JsonSchema202012Tool;
use tasks::{ConfirmDelete, FailingJob, Greet, MultiInput, ProtocolErrorJob, SlowCompute, TestToolWithTask};

tidegate_plugin_sdk::export!(
    TestSimpleText,
    TestImageContent,
    TestAudioContent,
    TestEmbeddedResource,
    TestMultipleContentTypes,
    TestErrorHandling,
    TestToolWithProgress,
    TestLoggingTool,
    JsonSchema202012Tool,
    TestCustomHeaders,
    TestMissingCapability,
    TestStreamingElicitation,
    TestTriggerToolChange,
    TestTriggerPromptChange,
    Greet,
    SlowCompute,
    FailingJob,
    ProtocolErrorJob,
    ConfirmDelete,
    MultiInput,
    TestToolWithTask,
    TestElicitation,
    TestSampling,
    TestListRoots,
    TestRequestState,
    TestTamperedState,
    TestMultipleInputs,
    TestMultiRound,
    TestCapabilities,
);

#[cfg(test)]
mod tests;

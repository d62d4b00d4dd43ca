//! The wire: MCP over HTTP and stdio, and the operator's listener. The only place that knows `rmcp` and `axum`.

pub mod admin;
pub mod bearer;
pub mod body;
pub mod calls;
pub mod challenge;
pub mod config;
pub mod convert;
pub mod crowd;
pub mod dev_token;
pub mod era;
pub mod headers;
pub mod hosts;
pub mod http;
mod input;
pub mod json;
pub mod lines;
pub mod listen;
pub mod mcp;
pub mod message;
pub mod meta;
pub mod metadata;
pub mod observed;
pub mod offer;
pub mod operation;
pub mod operator;
pub mod pending;
pub mod poll_tool;
pub mod rpc;
pub mod stdio;
pub mod stream;
pub mod task;

pub use admin::AdminConfig;
pub use config::HttpConfig;
pub use stdio::StdioConfig;

//! `fetch`: a page of the web, as text that a model reads with ease.
//!
//! Its tool has the name and the arguments of the `fetch` reference server of MCP, and answers as that does.

mod charset;
mod markdown;
mod page;
mod robots;
mod tool;
mod window;

tidegate_plugin_sdk::export!(tool::Fetch);

#[cfg(test)]
mod tests;

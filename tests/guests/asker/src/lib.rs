//! A plugin that asks its callers: well, badly, and too late.

mod badly;
mod well;

use badly::{Misbehave, PayThenAsk, Quiet};
use well::{Converse, Pay};

tidegate_plugin_sdk::export!(Pay, PayThenAsk, Converse, Misbehave, Quiet);

#[cfg(test)]
mod tests;

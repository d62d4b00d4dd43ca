//! What the call path tells operators about itself.

use serde_json::Value;

use super::Pipeline;

impl Pipeline {
    /// What there is to tell an admin about the policies: those in force, and those refused last.
    pub fn policy_report(&self) -> Value {
        self.parts.registry.policy_report()
    }
}

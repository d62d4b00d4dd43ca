//! Which rows of a call's resources its caller may act on: those that every scope the tool needs speaks of.

use std::sync::Arc;

use serde_json::Value;

use super::Policies;
use crate::model::scope::Bindings;
use crate::model::{Arguments, Decision, Principal, Scope, ToolName, Verdict};

/// Decides about the rows of one call.
pub struct RowAccess {
    principal: Arc<Principal>,
    arguments: Arguments,
    scopes: Vec<Scope>,
}

impl RowAccess {
    /// The rows of a call of `tool` by `principal` with these arguments.
    pub fn new(
        policies: &Arc<Policies>,
        principal: &Arc<Principal>,
        tool: &ToolName,
        arguments: &Arguments,
        _trace_id: &str,
    ) -> Self {
        let scopes = policies.tools.get(tool).map_or_else(Vec::new, |tool| tool.scopes.clone());
        Self { principal: principal.clone(), arguments: arguments.clone(), scopes }
    }

    /// Whether a row of `resource` may be acted on.
    pub fn permits(&self, resource: &str, row: &Value) -> Verdict {
        let bindings = Bindings { principal: &self.principal, arguments: Some(&self.arguments) };
        let mut scopes = self.scopes.iter().filter(|scope| scope.resource() == resource).peekable();
        let admitted =
            scopes.peek().is_some() && row.as_object().is_some_and(|row| scopes.all(|scope| scope.admits(row, &bindings)));
        Verdict { decision: if admitted { Decision::Allow } else { Decision::Deny }, policies: Vec::new(), errors: Vec::new() }
    }

    /// Which rows of `resource` those are, as JSON, if that can be said.
    pub fn hint(&self, _resource: &str) -> Option<String> {
        None
    }
}

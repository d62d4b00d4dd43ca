//! What may say no by looking at the call alone: the arguments, the scopes, the policies.

use serde_json::Value;

use super::Call;
use crate::model::{Arguments, Rejection, Scope};
use crate::policy::Grant;
use crate::registry::Tool;

/// Scopes first, because a missing one can be cured by the caller; then the policies.
pub fn authorize(call: &Call, tool: &Tool, arguments: &Arguments) -> Result<Grant, Rejection> {
    let (policies, name, trace_id) = (&call.generation.policies, &tool.manifest.name, call.trace.trace_id());
    let missing: Vec<Scope> = Scope::missing(&call.principal.scopes, &tool.manifest.scopes).into_iter().cloned().collect();
    let denied = if missing.is_empty() {
        match policies.authorize(&call.principal, name, arguments, &trace_id) {
            Ok(grant) => return Ok(grant),
            Err(verdict) => Rejection::Denied(verdict),
        }
    } else {
        Rejection::InsufficientScope { missing, needed: tool.manifest.scopes.clone() }
    };
    // Whoever may not even see a tool must not learn from the refusal that it exists.
    Err(if policies.hides(&call.principal, name, &trace_id) { Rejection::UnknownTool(name.to_string()) } else { denied })
}

/// Arguments that fit the tool's schema, from a client that can do what the tool needs.
pub fn validate(tool: &Tool, arguments: Arguments, client: &[String]) -> Result<Arguments, Rejection> {
    let lacking: Vec<String> = tool.manifest.requires_client.iter().filter(|need| !client.contains(need)).cloned().collect();
    if !lacking.is_empty() {
        return Err(Rejection::ClientLacks(lacking));
    }
    let arguments = Value::Object(arguments);
    tool.input.check(&arguments).map_err(Rejection::InvalidArguments)?;
    let Value::Object(arguments) = arguments else { unreachable!("made an object two lines above") };
    Ok(arguments)
}

//! What may say no by looking at the call alone: the arguments, the scopes, the policies.

use serde_json::Value;

use super::Call;
use crate::model::scope::{Bindings, Delta};
use crate::model::{Arguments, Rejection};
use crate::policy::Grant;
use crate::registry::Tool;

/// The proof that a call may run, and how the scopes its caller holds differ from those its tool needs.
pub struct Authorized {
    /// What the policies said.
    pub grant: Grant,
    /// Nothing is missing; what goes beyond is worth knowing.
    pub delta: Delta,
}

/// The rejection as its caller may know it: whoever may not even see a tool must not learn from a refusal that it exists.
///
/// INVARIANT: every refusal of a tool that was found passes through here.
pub fn concealed(call: &Call, tool: &Tool, rejection: Rejection) -> Rejection {
    let name = &tool.manifest.name;
    match call.generation.policies.hides(&call.principal, name, &call.trace.trace_id()) {
        true => Rejection::UnknownTool(name.to_string()),
        false => rejection,
    }
}

/// Scopes first, because a missing one can be cured by the caller; then the policies.
pub fn authorize(call: &Call, tool: &Tool, arguments: &Arguments) -> Result<Authorized, Rejection> {
    let (policies, name, trace_id) = (&call.generation.policies, &tool.manifest.name, call.trace.trace_id());
    let bindings = Bindings { principal: &call.principal, arguments: Some(arguments) };
    let delta = Delta::of(&call.principal.scopes, &tool.manifest.scopes, &bindings);
    if !delta.missing.is_empty() {
        return Err(Rejection::InsufficientScope { missing: delta.missing, needed: tool.manifest.scopes.clone() });
    }
    match policies.authorize(&call.principal, name, arguments, &trace_id) {
        Ok(grant) => Ok(Authorized { grant, delta }),
        Err(verdict) => Err(Rejection::Denied(verdict)),
    }
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

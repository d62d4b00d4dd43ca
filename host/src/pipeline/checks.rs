//! What may say no by looking at the call alone: the arguments, the scopes, the policies.

use std::sync::Arc;

use serde_json::Value;

use super::{Call, Refusal};
use crate::model::scope::{Bindings, Delta};
use crate::model::{Arguments, Decision, Rejection};
use crate::policy::Grant;
use crate::registry::Tool;

/// The proof that a call may run, and how the scopes its caller holds differ from those its tool needs.
pub struct Authorized {
    /// What the policies said.
    pub grant: Grant,
    /// Nothing is missing; what goes beyond is worth knowing.
    pub delta: Delta,
}

/// The refusal as its caller may know it: whoever may not even see a tool must not learn from a refusal that it exists.
///
/// INVARIANT: every refusal of a tool that was found, before its call was allowed, passes through here.
pub fn concealed(call: &Call, tool: &Arc<Tool>, rejection: Rejection) -> Box<Refusal> {
    let hidden = call.generation.policies.hides(&call.principal, &tool.manifest.name, &call.trace.trace_id());
    Box::new(Refusal { hidden, ..Refusal::of(rejection, Some(tool.clone())) })
}

/// Scopes first, because a missing one can be cured by the caller; then the policies. What is hidden can't be called either.
pub fn authorize(call: &Call, tool: &Arc<Tool>, arguments: &Arguments) -> Result<Authorized, Box<Refusal>> {
    // Whoever asks later whether the decision was right needs what it was made on.
    let refuse = |rejection, hidden| {
        Box::new(Refusal { hidden, arguments: Some(arguments.clone()), ..Refusal::of(rejection, Some(tool.clone())) })
    };
    let showing = call.generation.policies.showing(&call.principal, &tool.manifest.name, &call.trace.trace_id());
    let hidden = showing.decision == Decision::Deny;
    match decide(call, tool, arguments) {
        Ok(_) if hidden => Err(refuse(Rejection::Denied(showing), hidden)),
        Ok(authorized) => Ok(authorized),
        Err(rejection) => Err(refuse(rejection, hidden)),
    }
}

fn decide(call: &Call, tool: &Tool, arguments: &Arguments) -> Result<Authorized, Rejection> {
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
    fits(tool, arguments)
}

/// Arguments that fit the tool's schema.
pub fn fits(tool: &Tool, arguments: Arguments) -> Result<Arguments, Rejection> {
    let arguments = Value::Object(arguments);
    tool.input.check(&arguments).map_err(Rejection::InvalidArguments)?;
    let Value::Object(arguments) = arguments else { unreachable!("made an object two lines above") };
    Ok(arguments)
}

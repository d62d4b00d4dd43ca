//! A request's `_meta`: what the protocol, the tracing standards and this host read from it.

use http::HeaderMap;
use rmcp::model::{NumberOrString, ProgressToken};
use serde_json::{Map, Value};

use super::era::Era;
use super::rpc::RpcError;
use crate::model::{KeySource, OfferedKey, TASKS_EXTENSION, TraceContext};

/// The `_meta` member that carries an idempotency key.
pub const KEY_MEMBER: &str = "dev.tidegate/idempotency-key";

/// A request's `_meta`, possibly absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta<'a>(Option<&'a Map<String, Value>>);

impl<'a> Meta<'a> {
    /// The `_meta` of these request parameters.
    ///
    /// # Errors
    /// It is there but not an object.
    pub fn of(params: &'a Map<String, Value>) -> Result<Self, RpcError> {
        match params.get("_meta") {
            None => Ok(Self(None)),
            Some(Value::Object(meta)) => Ok(Self(Some(meta))),
            Some(_) => Err(RpcError::invalid_params("the member `_meta` must be an object")),
        }
    }

    /// A `_meta` that was already taken out of its parameters.
    pub fn new(meta: &'a Map<String, Value>) -> Self {
        Self(Some(meta))
    }

    /// The protocol version the request speaks.
    pub fn protocol_version(self) -> Option<&'a str> {
        self.text("io.modelcontextprotocol/protocolVersion")
    }

    /// The capabilities the client declares.
    pub fn capabilities(self) -> Option<&'a Map<String, Value>> {
        self.0?.get("io.modelcontextprotocol/clientCapabilities")?.as_object()
    }

    /// The names of what the client declares: its capabilities and, if it speaks the modern protocol, the extensions it knows.
    /// The handshake protocols know other tasks, and none of their clients may be told one of the extension's (SEP-2663).
    pub fn declared(self, era: Era) -> Vec<String> {
        let Some(capabilities) = self.capabilities() else { return Vec::new() };
        let extensions = capabilities.get("extensions").and_then(Value::as_object).filter(|_| era == Era::Modern);
        let extensions = extensions.into_iter().flatten().filter(|(_, settings)| settings.is_object());
        // No capability has a slash in its name; extensions do, and are declared where extensions belong or not at all.
        let own = capabilities.keys().filter(|name| !name.contains('/'));
        own.chain(extensions.map(|(name, _)| name)).cloned().collect()
    }

    /// Whether the client can be told a task.
    pub fn takes_tasks(self, era: Era) -> bool {
        let declared = || self.capabilities()?.get("extensions")?.get(TASKS_EXTENSION);
        era == Era::Modern && declared().is_some_and(Value::is_object)
    }

    /// The token under which the client wants to hear of progress.
    ///
    /// # Errors
    /// It is neither a string nor an integer.
    pub fn progress_token(self) -> Result<Option<ProgressToken>, RpcError> {
        let token = match self.0.and_then(|meta| meta.get("progressToken")) {
            None => return Ok(None),
            Some(Value::String(text)) => NumberOrString::String(text.as_str().into()),
            Some(Value::Number(number)) if number.is_i64() => NumberOrString::Number(number.as_i64().unwrap_or_default()),
            Some(_) => return Err(RpcError::invalid_params("`_meta.progressToken` must be a string or an integer")),
        };
        Ok(Some(ProgressToken(token)))
    }

    /// The idempotency key offered here.
    ///
    /// # Errors
    /// It is not a string.
    pub fn offered_key(self) -> Result<Option<OfferedKey>, RpcError> {
        match self.0.and_then(|meta| meta.get(KEY_MEMBER)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(OfferedKey { source: KeySource::Meta, text: text.clone() })),
            Some(_) => Err(RpcError::invalid_params(format!("`_meta[\"{KEY_MEMBER}\"]` must be a string"))),
        }
    }

    /// The traces the request comes from: that of `_meta` is above it (MCP SEP-414), and that of the HTTP headers (W3C Trace
    /// Context) beside it, or above it if there is no other. An invalid `traceparent` counts as none (W3C Trace Context §3.2.2),
    /// and takes its `tracestate` along. `baggage` is for nobody behind this host, and is not even read.
    pub fn origin(self, headers: Option<&HeaderMap>) -> Origin {
        let header = |name| {
            let mut values = headers?.get_all(name).iter();
            // Of two, neither can be the one.
            values.next().filter(|_| values.next().is_none())?.to_str().ok()
        };
        let around = traced(header("traceparent"), header("tracestate"));
        match traced(self.text("traceparent"), self.text("tracestate")) {
            Some(parent) => Origin { parent: Some(parent), link: around },
            None => Origin { parent: around, link: None },
        }
    }

    /// The trace the request belongs to, or a new one.
    pub fn trace(self, headers: Option<&HeaderMap>) -> TraceContext {
        self.origin(headers).parent.unwrap_or_else(TraceContext::random)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.0?.get(name)?.as_str()
    }
}

/// The traces that a request comes from.
pub struct Origin {
    /// What is above it.
    pub parent: Option<TraceContext>,
    /// What led here beside that.
    pub link: Option<TraceContext>,
}

fn traced(parent: Option<&str>, state: Option<&str>) -> Option<TraceContext> {
    let mut context: TraceContext = parent?.parse().ok()?;
    let carried = |state: &&str| !state.is_empty() && state.len() <= TraceContext::MAX_STATE_LENGTH && is_header_text(state);
    context.state = state.filter(carried).map(str::to_owned);
    Some(context)
}

/// What came in a JSON string goes out in a header: nothing but visible ASCII and spaces may pass.
fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn trace_of(meta: Value, headers: &[(&'static str, &str)]) -> TraceContext {
        let params = json!({ "_meta": meta });
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), value.parse::<http::HeaderValue>().expect("a valid header value"))
        });
        Meta::of(params.as_object().expect("an object")).expect("an object").trace(Some(&headers.collect()))
    }

    #[test]
    fn the_trace_of_meta_wins_over_the_header() {
        let trace =
            trace_of(json!({ "traceparent": PARENT, "tracestate": "a=1" }), &[("traceparent", OTHER), ("tracestate", "b=2")]);
        assert_eq!((trace.to_string().as_str(), trace.state.as_deref()), (PARENT, Some("a=1")));
    }

    #[test]
    fn the_trace_of_the_headers_is_linked_beside_that_of_meta() {
        let headers: HeaderMap =
            [(http::HeaderName::from_static("traceparent"), OTHER.parse().expect("a value"))].into_iter().collect();
        for (meta, expected) in [(json!({ "traceparent": PARENT }), (PARENT, Some(OTHER))), (json!({}), (OTHER, None))] {
            let params = json!({ "_meta": meta });
            let origin = Meta::of(params.as_object().expect("an object")).expect("an object").origin(Some(&headers));
            let (parent, link) = (origin.parent.expect("there is one").to_string(), origin.link.map(|link| link.to_string()));
            assert_eq!((parent.as_str(), link.as_deref()), expected);
        }
    }

    #[test]
    fn an_invalid_trace_of_meta_leaves_the_header_in_charge() {
        let trace = trace_of(json!({ "traceparent": "nonsense", "tracestate": "a=1" }), &[("traceparent", OTHER)]);
        assert_eq!((trace.to_string().as_str(), trace.state), (OTHER, None));
    }

    #[test]
    fn an_overlong_or_unprintable_tracestate_is_dropped() {
        let long = "k=".to_owned() + &"v".repeat(TraceContext::MAX_STATE_LENGTH);
        for state in [long.as_str(), "a=1\r\nx: y"] {
            assert_eq!(trace_of(json!({ "traceparent": PARENT, "tracestate": state }), &[]).state, None);
        }
    }

    #[test]
    fn extensions_are_declared_by_modern_clients_alone_and_as_objects() {
        let capabilities = json!({ "sampling": {}, "extensions": { "a/tasks": {}, "a/other": true } });
        let params = json!({ "_meta": { "io.modelcontextprotocol/clientCapabilities": capabilities } });
        let meta = Meta::of(params.as_object().expect("an object")).expect("an object");
        assert_eq!(meta.declared(Era::Legacy), ["sampling", "extensions"]);
        assert_eq!(meta.declared(Era::Modern), ["sampling", "extensions", "a/tasks"]);
        assert_eq!(Meta::default().declared(Era::Modern), Vec::<String>::new());
    }

    #[test]
    fn an_extension_that_is_named_as_a_capability_is_not_declared() {
        let capabilities = json!({ TASKS_EXTENSION: {}, "sampling": {}, "tasks": {} });
        let params = json!({ "_meta": { "io.modelcontextprotocol/clientCapabilities": capabilities } });
        let meta = Meta::of(params.as_object().expect("an object")).expect("an object");
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(meta.declared(era), ["sampling", "tasks"]);
            assert!(!meta.takes_tasks(era));
        }
        let params =
            json!({ "_meta": { "io.modelcontextprotocol/clientCapabilities": { "extensions": { TASKS_EXTENSION: {} } } } });
        let meta = Meta::of(params.as_object().expect("an object")).expect("an object");
        assert!(meta.takes_tasks(Era::Modern) && !meta.takes_tasks(Era::Legacy));
        assert_eq!(meta.declared(Era::Legacy), ["extensions"]);
    }

    #[test]
    fn a_call_without_a_trace_starts_one() {
        assert_ne!(trace_of(json!({}), &[]).trace_id(), trace_of(json!({}), &[]).trace_id());
    }
}

//! The MCP server as rmcp sees it: discovery, the tool list, subscriptions, and everything this server does not do.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use rmcp::ErrorData;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CacheScope, CallToolRequestMethod, CompleteRequestMethod, CompleteRequestParams, CompleteResult, ConstString, CustomRequest,
    CustomResult, DiscoverRequestMethod, DiscoverResult, ErrorCode, GetPromptRequestMethod, GetPromptRequestParams,
    GetPromptResponse, Implementation, InitializeRequestParams, InitializeResult, InitializeResultMethod,
    ListPromptsRequestMethod, ListPromptsResult, ListResourceTemplatesRequestMethod, ListResourceTemplatesResult,
    ListResourcesRequestMethod, ListResourcesResult, ListToolsRequestMethod, ListToolsResult, MetaObject, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestMethod, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, SubscriptionFilter, SubscriptionsListenRequestMethod, Tool, ToolAnnotations,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::convert::SERVER;
use super::poll_tool;
use crate::model::{Principal, TASKS_EXTENSION};
use crate::pipeline::Pipeline;
use crate::registry;

/// The MCP server on one transport. Cheap to clone: HTTP makes one per request.
#[derive(Clone)]
pub struct Mcp {
    pipeline: Arc<Pipeline>,
    list_ttl: Duration,
    /// Ends subscriptions gracefully.
    closing: CancellationToken,
    /// Whether prompts and resources are advertised although there are none.
    empty_catalogues: bool,
    /// Whether the local user is at the other end of a connection; over HTTP every request brings its own principal.
    is_local: bool,
}

impl Mcp {
    /// A server that takes the principal of each request from the HTTP request's extensions.
    pub fn over_http(pipeline: Arc<Pipeline>, list_ttl: Duration, closing: CancellationToken) -> Self {
        Self { pipeline, list_ttl, closing, empty_catalogues: false, is_local: false }
    }

    /// A server for the local user at the other end of a connection.
    pub fn on_connection(pipeline: Arc<Pipeline>, list_ttl: Duration, closing: CancellationToken) -> Self {
        Self { pipeline, list_ttl, closing, empty_catalogues: false, is_local: true }
    }

    /// The same server, advertising prompts and resources although it has none: the official suite asks for the cache hints of
    /// every list in one go.
    #[must_use]
    pub fn with_empty_catalogues(self, empty_catalogues: bool) -> Self {
        Self { empty_catalogues, ..self }
    }

    /// The call path.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    fn principal(&self, context: &RequestContext<RoleServer>) -> Result<Arc<Principal>, ErrorData> {
        if self.is_local {
            return Ok(self.pipeline.local_user());
        }
        let in_request = || context.extensions.get::<Parts>()?.extensions.get::<Arc<Principal>>().cloned();
        in_request().ok_or_else(|| ErrorData::internal_error("the request lost its principal", None))
    }

    fn list_ttl_millis(&self) -> u64 {
        u64::try_from(self.list_ttl.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a list keeps, and for whom: lists depend on who asks, so no shared cache may hold them.
    fn cache_hints(&self, context: &RequestContext<RoleServer>) -> (Option<u64>, Option<CacheScope>) {
        if is_modern(context) { (Some(self.list_ttl_millis()), Some(CacheScope::Private)) } else { (None, None) }
    }

    /// An empty list, where one is advertised at all.
    fn catalogue<L>(&self, method: &str, empty: L) -> Result<L, ErrorData> {
        if self.empty_catalogues { Ok(empty) } else { Err(no_method(method)) }
    }
}

/// Whether a request follows the protocols since 2026-07-28.
fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| !version.has_initialize())
}

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        if self.empty_catalogues {
            (capabilities.prompts, capabilities.resources) = (Some(Default::default()), Some(Default::default()));
        }
        let tasks = (TASKS_EXTENSION.to_owned(), serde_json::Map::new());
        capabilities.extensions = Some(std::iter::once(tasks).collect());
        ServerConfig::new(capabilities).with_server_info(server_info())
    }

    async fn initialize(
        &self,
        mut request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        // The handshake went out with 2026-07-28, and a request that speaks it must not find it.
        if context.meta.protocol_version().is_some_and(|version| !version.has_initialize()) {
            return Err(no_method(InitializeResultMethod::VALUE));
        }
        let mut result = self.negotiate_initialize(&request)?;
        // The handshake protocols know other tasks than those of the extension (SEP-2663).
        result.capabilities.extensions = None;
        if !self.is_local {
            // Without sessions, nothing can be sent to a handshake client between its requests.
            result.capabilities.tools = Some(Default::default());
        }
        request.protocol_version = result.protocol_version.clone();
        context.peer.set_peer_info(request);
        Ok(result)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if !self.is_local {
            return;
        }
        let (mut changes, closing) = (self.pipeline.changes(), self.closing.clone());
        tokio::spawn(async move {
            while let Some(Ok(())) = closing.run_until_cancelled(changes.changed()).await {
                if context.peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
        });
    }

    async fn discover(&self, _: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        let mut result = DiscoverResult::from_server_info(versions, self.get_info());
        result.ttl_ms = self.list_ttl_millis();
        result.cache_scope = CacheScope::Private;
        Ok(result)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if request.is_some_and(|request| request.cursor.is_some()) {
            return Err(ErrorData::invalid_params("the cursor is not one of this server's: all tools fit on one page", None));
        }
        let principal = self.principal(&context)?;
        let mut tools: Vec<Tool> = self.pipeline.list(&principal).iter().map(|tool| listed(&tool.listing)).collect();
        tools.push(poll_tool::listed());
        let mut result = ListToolsResult::with_all_items(tools);
        (result.ttl_ms, result.cache_scope) = self.cache_hints(&context);
        result.meta = is_modern(&context).then(server_meta);
        Ok(result)
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::default();
        accepted.tools_list_changed = requested.tools_list_changed;
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let wants_tools = context.accepted().tools_list_changed == Some(true);
        let mut changes = self.pipeline.changes();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = self.closing.cancelled() => return Ok(()),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    if wants_tools && context.sink().notify_tool_list_changed().await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// rmcp hands over as custom whatever it can't read: unknown methods, and known ones with parameters that don't fit.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = request.method.as_str();
        let handshake = method == InitializeResultMethod::VALUE && !is_modern(&context);
        let known = [
            CallToolRequestMethod::VALUE,
            DiscoverRequestMethod::VALUE,
            ListToolsRequestMethod::VALUE,
            SubscriptionsListenRequestMethod::VALUE,
        ];
        if handshake || known.contains(&method) {
            return Err(ErrorData::invalid_params(format!("the parameters of `{method}` are malformed"), None));
        }
        Err(no_method(method))
    }

    // What is not advertised does not exist; rmcp would answer these with empty successes.

    async fn complete(&self, _: CompleteRequestParams, _: RequestContext<RoleServer>) -> Result<CompleteResult, ErrorData> {
        Err(no_method(CompleteRequestMethod::VALUE))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.catalogue(ListPromptsRequestMethod::VALUE, ListPromptsResult::default()).map(|mut empty| {
            (empty.ttl_ms, empty.cache_scope) = self.cache_hints(&context);
            empty
        })
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.catalogue(ListResourcesRequestMethod::VALUE, ListResourcesResult::default()).map(|mut empty| {
            (empty.ttl_ms, empty.cache_scope) = self.cache_hints(&context);
            empty
        })
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.catalogue(ListResourceTemplatesRequestMethod::VALUE, ListResourceTemplatesResult::default()).map(|mut empty| {
            (empty.ttl_ms, empty.cache_scope) = self.cache_hints(&context);
            empty
        })
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let absent = json!({ "uri": request.uri });
        self.catalogue(ReadResourceRequestMethod::VALUE, ())
            .and_then(|()| Err(ErrorData::resource_not_found("this server has no such resource", Some(absent))))
    }

    async fn get_prompt(&self, _: GetPromptRequestParams, _: RequestContext<RoleServer>) -> Result<GetPromptResponse, ErrorData> {
        self.catalogue(GetPromptRequestMethod::VALUE, ())
            .and_then(|()| Err(ErrorData::invalid_params("this server has no such prompt", None)))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
    }
}

fn no_method(method: &str) -> ErrorData {
    let method: String = method.chars().take(64).collect();
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("this server has no method `{method}`"), None)
}

fn server_info() -> Implementation {
    Implementation::new(SERVER.name, SERVER.version).with_title(SERVER.title)
}

fn server_meta() -> MetaObject {
    let server = serde_json::to_value(SERVER).expect("a server's name is JSON");
    MetaObject(serde_json::Map::from_iter([("io.modelcontextprotocol/serverInfo".to_owned(), server)]))
}

/// The member of a tool's `_meta` that tells for how many seconds from its completion the answer to a call with an idempotency
/// key is given again.
const KEPT_MEMBER: &str = "dev.tidegate/idempotency-ttl-seconds";

fn listed(listing: &registry::Listing) -> Tool {
    let mut tool = Tool::new(listing.name.to_string(), listing.description.clone(), listing.input_schema.clone());
    tool.title = listing.title.clone();
    tool.output_schema = listing.output_schema.clone();
    tool.annotations = listing.annotations.clone().and_then(|value| serde_json::from_value::<ToolAnnotations>(value).ok());
    // Every tool takes a key: a write must have one, a read may, in `_meta` or in the header.
    let seconds = listing.keeps_answers.duration().as_secs();
    tool.meta = Some(MetaObject(serde_json::Map::from_iter([(KEPT_MEMBER.to_owned(), seconds.into())])));
    tool
}

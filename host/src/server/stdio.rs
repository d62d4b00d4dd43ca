//! MCP over a pair of byte streams, one message a line: standard input and output, or a socket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequest, ClientNotification, ClientRequest, CustomResult, ErrorCode, ProgressNotification, ProgressNotificationParam,
    ServerConfig, ServerNotification, ServerResult,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, Service, serve_directly_with_ct};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::calls::{Call, Event};
use super::convert::{Recipient, Wire};
use super::era::Era;
use super::json::JsonLimits;
use super::lines::Lines;
use super::mcp::Mcp;
use super::meta::Meta;
use super::observed::Observed;
use super::operation::Operation;
use super::operator::{self, Operator};
use super::pending::CALLS_PATH;
use super::poll_tool;
use super::rpc::RpcError;
use super::task::{TaskMethod, TaskRequest};
use crate::model::{Bytes, OfferedAnswers, POLL_TOOL, QuestionKind, Span};
use crate::pipeline::{Pipeline, Progress};

/// The limits of one connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StdioConfig {
    /// The longest line, that is message, a client may send.
    pub max_line: Bytes,
    /// How much JSON one message may hold.
    pub json: JsonLimits,
    /// The most requests without an answer at once; further ones are refused.
    pub max_in_flight: usize,
    /// How long requests under way may take to end once the client or the host ends the connection.
    pub drain: Span,
    /// How long clients may take a tool list for fresh.
    pub list_ttl: Span,
}

impl Default for StdioConfig {
    fn default() -> Self {
        Self {
            max_line: Bytes::mib(16),
            json: JsonLimits::default(),
            max_in_flight: 256,
            drain: Span::seconds(15),
            list_ttl: Span::seconds(30),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An MCP client.
    Client,
    /// Whoever may open the admin socket in the data folder: the operator, who may also ask about the host itself.
    Operator {
        /// The operating system's word for who that is.
        uid: u32,
    },
}

/// Serves the local user over `reader` and `writer` until the client closes its side or `shutdown`, then lets requests under way
/// end and returns once their answers are written.
pub async fn serve<R, W>(
    pipeline: Arc<Pipeline>,
    reach: Reach,
    config: StdioConfig,
    reader: R,
    writer: W,
    shutdown: CancellationToken,
) where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let closing = shutdown.child_token();
    let mcp = Mcp::on_connection(pipeline.clone(), config.list_ttl.duration(), closing.clone());
    let connection = Connection { pipeline, reach, mcp: Observed(mcp) };
    let lines = Lines::new(reader, writer, &config, closing);
    let drain = config.drain.duration();
    // The reader notices the shutdown and drains; rmcp's own token is for what is left after that.
    let stop = CancellationToken::new();
    let running = serve_directly_with_ct(connection, lines, None, stop.clone());
    let mut ended = std::pin::pin!(running.waiting());
    tokio::select! {
        _ = ended.as_mut() => {}
        () = async { shutdown.cancelled().await; tokio::time::sleep(drain + GRACE).await } => {
            stop.cancel();
            let _ = ended.await;
        }
    }
}

/// What the transport itself may take to close after the drain.
const GRACE: Duration = Duration::from_secs(1);

/// The service of one connection: tool calls are ours, the rest is [`Mcp`]'s.
struct Connection {
    pipeline: Arc<Pipeline>,
    reach: Reach,
    mcp: Observed,
}

impl Service<RoleServer> for Connection {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        // These two may come before any version is known.
        if matches!(request, ClientRequest::InitializeRequest(_) | ClientRequest::PingRequest(_)) {
            return self.mcp.handle_request(request, context).await;
        }
        if let (Reach::Operator { uid }, ClientRequest::CustomRequest(custom)) = (self.reach, &request)
            && let Some(answered) =
                operator::answer(&self.pipeline, Operator::User(uid), &custom.method, custom.params.clone().unwrap_or_default())
                    .await
        {
            return Ok(ServerResult::CustomResult(CustomResult::new(answered?)));
        }
        let handshake = context.peer.peer_info().map(|info| info.protocol_version.clone());
        let handshake = handshake.as_ref().map(|version| version.as_str());
        let era = Era::of_connection(handshake, Meta::new(&context.meta)).map_err(error_data)?;
        let begin = || {
            let meta = Meta::new(&context.meta);
            Operation::begin(&self.pipeline, request.method(), &context.id, meta, None, handshake)
        };
        let about_a_task = match &request {
            ClientRequest::GetTaskRequest(get) => Some((TaskMethod::Get, params_of(&get.params))),
            ClientRequest::UpdateTaskRequest(update) => Some((TaskMethod::Update, params_of(&update.params))),
            ClientRequest::CancelTaskRequest(cancel) => Some((TaskMethod::Cancel, params_of(&cancel.params))),
            // What rmcp can't read is not always wrong.
            ClientRequest::CustomRequest(custom) => {
                TaskMethod::of(&custom.method).map(|method| (method, params_of(&custom.params)))
            }
            _ => None,
        };
        match (&request, about_a_task) {
            (ClientRequest::CallToolRequest(_), _) => {
                let operation = begin();
                let ClientRequest::CallToolRequest(call) = request else { unreachable!("matched one line above") };
                self.call(call, context, era, operation).await
            }
            (_, Some((method, mut params))) if era == Era::Modern => {
                let mut operation = begin();
                let recipient = recipient(era, Meta::new(&context.meta).takes_tasks(era), BTreeSet::new());
                let told = match TaskRequest::read(method, &mut params) {
                    Ok(request) => {
                        let trace = operation.spans().position();
                        request.answer(&self.pipeline, &self.pipeline.local_user(), trace, &recipient).await
                    }
                    Err(error) => Err(error),
                };
                operation.answered(told.as_ref().err().map(|error| error.code));
                answered(&told.map_err(error_data)?)
            }
            _ => self.mcp.handle_request(request, context).await,
        }
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.mcp.handle_notification(notification, context).await
    }

    fn get_info(&self) -> ServerConfig {
        Service::get_info(&self.mcp)
    }
}

impl Connection {
    async fn call(
        &self,
        CallToolRequest { params, .. }: CallToolRequest,
        context: RequestContext<RoleServer>,
        era: Era,
        mut operation: Operation,
    ) -> Result<ServerResult, ErrorData> {
        let answers = OfferedAnswers {
            responses: params.input_responses.unwrap_or_default().into_iter().collect(),
            state: params.request_state,
        };
        let (tool, arguments) = (params.name.into_owned(), params.arguments.unwrap_or_default());
        operation.calls(&self.pipeline, &tool);
        let call = Call::new(tool, arguments, answers, Meta::new(&context.meta), era, None, operation.spans());
        let mut call = call.inspect_err(|error| operation.answered(Some(error.code))).map_err(error_data)?;
        if let (Era::Legacy, Some(client)) = (era, context.peer.peer_info()) {
            // A handshake client declared its capabilities once, then.
            let declared = serde_json::to_value(&client.capabilities).unwrap_or_default();
            call.request.client_capabilities = declared.as_object().into_iter().flat_map(|names| names.keys().cloned()).collect();
        }
        let recipient = recipient(era, call.request.takes_tasks(), call.request.takes_questions.clone());
        if call.request.tool == POLL_TOOL {
            let trace = call.request.spans.position().clone();
            let told = poll_tool::answer(&self.pipeline, &self.pipeline.local_user(), call.request, &trace, &recipient).await;
            operation.told(&told);
            return answered(&told.map_err(error_data)?);
        }
        let mut running = call.start(&self.pipeline, self.pipeline.local_user(), recipient, context.ct.clone(), operation);
        let reply = loop {
            match running.next().await {
                Event::Step(step) => report(&context, running.progress_token(), step).await,
                Event::Ended(reply) => break *reply,
            }
        };
        let remaining: Vec<_> = running.remaining_steps().collect();
        for step in remaining {
            report(&context, running.progress_token(), step).await;
        }
        answered(&Wire::of(reply, &running.recipient).without_challenge().map_err(error_data)?)
    }
}

/// Whoever is at the other end of a connection, which knows no tokens and no URLs but the paths of the host's own port.
fn recipient(era: Era, takes_tasks: bool, takes_questions: BTreeSet<QuestionKind>) -> Recipient {
    Recipient { era, had_token: false, takes_tasks, takes_questions, calls_at: CALLS_PATH.into() }
}

/// The parameters of a request as JSON again: which of them matter is said in one place, whatever the transport.
fn params_of(params: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(params) {
        Ok(Value::Object(params)) => params,
        _ => Map::new(),
    }
}

fn answered(result: &impl Serialize) -> Result<ServerResult, ErrorData> {
    let result = serde_json::to_value(result).expect("a result holds only strings, numbers and JSON");
    Ok(ServerResult::CustomResult(CustomResult::new(result)))
}

async fn report(context: &RequestContext<RoleServer>, token: Option<&rmcp::model::ProgressToken>, step: Progress) {
    let Some(token) = token else { return };
    let mut params = ProgressNotificationParam::new(token.clone(), step.done as f64);
    params.total = step.total.map(|total| total as f64);
    params.message = Some(step.message).filter(|message| !message.is_empty());
    let notification = ServerNotification::ProgressNotification(ProgressNotification::new(params));
    // A client that is gone needs no progress.
    let _ = context.peer.send_notification(notification).await;
}

fn error_data(error: RpcError) -> ErrorData {
    ErrorData::new(ErrorCode(error.code), error.message, error.data.map(|data| *data))
}

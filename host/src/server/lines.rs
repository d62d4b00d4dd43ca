//! Messages as lines of a byte stream: each checked before it is believed, and a bad one answered rather than ignored.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, MetaObject,
    NumberOrString, RequestMetaObject, ServerJsonRpcMessage,
};
use rmcp::service::RoleServer;
use rmcp::transport::Transport;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls::tool_and_arguments;
use super::input;
use super::json::JsonLimits;
use super::message::{self, MAX_SMALL_MESSAGE, Message};
use super::meta::Meta;
use super::rpc::{Id, RpcError};
use super::stdio::StdioConfig;
use super::task::TaskMethod;

/// Lines that may wait for the client to read them.
const WRITE_BACKLOG: usize = 64;

/// A line-wise MCP transport for rmcp.
///
/// INVARIANT: `receive` is polled in a `select!` and may be dropped at any await, so whatever it has read stands in a field.
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// The rest of an overlong line is being skipped.
    skipping: bool,
    /// A handshake not yet answered. What follows it depends on what it negotiates, so it waits.
    handshake: Option<NumberOrString>,
    /// An answer to a bad line, not yet handed to the writer.
    refusal: Option<Vec<u8>>,
    max_line: usize,
    json: JsonLimits,
    in_flight: Arc<InFlight>,
    writer: Option<mpsc::Sender<Vec<u8>>>,
    writing: Option<JoinHandle<()>>,
    closing: CancellationToken,
    drain: Duration,
    /// Once the connection is ending: when it stops waiting for requests under way.
    ends_at: Option<Instant>,
}

/// The requests without an answer.
struct InFlight {
    ids: Mutex<HashSet<NumberOrString>>,
    count: watch::Sender<usize>,
    max: usize,
}

/// What reading a line came to.
enum Read {
    Line,
    Overlong,
    End,
}

impl<R: AsyncRead + Send + Unpin> Lines<R> {
    /// A transport over `reader` and `writer` that, once `closing` is cancelled or the client closes its side, ends as soon as no
    /// request is under way.
    pub fn new<W: AsyncWrite + Send + Unpin + 'static>(
        reader: R,
        writer: W,
        config: &StdioConfig,
        closing: CancellationToken,
    ) -> Self {
        let (sender, lines) = mpsc::channel(WRITE_BACKLOG);
        let in_flight = InFlight { ids: Mutex::default(), count: watch::Sender::new(0), max: config.max_in_flight };
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            skipping: false,
            handshake: None,
            refusal: None,
            max_line: config.max_line.as_usize(),
            json: config.json,
            in_flight: Arc::new(in_flight),
            writer: Some(sender),
            writing: Some(tokio::spawn(write(writer, lines))),
            closing,
            drain: config.drain.duration(),
            ends_at: None,
        }
    }

    /// Reads on until `line` holds a whole line, without its line break.
    async fn read_line(&mut self) -> io::Result<Read> {
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                // A last message without a line break counts: shells write such.
                let rest = !self.line.is_empty() && !self.skipping;
                return Ok(if rest { Read::Line } else { Read::End });
            }
            let (taken, complete) = match available.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (available.len(), false),
            };
            let content = &available[..taken - usize::from(complete)];
            let overlong = !self.skipping && self.line.len() + content.len() > self.max_line;
            if !self.skipping && !overlong {
                self.line.extend_from_slice(content);
            }
            self.reader.consume(taken);
            if overlong {
                self.line = Vec::new();
                self.skipping = !complete;
                return Ok(Read::Overlong);
            }
            match (complete, self.skipping) {
                (true, true) => self.skipping = false,
                (true, false) => return Ok(Read::Line),
                (false, _) => {}
            }
        }
    }

    /// The message on `line`, if it is one that rmcp should see.
    fn parse(&self) -> Result<Option<ClientJsonRpcMessage>, RpcError> {
        let line = self.line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let parsed = match message::read(line, self.json)? {
            Message::Request { id, method, params } if method == "tools/call" => {
                let call = tool_call(params).map_err(|error| error.answering(id.clone()))?;
                ClientJsonRpcMessage::request(ClientRequest::CallToolRequest(call), rmcp_id(id))
            }
            // Answers take up as much as that, and stand in something.
            Message::Request { id, method, .. } if method == TaskMethod::Update.as_str() => {
                small_message(line, 2 * MAX_SMALL_MESSAGE).map_err(|error| error.answering(id))?
            }
            Message::Request { id, .. } => small_message(line, MAX_SMALL_MESSAGE).map_err(|error| error.answering(id))?,
            Message::Notification { .. } => small_message(line, MAX_SMALL_MESSAGE)?,
            // We send no requests, and a response is not for answering (JSON-RPC 2.0 §5).
            Message::Response => return Ok(None),
        };
        match &parsed {
            JsonRpcMessage::Request(request) => self.in_flight.begin(&request.id)?,
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification {
                    // A cancelled request gets no answer.
                    cancelled.params.request_id.iter().for_each(|id| self.in_flight.end(id));
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => return Ok(None),
        }
        Ok(Some(parsed))
    }

    /// Waits until no request is under way, or for as long as the drain lasts.
    async fn drained(&mut self) {
        self.closing.cancel();
        let ends_at = *self.ends_at.get_or_insert_with(|| Instant::now() + self.drain);
        let mut count = self.in_flight.count.subscribe();
        let _ = tokio::time::timeout_at(ends_at, count.wait_for(|count| *count == 0)).await;
    }
}

impl<R: AsyncRead + Send + Unpin> Transport<RoleServer> for Lines<R> {
    type Error = io::Error;

    fn send(&mut self, message: ServerJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (writer, in_flight) = (self.writer.clone(), self.in_flight.clone());
        async move {
            let answered = match &message {
                JsonRpcMessage::Response(response) => Some(response.id.clone()),
                JsonRpcMessage::Error(error) => error.id.clone(),
                JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
            };
            let line = serde_json::to_vec(&message)?;
            let sent = match writer {
                Some(writer) => writer.send(line).await.map_err(|_| io::ErrorKind::BrokenPipe.into()),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            answered.iter().for_each(|id| in_flight.end(id));
            sent
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let closing = self.closing.clone();
        loop {
            if self.refusal.is_some() {
                let place = self.writer.as_ref()?.reserve().await.ok()?;
                place.send(self.refusal.take()?);
            }
            if let Some(handshake) = &self.handshake {
                self.in_flight.ended(handshake).await;
                self.handshake = None;
            }
            if self.ends_at.is_some() || closing.is_cancelled() {
                self.drained().await;
                return None;
            }
            let read = tokio::select! {
                read = self.read_line() => read,
                () = closing.cancelled() => continue,
            };
            let parsed = match read {
                Ok(Read::Line) => self.parse(),
                Ok(Read::Overlong) => {
                    let problem = format!("the message is longer than the {} bytes this server takes", self.max_line);
                    Err(RpcError::invalid_request(problem))
                }
                Ok(Read::End) => {
                    self.drained().await;
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection broke off");
                    return None;
                }
            };
            self.line.clear();
            match parsed {
                Ok(Some(message)) => {
                    self.handshake = handshake(&message);
                    return Some(message);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(code = error.code, "refused a message: {}", error.message);
                    self.refusal = Some(error.to_bytes());
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer = None;
        if let Some(writing) = self.writing.take() {
            // A client that reads nothing more does not hold up the end.
            let abort = writing.abort_handle();
            if tokio::time::timeout(self.drain, writing).await.is_err() {
                abort.abort();
            }
        }
        Ok(())
    }
}

impl InFlight {
    fn begin(&self, id: &NumberOrString) -> Result<(), RpcError> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let answering = |error: RpcError| match id {
            NumberOrString::Number(number) => error.answering(Id::Number(*number)),
            NumberOrString::String(text) => error.answering(Id::Text(text.to_string())),
        };
        if ids.len() >= self.max {
            return Err(answering(RpcError::internal("too many requests wait for their answers; read some, then send more")));
        }
        if !ids.insert(id.clone()) {
            return Err(answering(RpcError::invalid_request("a request with this id is still under way; give each its own")));
        }
        self.count.send_replace(ids.len());
        Ok(())
    }

    /// Waits until this request has its answer.
    async fn ended(&self, id: &NumberOrString) {
        let mut count = self.count.subscribe();
        while self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(id) {
            if count.changed().await.is_err() {
                return;
            }
        }
    }

    fn end(&self, id: &NumberOrString) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.remove(id);
        self.count.send_replace(ids.len());
    }
}

/// A `tools/call` as rmcp has it, from parameters that were parsed already.
fn tool_call(mut params: Map<String, Value>) -> Result<CallToolRequest, RpcError> {
    let (tool, arguments) = tool_and_arguments(&mut params)?;
    let answers = input::offered(&mut params)?;
    Meta::of(&params)?;
    let meta = match params.remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    let mut call = CallToolRequestParams::new(tool).with_arguments(arguments);
    if !answers.responses.is_empty() {
        call.input_responses = Some(answers.responses.into_iter().collect());
    }
    call.request_state = answers.state;
    let mut call = CallToolRequest::new(call);
    call.extensions.insert(RequestMetaObject(MetaObject(meta)));
    Ok(call)
}

/// Any other message, read by rmcp.
fn small_message(line: &[u8], max: usize) -> Result<ClientJsonRpcMessage, RpcError> {
    if line.len() > max {
        return Err(RpcError::invalid_request(format!("only `tools/call` takes more than {max} bytes")));
    }
    serde_json::from_slice(line).map_err(|_| RpcError::invalid_request("the message fits no method of MCP"))
}

/// The id of `message` if it opens a handshake.
fn handshake(message: &ClientJsonRpcMessage) -> Option<NumberOrString> {
    match message {
        JsonRpcMessage::Request(request) if matches!(request.request, ClientRequest::InitializeRequest(_)) => {
            Some(request.id.clone())
        }
        _ => None,
    }
}

fn rmcp_id(id: Id) -> NumberOrString {
    match id {
        Id::Number(number) => NumberOrString::Number(number),
        Id::Text(text) => NumberOrString::String(text.into()),
    }
}

/// Writes lines until there are no more senders, then flushes. Whole lines only: nothing else ever cuts in.
async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut line) = lines.recv().await {
        line.push(b'\n');
        if writer.write_all(&line).await.is_err() {
            return;
        }
        // A flush for each burst, not for each line.
        if lines.is_empty() && writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

#[cfg(test)]
mod tests;

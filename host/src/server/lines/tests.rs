//! Messages over lines: limits, order, ends.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};

use super::*;
use crate::model::Bytes;

type Far = (tokio::io::ReadHalf<DuplexStream>, tokio::io::WriteHalf<DuplexStream>);

fn pair(config: &StdioConfig) -> (Lines<tokio::io::ReadHalf<DuplexStream>>, Far, CancellationToken) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (reader, writer) = split(near);
    let closing = CancellationToken::new();
    (Lines::new(reader, writer, config, closing.clone()), split(far), closing)
}

fn ping(id: u32) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n")
}

fn id_of(message: Option<ClientJsonRpcMessage>) -> Option<NumberOrString> {
    match message {
        Some(JsonRpcMessage::Request(request)) => Some(request.id),
        _ => None,
    }
}

async fn answers(lines: &mut Lines<tokio::io::ReadHalf<DuplexStream>>, mut far: tokio::io::ReadHalf<DuplexStream>) -> Vec<Value> {
    lines.close().await.expect("closing never fails");
    let mut text = String::new();
    far.read_to_string(&mut text).await.expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON message a line")).collect()
}

#[tokio::test]
async fn bad_lines_are_answered_and_the_next_message_arrives() {
    let (mut lines, (read, mut write), _) = pair(&StdioConfig::default());
    let bad = "nonsense\n[]\n{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"x\",\"method\":\"y\"}\n\n  \r\n";
    write.write_all(format!("{bad}{}", ping(4)).as_bytes()).await.expect("written");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(4)));
    let answers = answers(&mut lines, read).await;
    let codes: Vec<_> = answers.iter().map(|answer| (answer["error"]["code"].clone(), answer["id"].clone())).collect();
    assert_eq!(codes, [(json!(-32700), Value::Null), (json!(-32600), Value::Null), (json!(-32600), json!(3))]);
}

#[tokio::test]
async fn an_overlong_line_is_answered_once_and_skipped_to_its_end() {
    let (mut lines, (read, mut write), _) = pair(&StdioConfig { max_line: Bytes(100), ..StdioConfig::default() });
    write.write_all(format!("{}\n{}", "x".repeat(50_000), ping(1)).as_bytes()).await.expect("written");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(1)));
    let answers = answers(&mut lines, read).await;
    assert_eq!((answers.len(), &answers[0]["error"]["code"]), (1, &json!(-32600)));
}

#[tokio::test]
async fn a_byte_order_mark_and_a_missing_last_line_break_are_forgiven() {
    let (mut lines, (_read, mut write), _) = pair(&StdioConfig::default());
    write.write_all(format!("\u{feff}{}", ping(1).trim_end()).as_bytes()).await.expect("written");
    write.shutdown().await.expect("shut down");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(1)));
}

#[tokio::test]
async fn a_receive_that_is_dropped_half_way_loses_nothing() {
    let (mut lines, (_read, mut write), _) = pair(&StdioConfig::default());
    let message = ping(9);
    let (first, second) = message.split_at(10);
    write.write_all(first.as_bytes()).await.expect("written");
    let half = tokio::time::timeout(Duration::from_millis(20), lines.receive()).await;
    assert!(half.is_err(), "there is no whole message yet");
    write.write_all(second.as_bytes()).await.expect("written");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(9)));
}

#[tokio::test]
async fn an_id_in_use_and_a_request_too_many_are_refused() {
    let (mut lines, (read, mut write), _) = pair(&StdioConfig { max_in_flight: 2, ..StdioConfig::default() });
    write.write_all(format!("{}{}{}{}", ping(1), ping(1), ping(2), ping(3)).as_bytes()).await.expect("written");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(1)));
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(2)));
    let cancel = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1}}\n";
    write.write_all(format!("{cancel}{}", ping(4)).as_bytes()).await.expect("written");
    assert!(matches!(lines.receive().await, Some(JsonRpcMessage::Notification(_))));
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(4)));
    let answers = answers(&mut lines, read).await;
    let codes: Vec<_> = answers.iter().map(|answer| (answer["error"]["code"].clone(), answer["id"].clone())).collect();
    assert_eq!(codes, [(json!(-32600), json!(1)), (json!(-32603), json!(3))]);
}

#[tokio::test]
async fn the_end_waits_for_requests_under_way_but_not_for_ever() {
    let (mut lines, (_read, mut write), closing) =
        pair(&StdioConfig { drain: crate::model::Span::millis(100), ..StdioConfig::default() });
    write.write_all(ping(1).as_bytes()).await.expect("written");
    lines.receive().await.expect("the request");
    write.shutdown().await.expect("shut down");
    let since = Instant::now();
    assert!(lines.receive().await.is_none());
    assert!(closing.is_cancelled(), "whoever listens is told to end");
    assert!(since.elapsed() >= std::time::Duration::from_millis(100));
}

#[tokio::test]
async fn the_end_comes_as_soon_as_the_last_answer_is_sent() {
    let (mut lines, (_read, mut write), _) = pair(&StdioConfig::default());
    write.write_all(ping(1).as_bytes()).await.expect("written");
    lines.receive().await.expect("the request");
    write.shutdown().await.expect("shut down");
    let answer = ServerJsonRpcMessage::response(rmcp::model::ServerResult::empty(()), NumberOrString::Number(1));
    let sent = lines.send(answer);
    let (ended, sent) = tokio::join!(lines.receive(), sent);
    assert!(ended.is_none());
    sent.expect("the answer is written");
}

#[tokio::test]
async fn a_response_is_not_answered() {
    let (mut lines, (read, mut write), _) = pair(&StdioConfig::default());
    write.write_all(format!("{{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{{}}}}\n{}", ping(1)).as_bytes()).await.expect("written");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(1)));
    assert_eq!(answers(&mut lines, read).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_malformed_tool_call_is_answered_as_such_and_a_well_formed_one_keeps_its_meta() {
    let (mut lines, (read, mut write), _) = pair(&StdioConfig::default());
    let call =
        |id: u32, params: Value| format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
    let good = call(3, json!({"name": "echo", "arguments": {"text": "hi"}, "_meta": {"progressToken": 9}}));
    let bad = [
        call(1, json!({"name": 7})),
        call(2, json!({"name": "echo", "arguments": []})),
        call(4, json!({"name": "echo", "_meta": 1})),
    ];
    write.write_all(format!("{}{good}", bad.concat()).as_bytes()).await.expect("written");
    let Some(JsonRpcMessage::Request(request)) = lines.receive().await else { panic!("not a request") };
    let ClientRequest::CallToolRequest(call) = request.request else { panic!("not a tool call") };
    assert_eq!((call.params.name.as_ref(), call.params.arguments), ("echo", json!({"text": "hi"}).as_object().cloned()));
    assert_eq!(call.extensions.get::<RequestMetaObject>().and_then(|meta| meta.get("progressToken")), Some(&json!(9)));
    let answers = answers(&mut lines, read).await;
    let codes: Vec<_> = answers.iter().map(|answer| (answer["error"]["code"].clone(), answer["id"].clone())).collect();
    assert_eq!(codes, [(json!(-32602), json!(1)), (json!(-32602), json!(2)), (json!(-32602), json!(4))]);
}

#[tokio::test]
async fn what_follows_a_handshake_waits_for_its_answer() {
    let (mut lines, (_read, mut write), _) = pair(&StdioConfig::default());
    let params = "{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"x\",\"version\":\"1\"}}";
    let initialize = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{params}}}\n");
    write.write_all(format!("{initialize}{}", ping(2)).as_bytes()).await.expect("written");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(1)));
    let early = tokio::time::timeout(Duration::from_millis(20), lines.receive()).await;
    assert!(early.is_err(), "the handshake has no answer yet");
    let answer = ServerJsonRpcMessage::response(rmcp::model::ServerResult::empty(()), NumberOrString::Number(1));
    lines.send(answer).await.expect("the answer is written");
    assert_eq!(id_of(lines.receive().await), Some(NumberOrString::Number(2)));
}

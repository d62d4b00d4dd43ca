//! What the server speaks and serves, asked before the load.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Client, Heard, SESSION, Trouble};
use super::dialect::{Dialect, LEGACY, Request, initialize, initialized};

/// Pages of tools that are read at most.
const PAGES: usize = 1000;

/// What the server speaks and serves.
pub struct Survey {
    /// What it speaks.
    pub dialect: Dialect,
    /// The tools it lists.
    pub tools: Vec<Listed>,
}

/// A tool as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether it says that it changes nothing.
    pub is_read_only: bool,
    /// Whether it takes an idempotency key.
    pub takes_key: bool,
}

/// A handshake that was held.
pub struct Shaken {
    /// The version it settled on.
    pub version: HeaderValue,
    /// The session, if the server keeps one.
    pub session: Option<HeaderValue>,
}

/// Asks the server at the other end of `client`: in the newest protocol first, unless `legacy`.
///
/// # Errors
/// It can't be reached, speaks no MCP, or lists no tools; in words.
pub async fn survey(
    client: &mut Client,
    token: Option<&HeaderValue>,
    tasks: bool,
    legacy: bool,
    limit: Duration,
) -> Result<Survey> {
    let modern = Dialect::Modern { tasks };
    let mut session = None;
    let discovered = match legacy {
        true => None,
        false => result(&ask(client, &modern.request("server/discover", json!({}), 1), token, None, limit).await?),
    };
    let dialect = match discovered {
        Some(_) => modern,
        None => {
            let shaken = shake(client, token, limit).await.map_err(no_answer)?;
            let shaken = shaken.map_err(|status| match status {
                StatusCode::UNAUTHORIZED => anyhow!("the server wants a token; pass one with `--token`, or `--principals`"),
                status => anyhow!("the server answers {status} with something that is not MCP"),
            })?;
            session = shaken.session;
            Dialect::Legacy { version: shaken.version }
        }
    };
    let mut tools = Vec::new();
    let mut params = json!({});
    for id in 2..PAGES as u64 {
        let heard = ask(client, &dialect.request("tools/list", params, id), token, session.as_ref(), limit).await?;
        let Some(page) = result(&heard) else { bail!("the server lists no tools: it answers {}", heard.status) };
        tools.extend(page["tools"].as_array().into_iter().flatten().filter_map(listed));
        match page.get("nextCursor") {
            Some(cursor @ Value::String(_)) => params = json!({ "cursor": cursor }),
            _ => break,
        }
    }
    Ok(Survey { dialect, tools })
}

/// Holds the handshake of older protocols; the inner error is the status of a refusal.
///
/// # Errors
/// There is no answer.
pub async fn shake(
    client: &mut Client,
    token: Option<&HeaderValue>,
    limit: Duration,
) -> Result<Result<Shaken, StatusCode>, Trouble> {
    let heard = send(client, &initialize(1), token, None, limit).await?;
    let Some(agreed) = result(&heard) else { return Ok(Err(heard.status)) };
    let version = agreed["protocolVersion"].as_str().and_then(|version| HeaderValue::from_str(version).ok());
    let version = version.unwrap_or_else(|| HeaderValue::from_static(LEGACY));
    send(client, &initialized(&version), token, heard.session.as_ref(), limit).await?;
    Ok(Ok(Shaken { version, session: heard.session }))
}

async fn ask(
    client: &mut Client,
    request: &Request,
    token: Option<&HeaderValue>,
    session: Option<&HeaderValue>,
    limit: Duration,
) -> Result<Heard> {
    send(client, request, token, session, limit).await.map_err(no_answer)
}

async fn send(
    client: &mut Client,
    request: &Request,
    token: Option<&HeaderValue>,
    session: Option<&HeaderValue>,
    limit: Duration,
) -> Result<Heard, Trouble> {
    let mut headers = request.headers.clone();
    headers.extend(token.cloned().map(|token| (AUTHORIZATION, token)));
    headers.extend(session.cloned().map(|session| (SESSION, session)));
    client.send(Method::POST, headers, Bytes::from(request.body.clone()), limit).await
}

fn no_answer(trouble: Trouble) -> anyhow::Error {
    match trouble {
        Trouble::Unreachable => anyhow!("nothing listens there; is the server running?"),
        trouble => anyhow!("the server gives no answer ({})", trouble.as_str()),
    }
}

/// The result in an answer, if it is one.
fn result(heard: &Heard) -> Option<Value> {
    let text = std::str::from_utf8(&heard.body).ok()?;
    let message: Option<Value> = match heard.is_stream {
        false => serde_json::from_str(text).ok(),
        true => {
            let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
            events.filter_map(|data| serde_json::from_str(data.trim()).ok()).rfind(|message: &Value| message.get("id").is_some())
        }
    };
    message.and_then(|mut message| message.get_mut("result").map(Value::take))
}

fn listed(tool: &Value) -> Option<Listed> {
    Some(Listed {
        name: tool["name"].as_str()?.to_owned(),
        is_read_only: tool["annotations"]["readOnlyHint"] == json!(true),
        takes_key: tool["inputSchema"]["properties"].get("idempotency_key").is_some(),
    })
}

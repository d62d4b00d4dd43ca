//! One question of a guest: read from what it wrote, and what is an answer to it.

use serde_json::{Map, Value};
use url::{Host, Url};

use super::form;
use crate::model::{Question, QuestionKind};
use crate::registry::Schema;
use crate::sandbox::AskedFor;

/// The longest name of a question, in characters.
const MAX_KEY: usize = 64;

/// The question that a guest asks.
///
/// # Errors
/// It is none that MCP 2026-07-28 has. The text says what is wrong, for the tool's author.
pub fn read(asked: AskedFor) -> Result<Question, String> {
    let AskedFor { key, method, params } = asked;
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    if !(1..=MAX_KEY).contains(&key.len()) || !key.bytes().all(is_plain) {
        return Err(format!("a key is 1 to {MAX_KEY} characters of `A-Z a-z 0-9 _ . -`"));
    }
    let wrong = |problem: String| format!("the question `{key}`: {problem}");
    let mut params: Map<String, Value> =
        serde_json::from_str(&params).map_err(|error| wrong(format!("its parameters are no JSON object: {error}")))?;
    let kind = kind(&method, &params).map_err(wrong)?;
    match kind {
        QuestionKind::Form => check_form(&params),
        // In the one spelling in which nothing looks like something else.
        QuestionKind::Url => check_url(&params).map(|url| drop(params.insert("url".to_owned(), String::from(url).into()))),
        QuestionKind::Sampling => check_sampling(&params),
        QuestionKind::Roots => Ok(()),
    }
    .map_err(wrong)?;
    Ok(Question { key, kind, params })
}

/// Whether `answer` is one to `question`.
///
/// # Errors
/// What is wrong with it, without a word of what it says.
pub fn fits(question: &Question, answer: &Value) -> Result<(), String> {
    let Value::Object(members) = answer else { return Err("it is no object".into()) };
    match question.kind {
        QuestionKind::Form | QuestionKind::Url => {
            let action = members.get("action").and_then(Value::as_str);
            match (action, question.kind) {
                (Some("accept"), QuestionKind::Form) => {
                    let schema = question.params.get("requestedSchema").ok_or("its form is gone")?;
                    // A form of which nothing was filled in may come back without any (`ElicitResult`).
                    let nothing = Value::Object(Map::new());
                    let content = members.get("content").unwrap_or(&nothing);
                    Schema::compile_strictly(schema)?.check(content).map_err(|violations| violations.join("; "))
                }
                (Some("accept" | "decline" | "cancel"), _) => Ok(()),
                _ => Err("its `action` must be `accept`, `decline` or `cancel`".into()),
            }
        }
        QuestionKind::Sampling => match (members.get("role"), members.get("content")) {
            (Some(Value::String(_)), Some(Value::Object(_) | Value::Array(_))) => Ok(()),
            _ => Err("a message has a `role` and a `content`".into()),
        },
        QuestionKind::Roots => {
            let roots = members.get("roots").and_then(Value::as_array).ok_or("its `roots` must be a list")?;
            let has_uri = |root: &Value| root.get("uri").is_some_and(Value::is_string);
            if roots.iter().all(has_uri) { Ok(()) } else { Err("each root must have a `uri`".into()) }
        }
    }
}

fn kind(method: &str, params: &Map<String, Value>) -> Result<QuestionKind, String> {
    match (method, params.get("mode").map(|mode| mode.as_str().unwrap_or_default())) {
        ("elicitation/create", None | Some("form")) => Ok(QuestionKind::Form),
        ("elicitation/create", Some("url")) => Ok(QuestionKind::Url),
        ("elicitation/create", Some(_)) => Err("its mode is neither `form` nor `url`".into()),
        ("sampling/createMessage", _) => Ok(QuestionKind::Sampling),
        ("roots/list", _) => Ok(QuestionKind::Roots),
        _ => Err("its method is none of `elicitation/create`, `sampling/createMessage` and `roots/list`".into()),
    }
}

fn check_message(params: &Map<String, Value>) -> Result<(), String> {
    match params.get("message") {
        Some(Value::String(message)) if !message.trim().is_empty() => Ok(()),
        _ => Err("`message` must be a text".into()),
    }
}

fn check_form(params: &Map<String, Value>) -> Result<(), String> {
    check_message(params)?;
    let schema = params.get("requestedSchema").ok_or("`requestedSchema` is missing")?;
    form::check(schema)?;
    Schema::compile_strictly(schema).map(drop).map_err(|problem| format!("`requestedSchema` is no JSON Schema: {problem}"))
}

/// A page that somebody is sent to must be one whose name can be trusted.
fn check_url(params: &Map<String, Value>) -> Result<Url, String> {
    check_message(params)?;
    let url = params.get("url").and_then(Value::as_str).ok_or("`url` must be a text")?;
    let url = Url::parse(url).map_err(|error| format!("`url` is none: {error}"))?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if !(url.scheme() == "https" || url.scheme() == "http" && is_here) {
        return Err("`url` must be `https`".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`url` must not hold credentials".into());
    }
    Ok(url)
}

/// A message is asked for, and nothing else: no tools of the client's, and none of what it knows from other servers.
fn check_sampling(params: &Map<String, Value>) -> Result<(), String> {
    let is_message = |message: &Value| {
        let (role, content) = (message.get("role"), message.get("content"));
        role.is_some_and(|role| role == "user" || role == "assistant")
            && content.is_some_and(|content| content.is_object() || content.is_array())
    };
    let messages = params.get("messages").and_then(Value::as_array);
    if !messages.is_some_and(|messages| !messages.is_empty() && messages.iter().all(is_message)) {
        return Err("`messages` must be a list of messages, each with a `role` and a `content`".into());
    }
    if params.get("maxTokens").and_then(Value::as_u64).is_none_or(|tokens| tokens == 0) {
        return Err("`maxTokens` must be a number above 0".into());
    }
    let asks_context = params.get("includeContext").is_some_and(|include| include != "none");
    if asks_context || params.contains_key("tools") || params.contains_key("toolChoice") {
        return Err("it may ask for a message, not for `tools`, `toolChoice` or `includeContext`".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(method: &str, params: &Value) -> Result<Question, String> {
        read(AskedFor { key: "k".into(), method: method.into(), params: params.to_string() })
    }

    fn form(field: &Value) -> Result<Question, String> {
        let schema = json!({ "type": "object", "properties": { "field": field } });
        ask("elicitation/create", &json!({ "message": "Which?", "requestedSchema": schema }))
    }

    #[test]
    fn a_form_has_a_message_and_fields_that_clients_draw() {
        assert_eq!(form(&json!({ "type": "string" })).map(|question| question.kind), Ok(QuestionKind::Form));
        assert!(form(&json!({ "type": "object" })).expect_err("nested").contains("`field`"));
        assert!(ask("elicitation/create", &json!({ "message": "Which?" })).is_err());
        let empty = json!({ "type": "object", "properties": {} });
        assert!(ask("elicitation/create", &json!({ "message": " ", "requestedSchema": empty })).is_err());
        assert!(ask("elicitation/create", &json!({ "message": "Which?", "requestedSchema": empty, "mode": "other" })).is_err());
    }

    #[test]
    fn nobody_is_sent_to_a_page_that_cannot_be_trusted() {
        let page = |url: &str| ask("elicitation/create", &json!({ "mode": "url", "message": "Sign in", "url": url }));
        for url in ["https://bank.example/sign-in", "http://localhost:8080/", "http://127.0.0.1/", "http://[::1]/"] {
            assert_eq!(page(url).map(|question| question.kind), Ok(QuestionKind::Url), "{url}");
        }
        let cyrillic = page("https://b\u{430}nk.example/\u{202e}x").expect("a page");
        assert_eq!(cyrillic.params["url"], "https://xn--bnk-6cd.example/%E2%80%AEx");
        for url in [
            "http://bank.example/",
            "javascript:alert(1)",
            "https://a:b@bank.example/",
            "file:///etc/passwd",
            "no url",
            "http://127.0.0.1.example/",
        ] {
            assert!(page(url).is_err(), "{url}");
        }
    }

    #[test]
    fn of_a_model_a_message_is_asked_for_and_nothing_else() {
        let messages = json!([{ "role": "user", "content": { "type": "text", "text": "hi" } }]);
        let sample = |more: &Value| {
            let mut params = json!({ "messages": messages, "maxTokens": 10 });
            params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            ask("sampling/createMessage", &params)
        };
        assert!(sample(&json!({ "includeContext": "none" })).is_ok());
        for more in [
            json!({ "includeContext": "allServers" }),
            json!({ "tools": [] }),
            json!({ "maxTokens": 0 }),
            json!({ "messages": [] }),
            json!({ "messages": ["hi"] }),
        ] {
            assert!(sample(&more).is_err(), "{more}");
        }
    }

    #[test]
    fn keys_and_methods_are_those_there_are() {
        let named = |key: &str| read(AskedFor { key: key.into(), method: "roots/list".into(), params: "{}".into() });
        assert!(named("user_name.1-A").is_ok());
        for key in ["", "a b", "é", &"k".repeat(65)] {
            assert!(named(key).is_err(), "{key}");
        }
        assert!(ask("tools/call", &json!({})).is_err());
        assert!(ask("roots/list", &json!([])).is_err());
    }

    #[test]
    fn what_is_no_answer_is_told_from_what_is() {
        let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
        let form = ask("elicitation/create", &json!({ "message": "Name?", "requestedSchema": schema })).expect("a form");
        for answer in [
            json!({ "action": "accept", "content": { "name": "Alice" } }),
            json!({ "action": "decline" }),
            json!({ "action": "cancel" }),
        ] {
            assert_eq!(fits(&form, &answer), Ok(()), "{answer}");
        }
        for answer in [
            json!(12345),
            json!({}),
            json!({ "action": "accept" }),
            json!({ "action": "accept", "content": { "name": 7 } }),
            json!({ "action": "no" }),
        ] {
            assert!(fits(&form, &answer).is_err(), "{answer}");
        }
        let problem = fits(&form, &json!({ "action": "accept", "content": { "name": 4111_1111 } })).expect_err("no string");
        assert!(!problem.contains("4111"), "{problem}");

        let roots = ask("roots/list", &json!({})).expect("a question");
        assert!(fits(&roots, &json!({ "roots": [{ "uri": "file:///home" }] })).is_ok());
        assert!(fits(&roots, &json!({ "roots": [{ "name": "home" }] })).is_err());
    }
}

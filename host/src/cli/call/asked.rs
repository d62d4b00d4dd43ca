//! What a tool asks, put to whoever sits at the terminal, or answered from the command line.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, anyhow, bail};
use inquire::{Confirm, CustomType, MultiSelect, Select, Text};
use serde_json::{Map, Value, json};

use crate::cli::audit::printable;

/// Answers, and what the host wants back with them.
#[derive(Debug)]
pub struct Answers {
    /// By the keys of the questions.
    pub responses: Map<String, Value>,
    /// `requestState`; null if there was none.
    pub state: Value,
}

/// Whether there is a terminal to ask at.
pub fn is_somebody_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// An answer as it stands on the command line.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<(String, Value), String> {
    let (key, answer) = text.split_once('=').ok_or("write KEY=ANSWER, such as `order={\"confirm\": true}` or `order=decline`")?;
    let answer = match answer {
        "accept" | "decline" | "cancel" => json!({ "action": answer }),
        content => match serde_json::from_str(content) {
            Ok(Value::Object(content)) => json!({ "action": "accept", "content": content }),
            _ => {
                return Err(format!(
                    "the answer to `{key}` must be `accept`, `decline`, `cancel` or a JSON object with the fields of its form"
                ));
            }
        },
    };
    Ok((key.to_owned(), answer))
}

/// What a result asks, by key, if it asks anything.
pub fn questions(result: &Value) -> Option<Map<String, Value>> {
    (result["resultType"] == "input_required").then(|| result["inputRequests"].as_object().cloned())?
}

/// The answers to questions: those that were given beforehand, and for the others whatever is said at the terminal.
///
/// # Errors
/// Nobody is there to be asked, or whoever is gave up.
pub fn answer(questions: &Map<String, Value>, given: &mut Vec<(String, Value)>, state: Value) -> Result<Answers> {
    let mut responses = Map::new();
    for (key, question) in questions {
        let answer = match given.iter().position(|(name, _)| name == key) {
            // Once: what is asked again was not answered by it.
            Some(at) => given.remove(at).1,
            None if is_somebody_there() => ask(&question["params"]).with_context(|| format!("`{key}` was not answered"))?,
            None => bail!("the tool asks, and has no answer that fits: {}", in_words(key, question)),
        };
        responses.insert(key.clone(), answer);
    }
    Ok(Answers { responses, state })
}

/// Questions that can't be put to anybody here.
pub fn all_in_words(questions: &Map<String, Value>) -> String {
    questions.iter().map(|(key, question)| in_words(key, question)).collect::<Vec<_>>().join("; ")
}

/// A question, and how to answer it from a script.
fn in_words(key: &str, question: &Value) -> String {
    let message = printable(question["params"]["message"].as_str().unwrap_or_default());
    let fields = question["params"]["requestedSchema"]["properties"].as_object();
    let names = fields.map(|fields| fields.keys().map(|name| format!("\"{name}\": …")).collect::<Vec<_>>().join(", "));
    let answer = names.map_or_else(|| "accept".to_owned(), |names| format!("{{{names}}}"));
    printable(&format!("`{message}`; answer with --answer '{key}={answer}', or --answer {key}=decline"))
}

fn ask(params: &Value) -> Result<Value> {
    eprintln!("{}", printable(params["message"].as_str().unwrap_or_default()));
    if params["mode"] == "url" {
        let url = printable(params["url"].as_str().unwrap_or_default());
        let agreed = Confirm::new(&format!("Open {url} yourself, then say yes:")).prompt_skippable()?;
        return Ok(action(agreed));
    }
    let schema = &params["requestedSchema"];
    let is_required =
        |name: &str| schema["required"].as_array().is_some_and(|required| required.iter().any(|known| known == name));
    let mut content = Map::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        match fill_in(name, field)? {
            Some(value) => drop(content.insert(name.clone(), value)),
            // Escape, at what has to be filled in, closes the form.
            None if is_required(name) => return Ok(json!({ "action": "cancel" })),
            None => {}
        }
    }
    // Whoever had to fill something in has had the choice.
    let is_chosen = schema["required"].as_array().is_some_and(|required| !required.is_empty());
    let agreed = if is_chosen { Some(true) } else { Confirm::new("Is that right?").prompt_skippable()? };
    let mut answer = action(agreed);
    if agreed == Some(true) {
        answer["content"] = content.into();
    }
    Ok(answer)
}

fn action(agreed: Option<bool>) -> Value {
    json!({ "action": match agreed {
        Some(true) => "accept",
        Some(false) => "decline",
        None => "cancel",
    } })
}

/// One field; nothing if it is skipped.
fn fill_in(name: &str, field: &Value) -> Result<Option<Value>> {
    let title = printable(field["title"].as_str().or(field["description"].as_str()).unwrap_or(name));
    let title = format!("{title}:");
    let kind = field["type"].as_str().ok_or_else(|| anyhow!("the field `{name}` is of no type"))?;
    Ok(match kind {
        "boolean" => Confirm::new(&title).prompt_skippable()?.map(Value::from),
        "integer" => CustomType::<i64>::new(&title).prompt_skippable()?.map(Value::from),
        "number" => CustomType::<f64>::new(&title).prompt_skippable()?.map(Value::from),
        "array" => {
            let chosen = MultiSelect::new(&title, choices(&field["items"])).prompt_skippable()?;
            chosen.map(|chosen| chosen.into_iter().map(|choice| choice.value).collect())
        }
        _ => match choices(field) {
            // An empty line is nothing.
            choices if choices.is_empty() => {
                Text::new(&title).prompt_skippable()?.filter(|text| !text.is_empty()).map(Value::from)
            }
            choices => Select::new(&title, choices).prompt_skippable()?.map(|choice| choice.value),
        },
    })
}

/// Something that can be chosen.
struct Choice {
    value: Value,
    title: String,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.title)
    }
}

fn choices(field: &Value) -> Vec<Choice> {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    if let Some(values) = field["enum"].as_array() {
        let title = |at: usize| field["enumNames"].get(at).map(text);
        return values
            .iter()
            .enumerate()
            .map(|(at, value)| Choice { value: value.clone(), title: title(at).unwrap_or_else(|| text(value)) })
            .collect();
    }
    let titled = field["oneOf"].as_array().or(field["anyOf"].as_array());
    titled.into_iter().flatten().map(|part| Choice { value: part["const"].clone(), title: text(&part["title"]) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_on_the_command_line_is_a_form_or_a_word() {
        let accepted = json!({ "action": "accept", "content": { "confirm": true } });
        assert_eq!(parse("order={\"confirm\": true}"), Ok(("order".to_owned(), accepted)));
        assert_eq!(parse("order=decline"), Ok(("order".to_owned(), json!({ "action": "decline" }))));
        for wrong in ["order", "order=maybe", "order=[1]", "order=true"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_nobody_is_there_to_answer_is_told_with_the_way_to_answer_it() {
        let schema = json!({ "type": "object", "properties": { "confirm": { "type": "boolean" } } });
        let question =
            json!({ "method": "elicitation/create", "params": { "message": "Pay\u{1b}[2J?", "requestedSchema": schema } });
        let words = in_words("pay", &question);
        assert!(words.contains("--answer 'pay={\"confirm\": …}'") && !words.contains('\u{1b}'), "{words}");
        assert!(in_words("page", &json!({ "params": { "message": "Look" } })).contains("--answer 'page=accept'"));
    }

    #[test]
    fn choices_have_titles_where_there_are_any() {
        let titles = |field: &Value| choices(field).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(titles(&json!({ "enum": ["a", "b"] })), ["a", "b"]);
        assert_eq!(titles(&json!({ "enum": ["a", "b"], "enumNames": ["A"] })), ["A", "b"]);
        assert_eq!(titles(&json!({ "oneOf": [{ "const": "a", "title": "A" }] })), ["A"]);
        assert_eq!(titles(&json!({ "anyOf": [{ "const": "a", "title": "A" }] })), ["A"]);
    }
}

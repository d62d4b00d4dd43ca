//! Arguments as people type them: a JSON object, or `key=value`, of which the tool's schema says what the value is.

use std::io::Read as _;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::model::document;

/// The most of a file that is read, in bytes: a host takes less.
const MAX_FILE: u64 = 16 << 20;

/// The most links between parts of a schema that are followed.
const MAX_LINKS: usize = 16;

/// What was typed after the tool.
pub enum Typed {
    /// All arguments at once, as JSON.
    Whole(Value),
    /// Single ones.
    Single(Vec<Argument>),
}

/// One argument.
pub struct Argument {
    key: String,
    text: String,
    /// Written with `:=`: the value is JSON, whatever the schema says.
    is_json: bool,
}

impl Typed {
    /// Reads what was typed: nothing, one JSON object, `@FILE` with one, or any number of `key=value`, `key:=JSON`, `key=@FILE` and
    /// `key:=@FILE`.
    ///
    /// # Errors
    /// It is none of these, or a file can't be read.
    pub fn read(words: &[String]) -> Result<Self> {
        if let [word] = words
            && (word.trim_start().starts_with('{') || word.starts_with('@'))
        {
            let text = word.strip_prefix('@').map_or_else(|| Ok(word.clone()), file)?;
            let value: Value = serde_json::from_str(&text).context("the arguments are not JSON")?;
            if !value.is_object() {
                bail!("the arguments must be a JSON object, such as '{{\"user_id\": \"u1\"}}'");
            }
            return Ok(Self::Whole(value));
        }
        words.iter().map(|word| Argument::read(word)).collect::<Result<_>>().map(Self::Single)
    }

    /// The arguments for a tool that is listed so.
    ///
    /// # Errors
    /// The tool takes no such argument, or not such a value.
    pub fn fit(self, tool: &Value) -> Result<Value> {
        let single = match self {
            Self::Whole(value) => return Ok(value),
            Self::Single(single) => single,
        };
        let (name, schema) = (tool["name"].as_str().unwrap_or_default(), &tool["inputSchema"]);
        let mut arguments = Map::new();
        for argument in single {
            let Some(property) = property(schema, &argument.key) else { bail!(unknown(name, schema, &argument.key)) };
            let value = argument.value(schema, property)?;
            if arguments.insert(argument.key.clone(), value).is_some() {
                bail!("`{}` is given twice", argument.key);
            }
        }
        Ok(Value::Object(arguments))
    }
}

impl Argument {
    fn read(word: &str) -> Result<Self> {
        let Some((key, text)) = word.split_once('=') else {
            bail!("`{word}` is no argument; write `key=value`, `key:=JSON`, `@FILE`, or one JSON object in quotes");
        };
        let (key, is_json) = key.strip_suffix(':').map_or((key, false), |key| (key, true));
        if key.is_empty() {
            bail!("`{word}` names no argument; write `key=value`");
        }
        let text = text.strip_prefix('@').map_or_else(|| Ok(text.to_owned()), file)?;
        Ok(Self { key: key.to_owned(), text, is_json })
    }

    fn value(&self, schema: &Value, property: &Value) -> Result<Value> {
        let Self { key, text, is_json } = self;
        if *is_json {
            return serde_json::from_str(text).with_context(|| format!("`{key}:=` wants JSON, and `{text}` is none"));
        }
        let mut kinds = Vec::new();
        kinds_of(schema, property, MAX_LINKS, &mut kinds);
        let is = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
        // A text is what was typed; only what can't be a text has to be read as something else.
        if is("string") {
            return Ok(Value::String(text.clone()));
        }
        let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let fits = match &value {
            Value::Null => is("null") && text == "null",
            Value::Bool(_) => is("boolean"),
            Value::Number(number) => is("number") || is("integer") && !number.is_f64(),
            Value::String(_) => false,
            Value::Array(_) => is("array"),
            Value::Object(_) => is("object"),
        };
        if !fits {
            bail!("`{key}` takes {}, and `{text}` is none", kinds.join(" or "));
        }
        Ok(value)
    }
}

/// What the schema says of an argument; nothing if it takes none of that name.
fn property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema["properties"].get(key).or_else(|| {
        let others = schema.get("additionalProperties")?;
        (others != &Value::Bool(false)).then_some(others)
    })
}

fn unknown(tool: &str, schema: &Value, key: &str) -> String {
    let known: Vec<&str> = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let hint = match document::nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it takes none at all".to_owned(),
        None => format!("it takes `{}`", known.join("`, `")),
    };
    format!("`{tool}` takes no argument `{key}`; {hint}")
}

/// The JSON types that a value may have, as far as its schema says; empty if it may have any.
fn kinds_of<'a>(root: &'a Value, schema: &'a Value, links: usize, kinds: &mut Vec<&'a str>) {
    if links == 0 {
        return;
    }
    if let Some(target) =
        schema["$ref"].as_str().and_then(|link| link.strip_prefix('#')).and_then(|pointer| root.pointer(pointer))
    {
        kinds_of(root, target, links - 1, kinds);
    }
    match &schema["type"] {
        Value::String(kind) => kinds.push(kind),
        Value::Array(several) => kinds.extend(several.iter().filter_map(Value::as_str)),
        _ => {}
    }
    for value in schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")) {
        kinds.push(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        });
    }
    for keyword in ["anyOf", "oneOf"] {
        for part in schema[keyword].as_array().into_iter().flatten() {
            kinds_of(root, part, links - 1, kinds);
        }
    }
}

/// The text in a file; `-` is stdin.
fn file(path: &str) -> Result<String> {
    let mut text = String::new();
    let read = match path {
        "-" => std::io::stdin().lock().take(MAX_FILE + 1).read_to_string(&mut text),
        path => std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text)),
    };
    read.with_context(|| format!("can't read `{path}`"))?;
    if text.len() as u64 > MAX_FILE {
        bail!("`{path}` is longer than {} MiB, more than any host takes", MAX_FILE >> 20);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool() -> Value {
        json!({ "name": "t", "inputSchema": { "type": "object", "additionalProperties": false,
            "properties": {
                "name": { "type": "string" }, "count": { "type": "integer" }, "share": { "type": ["number", "null"] },
                "status": { "anyOf": [{ "$ref": "#/$defs/Status" }, { "type": "null" }] }, "tags": { "type": "array" },
                "deep": { "$ref": "#/$defs/Deep" }, "any": {}, "loud": { "type": "boolean" },
            },
            "$defs": { "Status": { "enum": ["open", "paid"] }, "Deep": { "$ref": "#/$defs/Deep" } } } })
    }

    fn fit(words: &[&str]) -> Result<Value, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        Typed::read(&words).and_then(|typed| typed.fit(&tool())).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_value_is_what_the_schema_says_it_is() {
        let words = ["name=42", "count=42", "share=0.5", "status=open", "tags=[1]", "any=true", "deep=x", "loud=true"];
        let expected = json!({ "name": "42", "count": 42, "share": 0.5, "status": "open", "tags": [1], "any": "true", "deep": "x",
            "loud": true });
        assert_eq!(fit(&words), Ok(expected));
        assert_eq!(fit(&["share=null", "status:=null", "any:=true"]), Ok(json!({ "share": null, "status": null, "any": true })));
        assert_eq!(fit(&["name=a=b", "any="]), Ok(json!({ "name": "a=b", "any": "" })));
        assert_eq!(fit(&[]), Ok(json!({})));
    }

    #[test]
    fn what_does_not_fit_is_told_before_anything_is_sent() {
        for (words, problem) in [
            (&["nmae=x"][..], "`t` takes no argument `nmae`; did you mean `name`?"),
            (
                &["colour=red"],
                "`t` takes no argument `colour`; it takes `name`, `count`, `share`, `status`, `tags`, `deep`, `any`, `loud`",
            ),
            (&["count=many"], "`count` takes integer, and `many` is none"),
            (&["count=1.5"], "`count` takes integer, and `1.5` is none"),
            (&["any:={"], "`any:=` wants JSON, and `{` is none"),
            (&["name=a", "name=b"], "`name` is given twice"),
            (&["hello"], "`hello` is no argument; write `key=value`"),
            (&["=x"], "`=x` names no argument"),
            (&["@/no/such/file"], "can't read `/no/such/file`"),
        ] {
            let told = fit(words).expect_err(problem);
            assert!(told.starts_with(problem), "{told}");
        }
    }

    #[test]
    fn one_json_object_goes_as_it_is() {
        assert_eq!(fit(&[r#"{"whatever": 1}"#]), Ok(json!({ "whatever": 1 })));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("arguments.json");
        std::fs::write(&path, r#"{"name": "from a file"}"#).expect("writable");
        assert_eq!(fit(&[&format!("@{}", path.display())]), Ok(json!({ "name": "from a file" })));
        assert_eq!(fit(&[&format!("any:=@{}", path.display())]), Ok(json!({ "any": { "name": "from a file" } })));
    }
}

//! One idempotency key out of the ways a key can reach the host.

use serde_json::Value;

use crate::model::{Arguments, Effect, IdempotencyKey, KeySource, OfferedKey, Rejection, ToolManifest, argument_at};
use crate::registry::advertise::KEY_ARGUMENT;

/// Takes the host's own key argument out of `arguments`, so that neither schema nor guest ever sees it.
pub fn take_key_argument(tool: &ToolManifest, arguments: &mut Arguments) -> Result<Option<OfferedKey>, Rejection> {
    if tool.effect == Effect::Read || tool.key_from.is_some() {
        return Ok(None);
    }
    match arguments.remove(KEY_ARGUMENT) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(OfferedKey { source: KeySource::Argument, text })),
        Some(_) => Err(Rejection::InvalidArguments(vec![format!("at `/{KEY_ARGUMENT}`: it must be a string")])),
    }
}

/// The key of a call; a write must have one, a read may.
///
/// # Errors
/// A write was offered no key, one is malformed, or two disagree.
pub fn resolve(
    tool: &ToolManifest,
    arguments: &Arguments,
    mut offered: Vec<OfferedKey>,
) -> Result<Option<IdempotencyKey>, Rejection> {
    let is_write = tool.effect == Effect::Write;
    // A read's argument is no key: whoever asks twice for the same wants to know how things are now.
    if is_write
        && let Some(pointer) = &tool.key_from
        && let Some(text) = key_at(arguments, pointer)
    {
        offered.push(OfferedKey { source: KeySource::KeyFrom, text });
    }
    let Some(first) = offered.first() else { return if is_write { Err(Rejection::KeyRequired) } else { Ok(None) } };
    if let Some(other) = offered.iter().find(|other| other.text != first.text) {
        let problem = format!("{} and {} name different idempotency keys; send one key per call", first.source, other.source);
        return Err(Rejection::InvalidArguments(vec![problem]));
    }
    let key = first.text.parse().map_err(|problem| Rejection::InvalidArguments(vec![format!("{}: {problem}", first.source)]))?;
    Ok(Some(key))
}

/// The argument that already is a key, as text.
fn key_at(arguments: &Arguments, pointer: &str) -> Option<String> {
    match argument_at(arguments, pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(extra: &str) -> ToolManifest {
        toml::from_str(&format!("name = \"pay\"\neffect = \"write\"\nscopes = [\"write:x\"]\n{extra}")).expect("a tool")
    }

    fn arguments(value: Value) -> Arguments {
        value.as_object().cloned().expect("an object")
    }

    fn offer(source: KeySource, text: &str) -> OfferedKey {
        OfferedKey { source, text: text.into() }
    }

    #[test]
    fn a_write_without_a_key_is_told_to_bring_one() {
        assert_eq!(resolve(&tool(""), &Arguments::new(), vec![]), Err(Rejection::KeyRequired));
    }

    #[test]
    fn keys_that_disagree_are_refused_and_keys_that_agree_are_one() {
        let twice = |text| vec![offer(KeySource::Meta, "k-1"), offer(KeySource::Header, text)];
        assert!(matches!(resolve(&tool(""), &Arguments::new(), twice("k-2")), Err(Rejection::InvalidArguments(_))));
        let key = resolve(&tool(""), &Arguments::new(), twice("k-1")).expect("they agree").expect("a write has a key");
        assert_eq!(key.as_str(), "k-1");
    }

    #[test]
    fn a_read_has_a_key_only_if_it_brings_one() {
        let read: ToolManifest =
            toml::from_str("name = \"find\"\neffect = \"read\"\nkey_from = \"/id\"\nscopes = [\"read:x\"]").expect("a tool");
        let arguments = arguments(json!({"id": "inv-7"}));
        assert_eq!(resolve(&read, &arguments, vec![]), Ok(None));
        let key = resolve(&read, &arguments, vec![offer(KeySource::Meta, "k-1")]).expect("one key");
        assert_eq!(key.expect("it was offered").as_str(), "k-1");
        let twice = vec![offer(KeySource::Meta, "k-1"), offer(KeySource::Header, "k-2")];
        assert!(matches!(resolve(&read, &arguments, twice), Err(Rejection::InvalidArguments(_))));
    }

    #[test]
    fn an_argument_can_be_the_key() {
        let tool = tool("key_from = \"/payment/reference\"");
        let key = resolve(&tool, &arguments(json!({"payment": {"reference": "inv-7"}})), vec![]).expect("found");
        assert_eq!(key.expect("a write has a key").as_str(), "inv-7");
        assert_eq!(resolve(&tool, &arguments(json!({})), vec![]), Err(Rejection::KeyRequired));
    }

    #[test]
    fn the_hosts_argument_is_stripped_before_anyone_else_sees_it() {
        let mut arguments = arguments(json!({"invoice_id": "i1", "idempotency_key": "k"}));
        let key = take_key_argument(&tool(""), &mut arguments).expect("a string");
        assert_eq!(key, Some(offer(KeySource::Argument, "k")));
        assert!(!arguments.contains_key("idempotency_key"));
        let mut number = self::arguments(json!({"idempotency_key": 7}));
        assert!(take_key_argument(&tool(""), &mut number).is_err());
    }
}

//! How texts and JSON documents differ, told within bounds.

use std::collections::BTreeSet;

use serde_json::Value;

/// The most of one text that is told, in bytes. A whole description fits; what does not is marked as cut.
const LONGEST: usize = 16 << 10;

/// The most differences between two documents that are told one by one; if there are more, the documents are told whole.
const MOST: usize = 32;

/// One place where two documents differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// A JSON pointer (RFC 6901); empty for the whole.
    pub at: String,
    /// What stood there.
    pub before: Option<String>,
    /// What stands there.
    pub after: Option<String>,
}

/// The places where two documents differ; none of the two may be there.
pub fn differences(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), before, after, &mut found);
    if found.len() <= MOST {
        return found;
    }
    vec![difference(String::new(), before, after)]
}

/// The text, or as much of it as is told, with how much more there is.
pub fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(LONGEST)];
    format!("{kept}… ({} more bytes; `tidegate plugin inspect` shows all)", text.len() - kept.len())
}

fn walk(at: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after || found.len() > MOST {
        return;
    }
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) else {
        found.push(difference(at, before, after));
        return;
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let step = key.replace('~', "~0").replace('/', "~1");
        walk(format!("{at}/{step}"), old.get(key), new.get(key), found);
    }
}

fn difference(at: String, before: Option<&Value>, after: Option<&Value>) -> Difference {
    let show = |value: &Value| shortened(&value.to_string());
    Difference { at, before: before.map(show), after: after.map(show) }
}

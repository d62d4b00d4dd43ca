//! The host's hint which rows the caller may see.

use serde_json::Value;

/// Which rows of the tool's resource the caller may see, as far as the host can say it in general.
///
/// A tool may use it to ask its backend for less. It is a hint: the host decides about every row all the same.
///
/// In JSON a filter is one of `{"and": [filter, …]}`, `{"or": [filter, …]}`, `{"not": filter}`, and, for an attribute of
/// the row, `{"eq": ["status", "open"]}`, likewise `ne`, `lt`, `le`, `gt`, `ge`, and `{"in": ["status", ["open", "paid"]]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFilter(Value);

impl RowFilter {
    /// Reads the host's text; nothing if it is none that this version understands.
    pub(crate) fn parse(text: &str) -> Option<RowFilter> {
        serde_json::from_str(text).ok().filter(Value::is_object).map(RowFilter)
    }

    /// The filter as JSON.
    pub fn as_json(&self) -> &Value {
        &self.0
    }

    /// The one value that `attribute` has in every row the caller may see, if there is one: what to ask a backend for.
    pub fn only(&self, attribute: &str) -> Option<&Value> {
        only(&self.0, attribute)
    }
}

fn only<'a>(filter: &'a Value, attribute: &str) -> Option<&'a Value> {
    let (operator, operands) = filter.as_object().filter(|filter| filter.len() == 1)?.iter().next()?;
    let operands = operands.as_array()?;
    match (operator.as_str(), operands.as_slice()) {
        ("eq", [name, value]) if name == attribute => Some(value),
        ("and", parts) => parts.iter().find_map(|part| only(part, attribute)),
        ("or", [first, further @ ..]) => {
            let value = only(first, attribute)?;
            further.iter().all(|part| only(part, attribute) == Some(value)).then_some(value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(filter: &Value) -> Option<Value> {
        RowFilter::parse(&filter.to_string()).expect("a filter").only("user_id").cloned()
    }

    #[test]
    fn a_value_that_every_row_has_is_found_wherever_it_stands() {
        let own = json!({ "eq": ["user_id", "u1"] });
        assert_eq!(user(&own), Some(json!("u1")));
        assert_eq!(user(&json!({ "and": [{ "ne": ["status", "void"] }, own] })), Some(json!("u1")));
        assert_eq!(user(&json!({ "or": [own, { "and": [own] }] })), Some(json!("u1")));
    }

    #[test]
    fn where_rows_may_differ_nothing_is_said() {
        let own = json!({ "eq": ["user_id", "u1"] });
        for filter in [
            json!({ "or": [own, { "eq": ["status", "paid"] }] }),
            json!({ "or": [own, { "eq": ["user_id", "u2"] }] }),
            json!({ "not": own }),
            json!({ "or": [] }),
            json!({ "in": ["user_id", ["u1"]] }),
            json!({ "novel": ["user_id", "u1"] }),
        ] {
            assert_eq!(user(&filter), None, "{filter}");
        }
        assert_eq!(RowFilter::parse("nonsense"), None);
    }
}

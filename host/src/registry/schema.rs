//! A compiled JSON Schema (2020-12) of a tool's arguments or output.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

/// A compiled schema. Compiled at load, used on every call.
pub struct Schema(Validator);

/// The most violations reported at once: enough to mend a call in one go, bounded whatever the input.
const MAX_VIOLATIONS: usize = 8;

impl Schema {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// The schema is not an object schema of JSON Schema 2020-12, names another dialect, or refers to another document.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        Self::with(schema, false)
    }

    /// The same, holding texts to their `format` as well: of what people fill in, nobody else does.
    ///
    /// # Errors
    /// As [`Schema::compile`].
    pub fn compile_strictly(schema: &Value) -> Result<Self, String> {
        Self::with(schema, true)
    }

    fn with(schema: &Value, formats: bool) -> Result<Self, String> {
        let Some(object) = schema.as_object() else { return Err("it is not a JSON object".into()) };
        if let Some(dialect) = object.get("$schema")
            && dialect.as_str().map(|uri| uri.trim_end_matches('#')) != Some("https://json-schema.org/draft/2020-12/schema")
        {
            return Err(format!("its dialect is {dialect}; only JSON Schema 2020-12 is supported"));
        }
        jsonschema::draft202012::meta::validate(schema).map_err(|error| format!("at `{}`: {error}", error.instance_path()))?;
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            // Linear-time patterns only: a schema is the author's, but the string matched is the caller's.
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(formats)
            .offline()
            .build(schema)
            .map(Self)
            .map_err(|error| format!("at `{}`: {error}", error.instance_path()))
    }

    /// Checks `value`; on failure, one line per violation.
    ///
    /// The lines name places and rules but never values: they reach the audit log.
    pub fn check(&self, value: &Value) -> Result<(), Vec<String>> {
        if self.0.is_valid(value) {
            return Ok(());
        }
        let violations = self.0.iter_errors(value).take(MAX_VIOLATIONS).map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "/".to_owned() } else { place };
            format!("at `{place}`: {}", error.masked())
        });
        Err(violations.collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_violation_names_the_place_but_not_the_value() {
        let schema = Schema::compile(&json!({"type": "object", "properties": {"card": {"type": "integer"}}})).expect("valid");
        let violations = schema.check(&json!({"card": "4111-1111"})).expect_err("a string is no integer");
        assert!(violations[0].contains("`/card`") && violations[0].contains("integer"), "{violations:?}");
        assert!(!violations[0].contains("4111"), "{violations:?}");
    }

    #[test]
    fn another_dialect_and_a_remote_reference_are_refused() {
        assert!(Schema::compile(&json!({"$schema": "http://json-schema.org/draft-07/schema#"})).is_err());
        assert!(Schema::compile(&json!({"$ref": "http://example.com/schema.json"})).is_err());
        assert!(Schema::compile(&json!({"type": "strin"})).is_err());
    }

    #[test]
    fn a_pattern_that_would_backtrack_forever_is_matched_in_linear_time() {
        let schema = Schema::compile(&json!({"type": "string", "pattern": "^(a+)+$"})).expect("a regular pattern");
        assert!(schema.check(&json!("a".repeat(50_000) + "!")).is_err());
    }
}

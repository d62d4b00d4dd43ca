//! What policies can see of a tool's arguments: a closed mapping from JSON Schema (2020-12) to Cedar types.
//!
//! | JSON Schema                                             | Cedar                      |
//! |---------------------------------------------------------|----------------------------|
//! | `boolean`, or a `const` or `enum` of booleans           | `Bool`                     |
//! | `integer`, or a `const` or `enum` of integers           | `Long`                     |
//! | `string`, or a `const` or `enum` of strings             | `String`                   |
//! | `array` whose `items` are of one type                   | `Set` of that type         |
//! | `object` with `properties`                              | record, `required` or not  |
//! | one of these or `null`                                  | that type, optional: `null` is absent |
//! | `anyOf`, `oneOf` of members with one and the same type  | that type                  |
//! | `$ref` to `#/$defs/<name>`                              | what it points at          |
//!
//! Everything else is *invisible*: the property is left out of the Cedar type and named in a report, so a policy that speaks of
//! it is refused at load. Keywords that only narrow (`minimum`, `pattern`, `format`, …) change nothing: all keywords of a schema
//! hold together, so one that fixes the type is enough.
//!
//! INVARIANT: a value that its schema accepts fits the Cedar type, or holds an integer beyond 64 bits and is denied.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::model::scope::integer;

/// The deepest nesting that policies see.
const DEPTH: usize = 16;
/// The most values one schema may describe to policies; references multiply.
pub(super) const VALUES: usize = 4096;

/// The attributes of a record, by name.
pub(super) type Attributes = BTreeMap<String, Attribute>;

/// A Cedar type that arguments can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InputType {
    Bool,
    Long,
    String,
    Set(Box<InputType>),
    Record(Attributes),
}

/// One attribute of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) required: bool,
    pub(super) kind: InputType,
}

/// What a tool's arguments look like to policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) attributes: Attributes,
    /// What is left out: a pointer into the arguments (`*` for any element) and the reason, sorted.
    pub(super) invisible: Vec<(String, &'static str)>,
    /// The texts that are allowed where the schema lists them, by pointer; none where any text is.
    pub(super) choices: Choices,
}

/// Texts by JSON pointer.
pub(super) type Choices = BTreeMap<String, Option<BTreeSet<String>>>;

impl Input {
    /// Reads a tool's `inputSchema`, as the plugin describes it (without properties that the host adds).
    pub(super) fn of(schema: &Value) -> Self {
        let mut reader = Reader { root: schema, open: Vec::new(), left: VALUES, invisible: Vec::new(), choices: Choices::new() };
        let attributes = match reader.read(schema, "", 0) {
            Ok(Found { kind: InputType::Record(attributes), .. }) => attributes,
            Ok(_) => {
                reader.hide("", "the arguments are not an object");
                Attributes::new()
            }
            Err(reason) => {
                reader.hide("", reason);
                Attributes::new()
            }
        };
        reader.invisible.sort();
        reader.invisible.dedup();
        Self { attributes, invisible: reader.invisible, choices: reader.choices }
    }

    /// Whether a JSON pointer leads to something, or into something, that policies cannot see.
    pub(super) fn hides(&self, pointer: &str) -> bool {
        self.invisible.iter().any(|(path, _)| {
            let mut segments = pointer.split('/');
            path.split('/').all(|wanted| segments.next().is_some_and(|segment| wanted == "*" || segment == wanted))
        })
    }
}

struct Reader<'a> {
    root: &'a Value,
    /// The references being followed, to notice one that leads back to itself.
    open: Vec<&'a str>,
    /// How many more values may be described.
    left: usize,
    invisible: Vec<(String, &'static str)>,
    choices: Choices,
}

struct Found {
    kind: InputType,
    nullable: bool,
}

impl Found {
    fn one(kind: InputType) -> Self {
        Self { kind, nullable: false }
    }
}

type Reading = Result<Found, &'static str>;

impl<'a> Reader<'a> {
    fn hide(&mut self, path: &str, reason: &'static str) {
        self.invisible.push((path.to_owned(), reason));
    }

    /// Adds to the texts that are allowed at `path`; several branches of a schema may allow some each.
    fn allow(&mut self, path: &str, texts: Option<BTreeSet<String>>) {
        let known = self.choices.entry(path.to_owned()).or_insert_with(|| Some(BTreeSet::new()));
        *known = known.take().zip(texts).map(|(known, texts)| known.into_iter().chain(texts).collect());
    }

    fn listed(&mut self, values: &[Value], path: &str) -> Reading {
        let found = literals(values)?;
        if found.kind == InputType::String {
            self.allow(path, Some(values.iter().filter_map(Value::as_str).map(str::to_owned).collect()));
        }
        Ok(found)
    }

    fn read(&mut self, schema: &'a Value, path: &str, depth: usize) -> Reading {
        let object = match schema {
            Value::Object(object) => object,
            Value::Bool(false) => return Err("no value is allowed"),
            _ => return Err("its type is not given"),
        };
        if depth > DEPTH {
            return Err("it is nested too deeply");
        }
        self.left = self.left.checked_sub(1).ok_or("the schema describes too much")?;
        if depth > 0 && object.contains_key("$id") {
            return Err("`$id` changes what its references mean");
        }
        if let Some(target) = object.get("$ref") {
            return self.follow(target, path, depth);
        }
        if let Some(value) = object.get("const") {
            return self.listed(std::slice::from_ref(value), path);
        }
        if let Some(Value::Array(values)) = object.get("enum") {
            return self.listed(values, path);
        }
        match object.get("type") {
            Some(Value::String(name)) => self.typed(name, object, path, depth),
            Some(Value::Array(names)) => {
                let mut names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                let with_null = names.len();
                names.retain(|name| *name != "null");
                match names[..] {
                    [name] => {
                        let found = self.typed(name, object, path, depth)?;
                        Ok(Found { nullable: with_null > 1, ..found })
                    }
                    [] => Err("only null is allowed"),
                    _ => Err("it has more than one type"),
                }
            }
            _ => match object.get("anyOf").or_else(|| object.get("oneOf")) {
                Some(Value::Array(members)) => self.union(members, path, depth),
                _ => Err("its type is not given"),
            },
        }
    }

    fn typed(&mut self, name: &str, object: &'a Map<String, Value>, path: &str, depth: usize) -> Reading {
        match name {
            "boolean" => Ok(Found::one(InputType::Bool)),
            "integer" => Ok(Found::one(InputType::Long)),
            "string" => {
                self.allow(path, None);
                Ok(Found::one(InputType::String))
            }
            "array" => self.set(object, path, depth),
            "object" => self.record(object, path, depth),
            "number" => Err("it is a fraction; policies count in integers of the smallest unit"),
            "null" => Err("only null is allowed"),
            _ => Err("its type is not known"),
        }
    }

    fn set(&mut self, object: &'a Map<String, Value>, path: &str, depth: usize) -> Reading {
        if object.contains_key("prefixItems") {
            return Err("its elements differ by position");
        }
        let items = object.get("items").ok_or("the type of its elements is not given")?;
        let found = self.read(items, &format!("{path}/*"), depth + 1).map_err(|_| "policies cannot see its elements")?;
        if found.nullable {
            return Err("its elements may be null");
        }
        Ok(Found::one(InputType::Set(Box::new(found.kind))))
    }

    fn record(&mut self, object: &'a Map<String, Value>, path: &str, depth: usize) -> Reading {
        let required: Vec<&str> = match object.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        // Sorted, so that the budget runs out at the same place on every machine.
        let properties: BTreeMap<&String, &Value> =
            object.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
        let mut attributes = Attributes::new();
        for (name, property) in properties {
            let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
            let reported = self.invisible.len();
            match self.read(property, &path, depth + 1) {
                Ok(Found { kind, nullable }) => {
                    let required = !nullable && required.contains(&name.as_str());
                    attributes.insert(name.clone(), Attribute { required, kind });
                }
                Err(reason) => {
                    // What is inside of something invisible goes without saying.
                    self.invisible.truncate(reported);
                    self.hide(&path, reason);
                }
            }
        }
        for (keyword, reason) in [
            ("additionalProperties", "properties that `additionalProperties` describes"),
            ("allOf", "properties that `allOf` describes"),
            ("anyOf", "properties that `anyOf` describes"),
            ("dependentSchemas", "properties that `dependentSchemas` describes"),
            ("else", "properties that `else` describes"),
            ("oneOf", "properties that `oneOf` describes"),
            ("patternProperties", "properties that `patternProperties` describes"),
            ("then", "properties that `then` describes"),
            ("unevaluatedProperties", "properties that `unevaluatedProperties` describes"),
        ] {
            if object.get(keyword).is_some_and(|value| !value.is_boolean()) {
                self.hide(&format!("{path}/*"), reason);
            }
        }
        if attributes.is_empty() && depth > 0 {
            return Err("it has no property that policies can see");
        }
        Ok(Found::one(InputType::Record(attributes)))
    }

    fn union(&mut self, members: &'a [Value], path: &str, depth: usize) -> Reading {
        let is_null = |member: &&Value| member.get("type").is_some_and(|name| name == "null");
        let mut nullable = members.iter().any(|member| is_null(&member));
        let mut common: Option<InputType> = None;
        for member in members.iter().filter(|member| !is_null(member)) {
            let found = self.read(member, path, depth + 1)?;
            nullable |= found.nullable;
            if common.as_ref().is_some_and(|kind| *kind != found.kind) {
                return Err("it has more than one type");
            }
            common = Some(found.kind);
        }
        common.map(|kind| Found { kind, nullable }).ok_or("only null is allowed")
    }

    fn follow(&mut self, target: &'a Value, path: &str, depth: usize) -> Reading {
        let name = target.as_str().and_then(|text| text.strip_prefix("#/$defs/")).ok_or("its reference leaves `#/$defs`")?;
        let definition =
            self.root.get("$defs").and_then(|defs| defs.get(unescaped(name))).ok_or("its reference leads nowhere")?;
        if self.open.contains(&name) {
            return Err("it contains itself");
        }
        self.open.push(name);
        let found = self.read(definition, path, depth + 1);
        self.open.pop();
        found
    }
}

/// One segment of a JSON pointer as the name it stands for (RFC 6901 §3). Percent-encoding (§6) is left alone: a definition that
/// needs it is not found and stays invisible.
fn unescaped(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// The type that all of `values` have, null aside.
fn literals(values: &[Value]) -> Reading {
    let mut common = None;
    for value in values.iter().filter(|value| !value.is_null()) {
        let kind = match value {
            Value::Bool(_) => InputType::Bool,
            Value::Number(number) if integer(number).is_some() => InputType::Long,
            Value::String(_) => InputType::String,
            _ => return Err("it allows values that policies cannot see"),
        };
        if common.as_ref().is_some_and(|other| *other != kind) {
            return Err("it has more than one type");
        }
        common = Some(kind);
    }
    common.map(|kind| Found { kind, nullable: values.iter().any(Value::is_null) }).ok_or("only null is allowed")
}

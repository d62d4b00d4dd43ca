//! The entities file: what admins say about users and groups, in Cedar's own JSON form, read strictly.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::directory::{AttributeType, Directory, Listed, Tangle};
use super::folder::PolicyFile;
use super::problem::{Place, Problem};
use crate::model::document::nearest;

/// The most users and groups.
const ENTITIES: usize = 100_000;
/// The most groups among them.
const GROUPS: usize = 10_000;
/// The most groups that one user or group is directly in.
const PARENTS: usize = 1000;
const USER: &str = "Tidegate::User";
const GROUP: &str = "Tidegate::Group";
/// Attributes that the host itself gives to users.
const OWN_ATTRIBUTES: [&str; 5] = ["claims", "client", "issuer", "subject", "tenant"];

/// Reads the entities file, if there is one, and adds what is wrong with it.
pub(super) fn read(files: &[PolicyFile], problems: &mut Vec<Problem>) -> Directory {
    let mut directory = Directory::default();
    let mut found = files.iter().filter(|file| file.is_entities());
    let Some(file) = found.next() else { return directory };
    if let Some(other) = found.next() {
        problems.push(Problem::new(format!("`{}` and `{}` are both entities files", file.name(), other.name())));
        return directory;
    }
    let known = problems.len();
    match serde_json::from_str(&file.text) {
        Ok(Unambiguous(Value::Array(entries))) if entries.len() > ENTITIES => {
            problems.push(Problem::new(format!("`{}` tells about more than {ENTITIES} users and groups", file.name())));
        }
        Ok(Unambiguous(Value::Array(entries))) => {
            let mut reader = Reader { file, directory: &mut directory, seen: HashMap::new(), wanted: Vec::new(), problems };
            entries.iter().enumerate().for_each(|(at, entry)| reader.entry(at, entry));
            reader.finish();
        }
        Ok(_) => problems.push(
            Problem::at(Place::new(&file.name(), &file.text, 0, 1), "the entities file is not a list")
                .help("write a JSON array of entities, each with `uid`, `attrs` and `parents`"),
        ),
        Err(error) => {
            let (line, column) = (error.line().max(1), error.column().max(1));
            let start: usize = file.text.split_inclusive('\n').take(line - 1).map(str::len).sum();
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            problems.push(Problem::at(Place::new(&file.name(), &file.text, start + column - 1, 1), message));
        }
    }
    // Nothing of a file that is wrong is used.
    if problems.len() > known { Directory::default() } else { directory }
}

struct Reader<'a> {
    file: &'a PolicyFile,
    directory: &'a mut Directory,
    /// Where each entity stands.
    seen: HashMap<(&'static str, String), usize>,
    /// The groups that entities are said to be in: which entity, its pointer, the group.
    wanted: Vec<(usize, String, String)>,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Says what is wrong within the entity at this place of the list.
    fn refuse(&mut self, at: usize, pointer: &str, message: impl fmt::Display, help: impl Into<String>) {
        let place = Place::new(&self.file.name(), &self.file.text, element(&self.file.text, at), 1);
        self.problems.push(Problem::at(place, format!("`/{at}{pointer}` {message}")).help(help));
    }

    fn entry(&mut self, at: usize, entry: &Value) {
        let Value::Object(entry) = entry else {
            return self.refuse(at, "", "is not an object", "an entity has `uid`, `attrs` and `parents`");
        };
        let fields = ["uid", "attrs", "parents"];
        if let Some(name) = entry.keys().find(|name| !fields.contains(&name.as_str())) {
            let help = nearest(name, fields)
                .map_or("an entity has `uid`, `attrs` and `parents`".to_owned(), |near| format!("did you mean `{near}`?"));
            return self.refuse(at, &format!("/{name}"), "is no field of an entity", help);
        }
        let Some((kind, id)) = self.uid(at, "/uid", entry.get("uid").unwrap_or(&Value::Null)) else { return };
        if let Some(other) = self.seen.insert((kind, id.clone()), at) {
            return self.refuse(at, "/uid", format!("names `{id}`, and so does `/{other}`"), "say all about it in one place");
        }
        let attributes = match entry.get("attrs") {
            None => Map::new(),
            Some(Value::Object(attributes)) => attributes.clone(),
            Some(_) => return self.refuse(at, "/attrs", "is not an object", "write names and values, or leave it out"),
        };
        let mut groups = BTreeSet::new();
        match entry.get("parents") {
            None => {}
            Some(Value::Array(parents)) if parents.len() <= PARENTS => {
                for (number, parent) in parents.iter().enumerate() {
                    let pointer = format!("/parents/{number}");
                    match self.uid(at, &pointer, parent) {
                        Some((GROUP, group)) => {
                            self.wanted.push((at, pointer, group.clone()));
                            groups.insert(group);
                        }
                        Some(_) => self.refuse(at, &pointer, "is not a group", "users and groups can be in groups only"),
                        None => {}
                    }
                }
            }
            Some(_) => return self.refuse(at, "/parents", format!("is not a list of at most {PARENTS} groups"), "write a list"),
        }
        if kind == GROUP {
            if !attributes.is_empty() {
                self.refuse(at, "/attrs", "gives attributes to a group", "policies cannot look at them; give them to its users");
            }
            self.directory.above.insert(id, groups);
            return;
        }
        if !id.contains('|') {
            return self.refuse(at, "/uid", format!("names no user: `{id}`"), "users are called `<issuer>|<subject>`");
        }
        let attributes = attributes.iter().filter_map(|(name, value)| {
            let read = self.attribute(at, name, value)?;
            Some((name.clone(), read))
        });
        let attributes = attributes.collect();
        self.directory.users.insert(id, Listed { attributes, groups });
    }

    /// An entity's type and id, in either of Cedar's two ways to write it.
    fn uid(&mut self, at: usize, pointer: &str, value: &Value) -> Option<(&'static str, String)> {
        let uid = value.get("__entity").unwrap_or(value);
        let (kind, id) = (uid.get("type").and_then(Value::as_str), uid.get("id").and_then(Value::as_str));
        let (Some(kind), Some(id)) = (kind, id) else {
            let help = format!("write `{{ \"type\": \"{GROUP}\", \"id\": \"...\" }}`");
            self.refuse(at, pointer, "is not the name of an entity", help);
            return None;
        };
        let Some(known) = [USER, GROUP].into_iter().find(|known| *known == kind) else {
            let near = nearest(kind.trim_start_matches("Tidegate::"), ["User", "Group"]);
            let help =
                near.map_or(format!("types are `{USER}` and `{GROUP}`"), |near| format!("did you mean `Tidegate::{near}`?"));
            self.refuse(at, pointer, format!("has the type `{kind}`, about which admins can say nothing"), help);
            return None;
        };
        Some((known, id.to_owned()))
    }

    /// An attribute of a user, if it is of a type that policies can see, and of the same for all users.
    fn attribute(&mut self, at: usize, name: &str, value: &Value) -> Option<Value> {
        let pointer = format!("/attrs/{name}");
        if OWN_ATTRIBUTES.contains(&name) {
            self.refuse(at, &pointer, "is an attribute that the host itself gives to users", "choose another name");
            return None;
        }
        let Some(kind) = AttributeType::of(value) else {
            let help = "attributes are texts, integers of 64 bits, booleans, and lists of one of these";
            self.refuse(at, &pointer, "has a type that policies cannot see", help);
            return None;
        };
        let known = self.directory.types.entry(name.to_owned()).or_insert((kind, at));
        match known.0.and(kind) {
            Some(both) => known.0 = both,
            None => {
                let (known, first) = *known;
                let help = "an attribute has one type for all users";
                self.refuse(at, &pointer, format!("is {kind}, but {known} at `/{first}`"), help);
                return None;
            }
        }
        Some(value.clone())
    }

    fn finish(&mut self) {
        let groups: Vec<String> = self.directory.above.keys().cloned().collect();
        for (at, pointer, group) in std::mem::take(&mut self.wanted) {
            // What an issuer asserts need not be listed.
            if !group.contains('|') && !self.directory.above.contains_key(&group) {
                let help = nearest(&group, groups.iter().map(String::as_str))
                    .map_or("list the group too".to_owned(), |near| format!("did you mean `{near}`?"));
                self.refuse(at, &pointer, format!("names the group `{group}`, which is not listed"), help);
            }
        }
        for (name, (kind, at)) in self.directory.types.clone() {
            if kind == AttributeType::EmptyList {
                let help = "leave it out where it is empty";
                self.refuse(at, &format!("/attrs/{name}"), "is always an empty list, so its type cannot be told", help);
            }
        }
        if groups.len() > GROUPS {
            let problem = format!("`{}` lists more than {GROUPS} groups", self.file.name());
            return self.problems.push(Problem::new(problem));
        }
        if let Err(tangle) = self.directory.close() {
            let (group, what, help) = match tangle {
                Tangle::Circle(group) => (group, "into itself, directly or through others", "break the circle"),
                Tangle::TooMany(group) => {
                    (group, "into too many others, directly or through others", "make the tree of groups flatter")
                }
            };
            let at = self.seen.get(&(GROUP, group.clone())).copied().unwrap_or_default();
            self.refuse(at, "/parents", format!("puts the group `{group}` {what}"), help);
        }
    }
}

/// The byte at which the element of this number of a JSON array begins.
fn element(text: &str, wanted: usize) -> usize {
    let (mut depth, mut at, mut in_text, mut escaped, mut waits) = (0_usize, 0, false, false, true);
    for (offset, c) in text.char_indices() {
        if in_text {
            (in_text, escaped) = (escaped || c != '"', c == '\\' && !escaped);
            continue;
        }
        if depth == 1 && waits && !c.is_whitespace() {
            if at == wanted {
                return offset;
            }
            waits = false;
        }
        match c {
            '"' => in_text = true,
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 1 => (at, waits) = (at + 1, true),
            _ => {}
        }
    }
    0
}

/// A JSON value without names that are there twice: of two, one would be ignored in silence.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
                Ok(flag.into())
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(number.into())
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(number.into())
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(number.into())
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(text.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Unambiguous(value)) = elements.next_element()? {
                    values.push(value);
                }
                Ok(values.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some((name, Unambiguous(value))) = entries.next_entry::<String, _>()? {
                    if object.contains_key(&name) {
                        return Err(A::Error::custom(format!("the name `{name}` is there twice")));
                    }
                    object.insert(name, value);
                }
                Ok(object.into())
            }
        }

        deserializer.deserialize_any(Reading).map(Self)
    }
}

//! Policy files: parsing each into policies with stable ids and known places.

use std::collections::HashMap;

use cedar_policy::{Policy, PolicyId, PolicySet};
use miette::Diagnostic;

use super::folder::PolicyFile;
use super::generate::ID_PREFIX;
use super::nesting;
use super::problem::{Place, Problem};
use crate::model::document::nearest;

/// The most policies altogether.
const POLICIES: usize = 10_000;
/// The longest policy id, in characters: ids go into every audit record.
pub(super) const ID_LENGTH: usize = 128;

/// A parsed policy and where it stands.
pub(super) struct Parsed {
    /// The policy under the id of its `@id`.
    pub(super) policy: Policy,
    pub(super) id: String,
    /// Which file, by its place in the list of files.
    pub(super) file: usize,
    /// Its first byte in the file's text.
    pub(super) start: usize,
    /// Its length in the file's text, in bytes.
    pub(super) length: usize,
    /// The one-based line it starts on.
    pub(super) line: usize,
    /// It only watches: `@mode("shadow")`.
    pub(super) is_shadow: bool,
}

/// A list of texts and the policies in them.
pub(super) struct Sources {
    files: Vec<PolicyFile>,
    pub(super) policies: Vec<Parsed>,
    /// Where in `policies` each id is.
    ids: HashMap<String, usize>,
}

impl Sources {
    /// Parses the generated permits and then the admin's files, sorted by path.
    pub(super) fn parse(generated: PolicyFile, admin: &[PolicyFile], problems: &mut Vec<Problem>) -> Self {
        let mut files: Vec<PolicyFile> = admin.iter().filter(|file| !file.is_entities()).cloned().collect();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        files.insert(0, generated);
        let mut sources = Self { files, policies: Vec::new(), ids: HashMap::new() };
        for file in 0..sources.files.len() {
            sources.parse_file(file, problems);
        }
        sources
    }

    /// All texts, the generated one first.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.text.as_str())
    }

    /// The policy with this id.
    pub(super) fn find(&self, id: &str) -> Option<&Parsed> {
        self.ids.get(id).map(|at| &self.policies[*at])
    }

    /// What `diagnostic` says about a policy, or about its file's text before there are policies.
    pub(super) fn found(&self, file: usize, diagnostic: &dyn Diagnostic, otherwise: (usize, usize)) -> Problem {
        let file = &self.files[file];
        Problem::found(&file.name(), &file.text, diagnostic, otherwise)
    }

    /// The place of `length` bytes at byte `offset` of a file.
    pub(super) fn span(&self, file: usize, offset: usize, length: usize) -> Place {
        let file = &self.files[file];
        Place::new(&file.name(), &file.text, offset, length)
    }

    /// The place of a whole policy: its first line is shown.
    pub(super) fn place_of(&self, parsed: &Parsed) -> Place {
        self.span(parsed.file, parsed.start, parsed.length)
    }

    /// The file a policy is from, as it was named.
    pub(super) fn file_of(&self, parsed: &Parsed) -> String {
        self.files[parsed.file].name()
    }

    /// The policy's own text.
    pub(super) fn text_of(&self, parsed: &Parsed) -> &str {
        &self.files[parsed.file].text[parsed.start..parsed.start + parsed.length]
    }

    /// Where `needle` stands in the policy, or else the policy.
    pub(super) fn place_in(&self, parsed: &Parsed, needle: &str) -> Place {
        match self.text_of(parsed).find(needle) {
            Some(at) => self.span(parsed.file, parsed.start + at, needle.len()),
            None => self.place_of(parsed),
        }
    }

    fn parse_file(&mut self, file: usize, problems: &mut Vec<Problem>) {
        if let Err(deep) = nesting::check(&self.files[file].text) {
            problems.push(
                Problem::at(self.span(file, deep.offset, 1), deep.message)
                    .help("split the policy in two, or compare with a list: `[\"a\", \"b\"].contains(...)`"),
            );
            return;
        }
        let set: PolicySet = match self.files[file].text.parse() {
            Ok(set) => set,
            Err(errors) => {
                let errors: cedar_policy::ParseErrors = errors;
                problems.extend(errors.iter().map(|error| self.found(file, error, (0, 0))));
                return;
            }
        };
        for template in set.templates() {
            let (start, length) = self.locate(file, &template.to_cedar(), 0);
            problems.push(
                Problem::at(self.span(file, start, length), "templates (`?principal`, `?resource`) are not supported")
                    .help("write the principal or resource out"),
            );
        }
        // Cedar numbers the policies of a text in their order.
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| {
            let number: &str = policy.id().as_ref();
            number.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap_or(usize::MAX)
        });
        if self.policies.len() + policies.len() > POLICIES {
            let place = self.span(file, 0, 0);
            problems.push(Problem::at(place, format!("with this file there are more than {POLICIES} policies")));
            return;
        }
        let (mut from, mut line) = (0, 1);
        for policy in policies {
            let (start, length) = self.locate(file, &policy.to_cedar().unwrap_or_default(), from);
            line += self.files[file].text[from..start].matches('\n').count();
            if let Some(id) = self.checked_id(policy, file, (start, length), problems) {
                self.ids.insert(id.clone(), self.policies.len());
                let policy = policy.new_id(PolicyId::new(&id));
                let is_shadow = policy.annotation("mode").is_some();
                self.policies.push(Parsed { policy, id, file, start, length, line, is_shadow });
            }
            line += self.files[file].text[start..start + length].matches('\n').count();
            from = start + length;
        }
    }

    /// Where a policy's text stands at or after `from`, as offset and length.
    fn locate(&self, file: usize, policy: &str, from: usize) -> (usize, usize) {
        let text = &self.files[file].text;
        let starts = text[from..].match_indices(policy).map(|(at, _)| from + at);
        // Not the copy in a comment above it.
        let commented = |start: usize| text[..start].rfind('\n').map_or(&text[..start], |at| &text[at..start]).contains("//");
        let start = starts.into_iter().find(|start| !commented(*start));
        start.map_or((from, 0), |start| (start, policy.len()))
    }

    fn checked_id(
        &self,
        policy: &Policy,
        file: usize,
        (start, length): (usize, usize),
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let place = || self.span(file, start, length);
        let known = problems.len();
        for (name, value) in policy.annotations() {
            // A permit that an admin believes to be a mere trial must not be in force.
            let (message, help) = match (name, value) {
                ("id" | "description", _) | ("mode", "shadow") => continue,
                ("mode", other) => (format!("`@mode` cannot be `{other}`"), mode_help(other)),
                _ => (format!("the annotation `@{name}` has no meaning here"), annotation_help(name)),
            };
            problems.push(Problem::at(place(), message).help(help));
        }
        let id = policy.annotation("id").unwrap_or_default();
        let generated = file == 0;
        if id.is_empty() {
            problems.push(
                Problem::at(place(), "the policy has no `@id`")
                    .help("write for example `@id(\"no-payments-at-night\")` above it; verdicts and audit records name it so"),
            );
        } else if id.len() > ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.push(Problem::at(place(), format!("`@id` is not 1 to {ID_LENGTH} visible ASCII characters without spaces")));
        } else if !generated && id.starts_with(ID_PREFIX) {
            problems.push(
                Problem::at(place(), format!("ids that begin with `{ID_PREFIX}` are for generated policies"))
                    .help("choose another id for this policy"),
            );
        } else if let Some(other) = self.find(id) {
            let (file, line) = (self.file_of(other), other.line);
            problems.push(
                Problem::at(place(), format!("`{id}` is already the id of the policy at {file}:{line}"))
                    .help("give each policy an id of its own"),
            );
        }
        (problems.len() == known).then(|| id.to_owned())
    }
}

fn mode_help(mode: &str) -> String {
    match nearest(mode, ["shadow"]) {
        Some(near) => format!("did you mean `@mode(\"{near}\")`?"),
        None => "write `@mode(\"shadow\")` for a policy that only watches, and no `@mode` for one in force".to_owned(),
    }
}

fn annotation_help(name: &str) -> String {
    match nearest(name, ["id", "description", "mode"]) {
        Some(near) => format!("did you mean `@{near}`?"),
        None => "annotations are `@id`, `@description` and `@mode`; put anything else into a comment".to_owned(),
    }
}

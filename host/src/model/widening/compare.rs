//! The comparison itself: every part of the manifest and of what is published, one after the other.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::text::{Difference, differences, shortened};
use super::{Aspect, Change, Weight};
use crate::model::face::{Face, Published};
use crate::model::manifest::SandboxManifest;
use crate::model::{Bytes, Effect, Origin, ResourceManifest, Rows, Scope, ToolManifest, ToolName};

/// Every difference from `before` (nothing, when a plugin is new) to `after`, gravest first.
pub fn compare(before: Option<&Face>, after: &Face) -> Vec<Change> {
    let mut found = Found { tool: None, changes: Vec::new() };
    let (old, new) = (before.map(|face| &face.manifest), &after.manifest);
    found.alters(Aspect::Version, old.map(|old| old.version.clone()), Some(new.version.clone()));
    found.alters(Aspect::Contract, old.map(|old| old.contract.clone()), Some(new.contract.clone()));
    sandbox(&mut found, old.map(|old| &old.sandbox), &new.sandbox);
    resources(&mut found, old.map_or(&[], |old| &old.resources), &new.resources);
    let by_name = |tools: &[ToolManifest]| tools.iter().map(|tool| (tool.name.clone(), tool.clone())).collect::<BTreeMap<_, _>>();
    let (old, new) = (old.map_or_else(BTreeMap::new, |old| by_name(&old.tools)), by_name(&new.tools));
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        found.tool = Some(name.clone());
        found.note(Weight::Narrows, Aspect::Tool, Some(name.to_string()), None);
    }
    let nothing = Published::default();
    for (name, tool) in &new {
        found.tool = Some(name.clone());
        let was = old.get(name);
        if was.is_none() {
            found.note(Weight::Widens, Aspect::Tool, None, Some(name.to_string()));
        }
        limits(&mut found, was, tool);
        duties(&mut found, was, tool);
        scopes(&mut found, was.map_or(&[], |was| &was.scopes), tool);
        let told = was.and_then(|_| before?.published.get(name));
        let tells = after.published.get(name).unwrap_or(&nothing);
        if let Some(told) = told {
            missed(&mut found, &told.input_schema, &tells.input_schema, tool);
        }
        words(&mut found, told, tells);
    }
    found.changes.sort_by(|a, b| (a.weight, &a.tool, a.aspect).cmp(&(b.weight, &b.tool, b.aspect)));
    found.changes
}

/// The differences found so far, and the tool that is looked at.
struct Found {
    tool: Option<ToolName>,
    changes: Vec<Change>,
}

impl Found {
    fn note(&mut self, weight: Weight, aspect: Aspect, before: Option<String>, after: Option<String>) {
        self.changes.push(Change { weight, tool: self.tool.clone(), aspect, at: None, before, after });
    }

    /// A difference that is neither wider nor narrower, if it is one.
    fn alters(&mut self, aspect: Aspect, before: Option<String>, after: Option<String>) {
        if before != after {
            self.note(Weight::Alters, aspect, before, after);
        }
    }

    /// A limit, of which more is wider.
    fn limit<T: Ord>(&mut self, aspect: Aspect, before: Option<&T>, after: &T, show: impl Fn(&T) -> String) {
        let weight = match before.map(|before| after.cmp(before)) {
            Some(Ordering::Equal) => return,
            Some(Ordering::Less) => Weight::Narrows,
            Some(Ordering::Greater) | None => Weight::Widens,
        };
        self.note(weight, aspect, before.map(&show), Some(show(after)));
    }
}

fn sandbox(found: &mut Found, before: Option<&SandboxManifest>, after: &SandboxManifest) {
    let nothing: &[String] = &[];
    let backends = |sandbox: &[String]| sandbox.iter().cloned().collect::<BTreeSet<String>>();
    let (old, new) = (backends(before.map_or(nothing, |before| &before.backends)), backends(&after.backends));
    for name in new.difference(&old) {
        found.note(Weight::Widens, Aspect::Backend, None, Some(name.clone()));
    }
    for name in old.difference(&new) {
        found.note(Weight::Narrows, Aspect::Backend, Some(name.clone()), None);
    }
    let (old, new): (&[Origin], &[Origin]) = (before.map_or(&[], |before| &before.origins), &after.origins);
    for origin in new.iter().filter(|origin| !old.contains(origin)) {
        let covered = old.iter().find(|old| old.covers(origin));
        // One that is named itself reaches what the operator allows for itself, maybe with other means than what surrounds it, and maybe
        // what is reached by name only: so it widens also where `https://*` was named.
        found.note(Weight::Widens, Aspect::Origin, covered.map(Origin::to_string), Some(origin.to_string()));
    }
    for origin in old.iter().filter(|origin| !new.contains(origin)) {
        // One that others stand in for, wholly or in part, is told with those.
        if !new.iter().any(|new| new.covers(origin) || origin.covers(new)) {
            found.note(Weight::Narrows, Aspect::Origin, Some(origin.to_string()), None);
        }
    }
    found.limit(Aspect::Memory, before.map(|before| &before.memory), &after.memory, Bytes::to_string);
}

fn resources(found: &mut Found, before: &[ResourceManifest], after: &[ResourceManifest]) {
    let show = |resource: &ResourceManifest| {
        let attributes: Vec<_> = resource.attributes.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
        format!("{} = {} {{ {} }}", resource.name, resource.type_name, attributes.join(", "))
    };
    for resource in after {
        let was = before.iter().find(|was| was.name == resource.name).map(show);
        let is = Some(show(resource));
        // A new one does nothing until a scope or a result speaks of it; another one is what policies decide on.
        match was {
            None => found.alters(Aspect::Resource, None, is),
            was if was == is => {}
            was => found.note(Weight::Widens, Aspect::Resource, was, is),
        }
    }
    for gone in before.iter().filter(|was| !after.iter().any(|resource| resource.name == was.name)) {
        found.alters(Aspect::Resource, Some(show(gone)), None);
    }
}

fn limits(found: &mut Found, was: Option<&ToolManifest>, tool: &ToolManifest) {
    found.limit(Aspect::Fuel, was.map(|was| &was.fuel), &tool.fuel, u64::to_string);
    found.limit(Aspect::Deadline, was.map(|was| &was.deadline), &tool.deadline, ToString::to_string);
    let slow = |tool: &ToolManifest| tool.slow.then(|| "slow".to_owned());
    found.alters(Aspect::Slow, was.and_then(slow), slow(tool));
    let demands = |tool: &ToolManifest| (!tool.requires_client.is_empty()).then(|| tool.requires_client.join(", "));
    let drops = |was: &ToolManifest| was.requires_client.iter().any(|demand| !tool.requires_client.contains(demand));
    match was {
        Some(was) if drops(was) => found.note(Weight::Widens, Aspect::RequiresClient, demands(was), demands(tool)),
        was => found.alters(Aspect::RequiresClient, was.and_then(demands), demands(tool)),
    }
    for kind in tool.asks.iter().filter(|kind| !was.is_some_and(|was| was.asks.contains(kind))) {
        found.note(Weight::Widens, Aspect::Asks, None, Some(kind.as_str().to_owned()));
    }
    for kind in was.iter().flat_map(|was| &was.asks).filter(|kind| !tool.asks.contains(kind)) {
        found.note(Weight::Narrows, Aspect::Asks, Some(kind.as_str().to_owned()), None);
    }
    let hook = |tool: &ToolManifest| tool.test_hook.map(|hook| format!("{hook:?}"));
    if let (before, Some(after)) = (was.and_then(hook), hook(tool))
        && before.as_ref() != Some(&after)
    {
        found.note(Weight::Widens, Aspect::TestHook, before, Some(after));
    }
}

/// What the host holds calls of the tool to.
fn duties(found: &mut Found, was: Option<&ToolManifest>, tool: &ToolManifest) {
    let effect = Some(tool.effect.as_str().to_owned());
    match was {
        Some(was) if was.effect == tool.effect => {}
        was => found.note(Weight::Widens, Aspect::Effect, was.map(|was| was.effect.as_str().to_owned()), effect),
    }

    let (old, new) = (was.and_then(rows), rows(tool));
    match (&old, &new) {
        _ if old == new => {}
        (None, Some(_)) => found.note(Weight::Narrows, Aspect::Rows, old, new),
        _ => found.note(Weight::Widens, Aspect::Rows, old, new),
    }

    // A key is kept as a hash anyway.
    let hidden = |tool: &ToolManifest| {
        tool.redact.iter().filter(|pointer| Some(*pointer) != tool.key_from.as_ref()).cloned().collect::<BTreeSet<String>>()
    };
    let (old, new) = (was.map(hidden).unwrap_or_default(), hidden(tool));
    for pointer in new.difference(&old) {
        found.note(Weight::Narrows, Aspect::Redact, None, Some(pointer.clone()));
    }
    for pointer in old.difference(&new) {
        // What lies within something that is hidden as a whole stays hidden.
        let is_within = |whole: &String| pointer.strip_prefix(whole.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let weight = if new.iter().any(is_within) { Weight::Alters } else { Weight::Widens };
        found.note(weight, Aspect::Redact, Some(pointer.clone()), None);
    }

    let risk = |tool: &ToolManifest| Some(tool.risk.as_str().to_owned());
    match was.map(|was| tool.risk.cmp(&was.risk)) {
        Some(Ordering::Equal) => {}
        Some(Ordering::Less) => found.note(Weight::Widens, Aspect::Risk, was.and_then(risk), risk(tool)),
        Some(Ordering::Greater) => found.note(Weight::Narrows, Aspect::Risk, was.and_then(risk), risk(tool)),
        None => found.alters(Aspect::Risk, None, risk(tool)),
    }

    let key = was.and_then(|was| was.key_from.clone());
    if key != tool.key_from {
        found.note(Weight::Widens, Aspect::KeyFrom, key, tool.key_from.clone());
    }
    let keyed = |tool: &ToolManifest| tool.backend_keyed.then(|| "keyed".to_owned());
    match (was.and_then(keyed), keyed(tool)) {
        (before @ None, after @ Some(_)) => found.note(Weight::Widens, Aspect::BackendKeyed, before, after),
        (before @ Some(_), after @ None) => found.note(Weight::Narrows, Aspect::BackendKeyed, before, after),
        _ => {}
    }
}

/// What is still promised of an argument that has another name now: whatever replaced it is stored in clear, or is no key.
fn missed(found: &mut Found, was: &Value, is: &Value, tool: &ToolManifest) {
    let pointers = tool.redact.iter().map(|pointer| (Aspect::Redact, pointer));
    let pointers = pointers.chain(tool.key_from.iter().map(|pointer| (Aspect::KeyFrom, pointer)));
    for (aspect, pointer) in pointers.filter(|(_, pointer)| describes(was, pointer) && !describes(is, pointer)) {
        found.note(Weight::Widens, aspect, Some(format!("{pointer}, which was an argument")), None);
    }
}

/// Whether the schema speaks of the argument at a JSON pointer.
fn describes(schema: &Value, pointer: &str) -> bool {
    let mut names = pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~"));
    names.try_fold(schema, |schema, name| schema.get("properties")?.get(name)).is_some()
}

/// Where rows are decided one by one, if anywhere.
fn rows(tool: &ToolManifest) -> Option<String> {
    match &tool.rows {
        Some(Rows::At(rows)) => Some(format!("{} at \"{}\"", rows.resource, rows.pointer)),
        Some(Rows::None) | None => None,
    }
}

fn scopes(found: &mut Found, before: &[Scope], tool: &ToolManifest) {
    let after = &tool.scopes;
    // What a read shows is decided row by row. A write that asks for less is open to callers who hold less.
    let narrows = if tool.effect == Effect::Read { Weight::Narrows } else { Weight::Widens };
    let mut old: Vec<&Scope> = before.iter().filter(|scope| !after.contains(scope)).collect();
    let mut new: Vec<&Scope> = after.iter().filter(|scope| !before.contains(scope)).collect();
    // Which stands in for which: first those that speak of no more than one before, then those of the same rows and more.
    let narrowed = |old: &Scope, new: &Scope| old.contains(new);
    let widened = |old: &Scope, new: &Scope| old.base() == new.base();
    for (stands_in, weight) in [(&narrowed as &dyn Fn(&Scope, &Scope) -> bool, narrows), (&widened, Weight::Widens)] {
        new.retain(|scope| {
            let Some(at) = old.iter().position(|old| stands_in(old, scope)) else { return true };
            let was = old.swap_remove(at);
            found.note(weight, Aspect::Scope, Some(was.to_string()), Some(scope.to_string()));
            false
        });
    }
    for scope in new {
        found.note(Weight::Widens, Aspect::Scope, None, Some(scope.to_string()));
    }
    // Whoever lacked it could not call the tool, and now can.
    for scope in old {
        found.note(Weight::Widens, Aspect::Scope, Some(scope.to_string()), None);
    }
}

/// What is said to models and people.
fn words(found: &mut Found, was: Option<&Published>, is: &Published) {
    let told = [
        (Aspect::Title, was.and_then(|was| was.title.as_ref()), is.title.as_ref()),
        (Aspect::Description, was.map(|was| &was.description), Some(&is.description)),
    ];
    for (aspect, before, after) in told {
        // Compared whole, whatever of them is shown.
        if before != after {
            found.note(Weight::Rewords, aspect, before.map(|text| shortened(text)), after.map(|text| shortened(text)));
        }
    }
    let documents = [
        (Aspect::InputSchema, was.map(|was| &was.input_schema), Some(&is.input_schema)),
        (Aspect::OutputSchema, was.and_then(|was| was.output_schema.as_ref()), is.output_schema.as_ref()),
        (Aspect::Annotations, was.and_then(|was| was.annotations.as_ref()), is.annotations.as_ref()),
    ];
    for (aspect, before, after) in documents {
        for Difference { at, before, after } in differences(before, after) {
            let change = Change { weight: Weight::Rewords, tool: found.tool.clone(), aspect, at: Some(at), before, after };
            found.changes.push(change);
        }
    }
}

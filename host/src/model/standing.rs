//! What an operator has approved beforehand: how far the plugins may widen without anybody being asked.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Aspect, Bytes, Change, Face, Origin, Scope, Span, ToolName};

/// The standing approvals: a TOML file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// `[plugins.<name>]`: what is approved for this plugin, and no other.
    #[serde(default)]
    pub plugins: BTreeMap<String, Allowance>,
}

/// How far one plugin may widen. What is not said here is asked about, and what can't be said here always is: rows and redaction that
/// are dropped, a lower class of risk, another key, a scope that callers need not hold any more.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowance {
    /// The backends it may name.
    pub backends: Vec<String>,
    /// The origins it may name. `https://*.example.com` stands for each that lies below as well, however it is named; `https://*` for
    /// itself alone: who goes wherever callers say reaches nothing private, who names an origin may.
    pub origins: Vec<Origin>,
    /// The most memory.
    pub memory: Option<Bytes>,
    /// The most fuel of a call, of each tool.
    pub fuel: Option<u64>,
    /// The longest a call may run, of each tool.
    pub deadline: Option<Span>,
    /// The tools it may have.
    pub tools: Vec<ToolName>,
    /// Those that may write.
    pub writes: Vec<ToolName>,
    /// The scopes its tools may ask for, and all that are narrower.
    pub scopes: Vec<Scope>,
    /// Whether titles, descriptions, schemas and annotations may change.
    pub words: bool,
}

impl Standing {
    /// Whether this change needs nobody's approval any more, where `face` is what the plugin would be.
    pub fn covers(&self, change: &Change, face: &Face) -> bool {
        self.plugins.get(&face.manifest.name).is_some_and(|allowance| allowance.covers(change, face))
    }
}

impl Allowance {
    fn covers(&self, change: &Change, face: &Face) -> bool {
        // What was a duty and is gone has nothing that it could be compared with.
        let Some(after) = change.after.as_deref() else {
            return !change.needs_approval() || (self.words && change.aspect.is_words());
        };
        let tool = || face.manifest.tools.iter().find(|tool| Some(&tool.name) == change.tool.as_ref());
        match change.aspect {
            _ if !change.needs_approval() => true,
            aspect if aspect.is_words() => self.words,
            Aspect::Backend => self.backends.iter().any(|backend| backend == after),
            Aspect::Origin => after.parse().is_ok_and(|origin| self.origins.iter().any(|allowed| may_name(allowed, &origin))),
            Aspect::Memory => self.memory.is_some_and(|most| face.manifest.sandbox.memory <= most),
            Aspect::Fuel => self.fuel.is_some_and(|most| tool().is_some_and(|tool| tool.fuel <= most)),
            Aspect::Deadline => self.deadline.is_some_and(|most| tool().is_some_and(|tool| tool.deadline <= most)),
            Aspect::Tool => self.tools.iter().any(|name| name.as_str() == after),
            Aspect::Effect => match tool() {
                // A tool that wrote and only reads now is not held to keys any more.
                Some(tool) if tool.effect == super::Effect::Read => change.before.is_none() && self.tools.contains(&tool.name),
                Some(tool) => self.writes.contains(&tool.name),
                None => false,
            },
            Aspect::Scope => after.parse().is_ok_and(|scope| self.scopes.iter().any(|allowed| allowed.contains(&scope))),
            _ => false,
        }
    }
}

/// Whether who may name `allowed` may name `origin` too.
fn may_name(allowed: &Origin, origin: &Origin) -> bool {
    allowed == origin || (!allowed.is_everything() && allowed.covers(origin))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::model::document;
    use crate::model::widening::compare;

    fn face(manifest: &str) -> Face {
        Face { manifest: toml::from_str(manifest).expect("a manifest"), published: BTreeMap::new() }
    }

    const PLUGIN: &str = "name = \"demo\"\nversion = \"1\"\ncontract = \"0.1\"\n[sandbox]\nmemory = \"32MiB\"\nbackends = [\"b\"]\n\
        origins = [\"https://a.example.com\"]\n[[tool]]\nname = \"look\"\neffect = \"read\"\nscopes = [\"read:x.where(a=1)\"]\nfuel = 10\n\
        deadline = \"2s\"\n";

    const ALL: &str = "[plugins.demo]\nbackends = [\"b\"]\norigins = [\"https://*.example.com\"]\nmemory = \"32MiB\"\nfuel = 10\n\
        deadline = \"2s\"\ntools = [\"look\"]\nwrites = []\nscopes = [\"read:x\"]\nwords = true\n";

    /// What of a first install of `plugin` is still asked about.
    fn asked(standing: &str, plugin: &str) -> Vec<Aspect> {
        let (standing, face): (Standing, _) = (toml::from_str(standing).expect("a standing approval"), face(plugin));
        let changes = compare(None, &face).into_iter().filter(|change| change.needs_approval());
        changes.filter(|change| !standing.covers(change, &face)).map(|change| change.aspect).collect()
    }

    #[test]
    fn what_stands_approved_is_not_asked_about_and_each_line_counts_for_itself() {
        assert_eq!(asked(ALL, PLUGIN), []);
        for (line, aspects) in [
            ("backends = [\"b\"]\n", &[Aspect::Backend][..]),
            ("origins = [\"https://*.example.com\"]\n", &[Aspect::Origin]),
            ("memory = \"32MiB\"\n", &[Aspect::Memory]),
            ("fuel = 10\n", &[Aspect::Fuel]),
            ("deadline = \"2s\"\n", &[Aspect::Deadline]),
            ("tools = [\"look\"]\n", &[Aspect::Tool, Aspect::Effect]),
            ("scopes = [\"read:x\"]\n", &[Aspect::Scope]),
        ] {
            assert!(ALL.contains(line));
            assert_eq!(asked(&ALL.replace(line, ""), PLUGIN), aspects, "without {line}");
        }
    }

    #[test]
    fn a_limit_holds_up_to_what_is_said_and_for_that_plugin_alone() {
        assert_eq!(asked(ALL, &PLUGIN.replace("32MiB", "33MiB")), [Aspect::Memory]);
        assert_eq!(asked(ALL, &PLUGIN.replace("a.example.com", "a.example.org")), [Aspect::Origin]);
        assert_eq!(asked(ALL, &PLUGIN.replace("\"read\"", "\"write\"")), [Aspect::Effect]);
        assert_eq!(asked(ALL, &PLUGIN.replace("read:x.where(a=1)", "read:y")), [Aspect::Scope]);
        assert!(asked(ALL, &PLUGIN.replace("\"demo\"", "\"other\"")).len() >= 8);
    }

    #[test]
    fn a_domain_stands_for_the_origins_below_it_and_everything_for_none_by_name() {
        for (approved, named, is_asked) in [
            ("https://*.example.com", "https://a.example.com", false),
            ("https://*.example.com", "https://*.a.example.com", false),
            ("https://*.example.com", "https://a.example.com:8443", true),
            ("https://*.example.com", "https://*", true),
            ("https://*", "https://*", false),
            ("https://*", "https://a.example.com", true),
            ("https://*", "https://*.example.com", true),
        ] {
            let (standing, plugin) =
                (ALL.replace("https://*.example.com", approved), PLUGIN.replace("https://a.example.com", named));
            let expected: &[Aspect] = if is_asked { &[Aspect::Origin] } else { &[] };
            assert_eq!(asked(&standing, &plugin), expected, "{approved} and {named}");
        }
    }

    #[test]
    fn what_cannot_be_approved_beforehand_is_asked_about() {
        let was = face(&PLUGIN.replace("effect = \"read\"", "effect = \"write\"\nrisk = \"high\"\nredact = [\"/a\"]"));
        let is = face(&PLUGIN.replace("scopes = [\"read:x.where(a=1)\"]", "scopes = [\"read:z\"]\nkey_from = \"/k\""));
        let standing: Standing = toml::from_str(&ALL.replace("writes = []", "writes = [\"look\"]")).expect("a standing approval");
        let changes = compare(Some(&was), &is);
        let asked: Vec<_> = changes
            .iter()
            .filter(|change| !standing.covers(change, &is))
            .map(|change| (change.aspect, change.before.is_some()))
            .collect();
        let expected = [
            (Aspect::Effect, true),
            (Aspect::Scope, false),
            (Aspect::Scope, true),
            (Aspect::Redact, true),
            (Aspect::Risk, true),
            (Aspect::KeyFrom, false),
        ];
        assert_eq!(asked, expected);
    }

    #[test]
    fn the_example_for_operators_is_one() {
        let text = include_str!("../../../docs/installing.md");
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let standing: Standing = toml::from_str(example).expect("a standing approval");
        assert!(standing.plugins["invoices"].words);
    }

    #[test]
    fn a_misspelt_line_is_refused() {
        let refused =
            document::parse::<Standing>(Path::new("approvals.toml"), &ALL.replace("memory", "memroy")).expect_err("misspelt");
        assert!(refused.to_string().contains("did you mean `memory`?"), "{refused}");
    }
}

//! Whoever runs the host: trusts an author, installs what they sign, and reads what was written down.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::author::Shipped;
use super::{NAME, SCOPES};
use crate::harness::{Host, Provider, Ran, Started, records, workspace};

/// The operator, with a host's data, its config, and who says who callers are.
pub struct Operator {
    dir: tempfile::TempDir,
    config: String,
    /// The issuer of callers' tokens.
    pub provider: Provider,
}

impl Operator {
    /// An operator who lets in what the owner of this key has signed, and nothing else.
    pub fn trusting(key: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (plugins, trust) = (dir.path().join("plugins"), dir.path().join("trust.toml"));
        std::fs::create_dir(plugins).expect("writable");
        std::fs::write(&trust, format!("[keys.author]\nkey = \"{key}\"\n")).expect("writable");
        let config = format!("[plugins]\ntrust = {trust:?}\n");
        std::fs::write(dir.path().join("tidegate.toml"), &config).expect("writable");
        Self { dir, config, provider: Provider::start(&SCOPES, &[]) }
    }

    /// Puts a version in force that was approved by the digest of what was shown.
    pub fn installs(&self, shipped: &Shipped, digest: &str) {
        let installed = self.plugin(&["install", archive(shipped), "--approve", digest]).done();
        assert!(installed.out.contains(&format!("{NAME} {} ", shipped.version)), "{installed:?}");
    }

    /// Is asked what to think of a version that may do more, and shown what; answers what approves it.
    pub fn is_asked_about(&self, shipped: &Shipped) -> String {
        let [_, further] = SCOPES;
        let widening = format!("{NAME}: scope\n    + {further}");
        let asked = self.plugin(&["install", archive(shipped)]).refused(&["WIDENS", &widening, "would take the place of 0.1.0"]);
        assert!(!asked.out.contains("REWORDS"), "it tells models nothing else: {}", asked.out);
        let approving = asked.err.split_once("--approve ").and_then(|(_, rest)| rest.split_whitespace().next());
        approving.expect("it is told how to approve it").to_owned()
    }

    /// Goes back to the version before.
    pub fn goes_back(&self) {
        self.plugin(&["rollback", NAME]).done();
    }

    /// The version in force.
    pub fn in_force(&self) -> String {
        let listed: Vec<Value> = serde_json::from_str(&self.plugin(&["list", "--output", "json"]).done().out).expect("JSON");
        let active = listed.iter().find(|version| version["active"] == true).expect("one is in force");
        assert_eq!(active["signed_by"], "author");
        active["version"].as_str().expect("a version").to_owned()
    }

    /// A host that serves what is installed.
    pub fn serves(&self) -> Started {
        let plugins = self.dir.path().join("plugins");
        Host::dev(&plugins).config(&self.config).on(&self.data()).trusting(&[&self.provider.url]).start()
    }

    /// Reads in the log of the stopped host who did what, and that it names every call of every version: so many of each were answered.
    pub fn finds_written_down(&self, versions: [&Shipped; 2], answered: [usize; 2]) {
        let records = records(&self.data());
        let bodies = records.iter().map(|record| &record["body"]);
        let acts: Vec<_> = bodies.filter(|body| body["action"].as_str().is_some_and(|act| act.starts_with("plugin_"))).collect();
        let contents =
            |shipped: &Shipped| json!({ "version": shipped.version, "sha256": shipped.content, "component": shipped.component });
        let [first, second] = versions;
        let expected = [
            ("plugin_install", Value::Null, contents(first), "digest"),
            ("plugin_install", contents(first), contents(second), "digest"),
            ("plugin_rollback", contents(second), contents(first), "kept"),
        ];
        assert_eq!(acts.len(), expected.len(), "{acts:#?}");
        for (act, (action, before, after, approved)) in acts.iter().zip(expected) {
            assert_eq!(
                (&act["action"], &act["plugin"], &act["approved"]),
                (&json!(action), &json!(NAME), &json!(approved)),
                "{act}"
            );
            assert_eq!((&act["before"], &act["after"]), (&before, &after), "{act}");
            assert!(act["by"].as_str().is_some_and(|by| by.contains("(uid ")), "{act}");
        }
        let [_, further] = SCOPES;
        let widened = acts[1]["widened"].as_array().expect("what was approved");
        assert_eq!((widened.len(), &widened[0]["after"]), (1, &json!(further)), "{}", acts[1]);
        assert_eq!((&acts[1]["signed_by"], &acts[1]["source"]), (&json!("author"), &json!(archive(second))));

        let mut ran: BTreeMap<&str, usize> = BTreeMap::new();
        let of = |kind: &'static str| records.iter().filter(move |record| record["kind"] == kind);
        for intent in of("intent").filter(|intent| intent["body"]["tool"] == NAME) {
            *ran.entry(intent["body"]["component"].as_str().expect("a digest")).or_default() += 1;
        }
        let [of_first, of_second] = versions.map(|version| ran.get(version.component.as_str()).copied().unwrap_or_default());
        assert_eq!(([of_first, of_second], ran.len()), (answered, 2), "{ran:?}");
        let ended = of("outcome").filter(|outcome| outcome["body"]["ended"] == "completed").count();
        assert_eq!((ended, of("rejection").count()), (answered.iter().sum::<usize>(), 0));
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Runs `tidegate plugin …` on the host's data.
    fn plugin(&self, arguments: &[&str]) -> Ran {
        let path = |name: &str| self.dir.path().join(name).to_str().expect("a plain path").to_owned();
        let (data, config) = (path("data"), path("tidegate.toml"));
        let mut all = [&["plugin"], arguments, &["--data", &data, "--config", &config]].concat();
        let plugins = path("plugins");
        if arguments[0] != "list" {
            all.extend(["--plugins", &plugins]);
        }
        Ran::within(workspace(), &all)
    }
}

fn archive(shipped: &Shipped) -> &str {
    shipped.archive.to_str().expect("a plain path")
}

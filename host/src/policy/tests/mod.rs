//! The fixtures that the tests of this module share.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::model::Manifest;

mod decisions;
mod entities;
mod explanations;
mod folder;
mod golden;
mod input;
mod properties;
mod refusals;
mod rows;
mod scopes;

/// The plugins under `tests/golden/policy`.
struct Fixture {
    plugins: Vec<Manifest>,
    schemas: BTreeMap<String, Value>,
}

impl Fixture {
    fn load() -> Self {
        #[derive(serde::Deserialize)]
        struct File {
            plugin: Vec<Manifest>,
        }
        let plugins: File = toml::from_str(&golden("plugins.toml")).expect("the fixture is well formed");
        let schemas = serde_json::from_str(&golden("schemas.json")).expect("the fixture is well formed");
        Self { plugins: plugins.plugin, schemas }
    }

    fn subjects(&self) -> Vec<PolicySubject<'_>> {
        let mut subjects = Vec::new();
        for Manifest { name, resources, tools, .. } in &self.plugins {
            subjects.extend(tools.iter().map(|tool| {
                let input_schema = &self.schemas[tool.name.as_str()];
                PolicySubject { plugin: name, tool, input_schema, resources }
            }));
        }
        subjects
    }

    fn compile(&self, admin: &[PolicyFile]) -> Result<Policies, PolicyError> {
        Policies::compile(&self.subjects(), admin, GeneratedPermits::On)
    }
}

fn golden_path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/policy").join(name)
}

fn golden(name: &str) -> String {
    std::fs::read_to_string(golden_path(name)).unwrap_or_else(|error| panic!("`{name}`: {error}"))
}

/// A policy file of this text.
fn file(name: &str, text: &str) -> PolicyFile {
    PolicyFile { path: name.into(), text: text.to_owned() }
}

/// A principal of the issuer `https://id.example` with these scopes.
fn principal(scopes: &[&str]) -> Principal {
    Principal {
        issuer: "https://id.example".to_owned(),
        subject: "u1".to_owned(),
        client: None,
        tenant: None,
        groups: Vec::new(),
        scopes: scopes.iter().map(|scope| scope.parse().expect("a scope")).collect(),
        claims: BTreeMap::new(),
    }
}

fn tool(name: &str) -> ToolName {
    name.parse().expect("a tool name")
}

fn arguments(value: Value) -> Arguments {
    match value {
        Value::Object(object) => object,
        other => panic!("arguments are an object, not {other}"),
    }
}

//! The `Cargo.lock` of a new plugin: of what this very program is locked to, as much as the plugin needs.

use std::collections::BTreeSet;

/// The versions that all of this is tested with.
const LOCK: &str = include_str!("../../../../../Cargo.lock");

/// What a new plugin depends on, as its `Cargo.toml` says.
const DEPENDENCIES: [&str; 4] = ["schemars", "serde", "serde_json", "tidegate-plugin-sdk"];

/// The lock file of a new plugin. Cargo drops from it by itself what only this program makes use of.
pub fn of_plugin(name: &str) -> String {
    let packages: Vec<Package<'_>> = LOCK.split("\n[[package]]\n").skip(1).map(Package::read).collect();
    let (mut needed, mut found) = (DEPENDENCIES.map(str::to_owned).to_vec(), BTreeSet::new());
    while let Some(next) = needed.pop() {
        // `name`, or `name version` where there are several.
        let (name, version) = next.split_once(' ').map_or((next.as_str(), None), |(name, version)| (name, Some(version)));
        let package =
            packages.iter().find(|package| package.name == name && version.is_none_or(|version| package.version == version));
        if let Some(package) = package
            && found.insert(package)
        {
            needed.extend(package.dependencies.iter().map(|dependency| (*dependency).to_owned()));
        }
    }
    let header = LOCK.split("[[package]]").next().unwrap_or_default();
    let dependencies: String = DEPENDENCIES.iter().map(|name| format!(" \"{name}\",\n")).collect();
    let own = format!("name = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n{dependencies}]");
    let texts = found.iter().map(|package| package.text).chain([own.as_str()]);
    header.to_owned() + &texts.map(|text| format!("[[package]]\n{}\n\n", text.trim_end())).collect::<String>()
}

/// One package of a lock file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    dependencies: Vec<&'a str>,
    text: &'a str,
}

impl<'a> Package<'a> {
    fn read(text: &'a str) -> Self {
        let value = |key: &str| {
            let quoted = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            quoted.and_then(|quoted| quoted.strip_suffix('"')).unwrap_or_default()
        };
        let dependencies = text.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
        Self { name: value("name"), version: value("version"), dependencies: dependencies.collect(), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_plugin_is_locked_to_what_this_program_is_locked_to() {
        let lock: toml::Table = of_plugin("greet").parse().expect("TOML");
        let packages = lock["package"].as_array().expect("packages");
        let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        for name in ["greet", "tidegate-plugin-sdk", "serde", "serde_derive", "schemars", "wit-bindgen"] {
            assert!(names.contains(name), "{name}: {names:?}");
        }
        assert!(!names.contains("wasmtime") && !names.contains("tidegate"), "{names:?}");
        let every: BTreeSet<&str> = packages
            .iter()
            .filter_map(|package| package.get("dependencies")?.as_array())
            .flatten()
            .filter_map(|dependency| dependency.as_str()?.split(' ').next())
            .collect();
        assert!(every.is_subset(&names), "{every:?}");
    }
}

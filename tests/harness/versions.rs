//! Versions of one plugin: the guest `versions` with its bytes changed, put where a host looks as tools that install do.

use std::path::Path;

use super::guest;

/// A plugin that says which version of itself answers.
#[derive(Clone, Debug)]
pub struct Version {
    /// The plugin's name.
    pub plugin: String,
    /// The number in its tool's name.
    pub tool: u32,
    /// The number it answers.
    pub number: u32,
    /// What else is other in the manifest: each first text becomes the second.
    pub manifest: Vec<(String, String)>,
}

impl Version {
    /// The version of this number of the plugin `versions`.
    pub fn new(number: u32) -> Self {
        Self { plugin: "versions".into(), tool: 0, number, manifest: Vec::new() }
    }

    /// Another plugin of the kind, with another tool.
    pub fn other(plugin: &str, tool: u32) -> Self {
        Self { plugin: plugin.into(), tool, ..Self::new(1) }
    }

    /// With something else in the manifest.
    pub fn manifest(mut self, text: &str, other: &str) -> Self {
        self.manifest.push((text.into(), other.into()));
        self
    }

    /// The name of its tool.
    pub fn tool(&self) -> String {
        format!("which_version_{:04}", self.tool)
    }

    /// What it answers.
    pub fn answer(&self) -> String {
        format!("version-{:08}", self.number)
    }

    /// The bytes of its component.
    pub fn wasm(&self) -> Vec<u8> {
        let mut wasm = std::fs::read(guest("versions").join("versions.wasm")).expect("it is built");
        let texts = [("which_version_0000".to_owned(), self.tool()), ("version-00000000".to_owned(), self.answer())];
        for (text, other) in texts.iter() {
            replace(&mut wasm, text.as_bytes(), other.as_bytes());
        }
        wasm
    }

    /// Its manifest.
    pub fn toml(&self) -> String {
        let mut text = std::fs::read_to_string(guest("versions").join("plugin.toml")).expect("it is built");
        text = text.replacen("name = \"versions\"", &format!("name = \"{}\"", self.plugin), 1);
        text = text.replace("which_version_0000", &self.tool());
        for (old, new) in &self.manifest {
            assert!(text.contains(old.as_str()), "the manifest says nothing of `{old}`:\n{text}");
            text = text.replace(old.as_str(), new);
        }
        text
    }

    /// Puts it into the folder of plugins `root`, each file in one step.
    pub fn put(&self, root: &Path) {
        let folder = root.join(&self.plugin);
        std::fs::create_dir_all(&folder).expect("writable");
        save(&folder.join(format!("{}.wasm", self.plugin)), &self.wasm());
        save(&folder.join("plugin.toml"), self.toml().as_bytes());
    }
}

/// Puts a file in its place, whole.
pub fn save(path: &Path, content: &[u8]) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, content).and_then(|()| std::fs::rename(&aside, path)).expect("writable");
}

fn replace(bytes: &mut [u8], text: &[u8], other: &[u8]) {
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(text.len()) {
        if bytes[at..].starts_with(text) {
            bytes[at..at + other.len()].copy_from_slice(other);
            found += 1;
        }
    }
    assert!(found > 0, "the component does not hold `{}`", String::from_utf8_lossy(text));
}

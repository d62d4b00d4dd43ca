//! From directories to a generation: all plugins and all policies, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::advertise::{self, Advertised};
use super::artifact;
use super::installed::{InstallError, Promises};
use super::{Generation, Plugin, Tool, manifest, reload};
use crate::model::{ChangeSource, Digest, DocumentError, Manifest, Origin, Span, Timestamp, ToolName, document};
use crate::policy::{GeneratedPermits, Policies, PolicyError, PolicyFile, PolicySubject};
use crate::sandbox::{CompileError, Definition, DescribeError, Sandbox};

/// Why a generation could not be loaded. The one in use stays in use.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder could not be read.
    #[error("can't read `{}`: {source}", .path.display())]
    Unreadable {
        /// What was read.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// No plugin lies where plugins were looked for.
    #[error("no plugin in `{}`: a plugin is a folder with a `plugin.toml` and a component `<name>.wasm`", .0.display())]
    NoPlugins(PathBuf),
    /// The manifest is broken.
    #[error("{0}")]
    Manifest(#[from] DocumentError),
    /// The component is missing.
    #[error("plugin `{plugin}`: there is no component at `{}`; build it with `tidegate plugin build {}`", .path.display(), .dir.display())]
    NoComponent {
        /// The plugin's name.
        plugin: String,
        /// Where the component should be.
        path: PathBuf,
        /// The plugin's folder.
        dir: PathBuf,
    },
    /// The component can't run on this host.
    #[error("plugin `{plugin}`: `{}`: {source}", .path.display())]
    Component {
        /// The plugin's name.
        plugin: String,
        /// The component.
        path: PathBuf,
        /// What is wrong with it.
        source: CompileError,
    },
    /// The component could not say which tools it has.
    #[error("plugin `{plugin}`: `describe` failed: {source}")]
    Describe {
        /// The plugin's name.
        plugin: String,
        /// How it failed.
        source: DescribeError,
    },
    /// Manifest and component tell different stories.
    #[error("plugin `{plugin}`: {problem}")]
    Mismatch {
        /// The plugin's name.
        plugin: String,
        /// Where they differ.
        problem: String,
    },
    /// Two plugins have a tool of the same name, or the same name themselves.
    #[error("`{name}` is the name of a {what} in both `{first}` and `{second}`; names must be unique")]
    Duplicate {
        /// `tool` or `plugin`.
        what: &'static str,
        /// The name.
        name: String,
        /// The plugin or folder that had it first.
        first: String,
        /// The one that has it too.
        second: String,
    },
    /// The plugin is not the one that was installed, or that the config pins; or what is installed can't be read.
    #[error(transparent)]
    Installed(#[from] InstallError),
    /// The policies do not compile against these plugins.
    #[error("{0}")]
    Policy(#[from] PolicyError),
}

/// Loads generations: what stays the same over all of them.
pub struct Loader {
    /// Compiles and describes components.
    pub sandbox: Arc<Sandbox>,
    /// The logical backends the operator has defined.
    pub backends: BTreeSet<String>,
    /// The literal origins the operator allows.
    pub origins: Vec<Origin>,
    /// Whether manifests may name test hooks (the conformance profile).
    pub test_hooks: bool,
    /// Whether permits are generated from the manifests, or only the operator's own policies count.
    pub permits: GeneratedPermits,
    /// How long answers to calls with an idempotency key are kept, as clients are told.
    pub keep_answers: Span,
    /// What was promised of the contents of plugins.
    pub promises: Promises,
}

impl Loader {
    /// Loads every plugin folder under `plugins` and every `*.cedar` in `policies` (if given) as generation `number`.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is loaded then.
    pub async fn load(&self, number: u64, plugins: &Path, policies: Option<&Path>) -> Result<Generation, LoadError> {
        self.load_dirs(number, &plugin_dirs(plugins)?, policies).await
    }

    /// [`Loader::load`] for these plugin folders.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is loaded then.
    pub async fn load_dirs(&self, number: u64, dirs: &[PathBuf], policies: Option<&Path>) -> Result<Generation, LoadError> {
        let mut loaded: Vec<(PathBuf, Arc<Plugin>)> = Vec::new();
        let mut tools = BTreeMap::new();
        for dir in dirs {
            let (plugin, advertised) = self.load_plugin(dir).await?;
            if let Some((first, _)) = loaded.iter().find(|(_, other)| other.manifest.name == plugin.manifest.name) {
                let (first, second) = (first.display().to_string(), dir.display().to_string());
                return Err(LoadError::Duplicate { what: "plugin", name: plugin.manifest.name.clone(), first, second });
            }
            for (manifest, Advertised { listing, input, output, guest_input }) in plugin.manifest.tools.iter().zip(advertised) {
                let name = manifest.name.clone();
                let tool = Tool { listing, manifest: manifest.clone(), plugin: plugin.clone(), input, output, guest_input };
                if let Some(other) = tools.insert(name.clone(), Arc::new(tool)) {
                    let (first, second) = (other.plugin.manifest.name.clone(), plugin.manifest.name.clone());
                    return Err(LoadError::Duplicate { what: "tool", name: name.to_string(), first, second });
                }
            }
            loaded.push((dir.clone(), plugin));
        }
        let files = policies.map_or(Ok(Vec::new()), PolicyFile::read_folder)?;
        let policies = compile_policies(&tools, &files, self.permits)?;
        Ok(Generation {
            number,
            plugins: loaded.into_iter().map(|(_, plugin)| plugin).collect(),
            tools,
            policies: Arc::new(policies),
            policy_files: reload::digests(&files),
            policies_from: ChangeSource::Start,
            policies_since: Timestamp::now(),
        })
    }

    /// Loads one plugin folder: its manifest, its component, and what clients see of its tools, in manifest order.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn load_plugin(&self, dir: &Path) -> Result<(Arc<Plugin>, Vec<Advertised>), LoadError> {
        let manifest_path = dir.join("plugin.toml");
        let text = read(&manifest_path).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| unreadable(&manifest_path, std::io::Error::other("it is not UTF-8 text")))
        })?;
        let manifest = manifest::parse(&manifest_path, &text)?;
        let name = manifest.name.clone();
        self.check_against_host(&manifest)?;

        let path = dir.join(format!("{name}.wasm"));
        if !path.exists() {
            return Err(LoadError::NoComponent { plugin: name, path, dir: dir.to_owned() });
        }
        let wasm = read(&path)?;
        let digest = Digest(Sha256::digest(&wasm).into());
        self.promises.hold(dir, &name, digest, self.sandbox.max_component())?;
        let sandbox = self.sandbox.clone();
        // Compiling takes seconds of CPU for a large component.
        let program = tokio::task::spawn_blocking(move || sandbox.compile(&wasm))
            .await
            .expect("compiling reports errors instead of panicking")
            .map_err(|source| LoadError::Component { plugin: name.clone(), path, source })?;
        let definitions =
            self.sandbox.describe(&program).await.map_err(|source| LoadError::Describe { plugin: name.clone(), source })?;
        let mismatch = |problem| LoadError::Mismatch { plugin: name.clone(), problem };
        let told = artifact::published(&definitions).map_err(mismatch)?;
        let advertised = reconcile(&manifest, definitions, self.keep_answers).map_err(mismatch)?;
        Ok((Arc::new(Plugin { manifest, digest, told, program }), advertised))
    }

    /// What a manifest asks of this host, this host must have.
    fn check_against_host(&self, manifest: &Manifest) -> Result<(), LoadError> {
        let mismatch = |problem| Err(LoadError::Mismatch { plugin: manifest.name.clone(), problem });
        for backend in &manifest.sandbox.backends {
            if !self.backends.contains(backend) {
                let hint = match document::nearest(backend, self.backends.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        format!("add `[backends.{backend}]` with its `url` to tidegate.toml, or pass `--backend {backend}=URL`")
                    }
                };
                return mismatch(format!("its backend `{backend}` is not defined on this host; {hint}"));
            }
        }
        let is_allowed = |named: &&Origin| self.origins.iter().any(|allowed| allowed.covers(named));
        // One that stands for everything is an upper bound: what of it is reached, the operator decides, and may decide on nothing.
        if let Some(origin) = manifest.sandbox.origins.iter().find(|named| !named.is_everything() && !is_allowed(named)) {
            let plain = origin.to_string();
            let hint = format!("if it may go there, add \"{plain}\" to `allow` under `[origins]` in tidegate.toml");
            return mismatch(format!("its origin `{plain}` is not allowed on this host; {hint}"));
        }
        let (memory, most) = (manifest.sandbox.memory, self.sandbox.max_memory());
        if memory > most {
            return mismatch(format!("it asks for {memory} of memory, more than the {most} that `sandbox.max_memory` allows"));
        }
        match manifest.tools.iter().find(|tool| tool.test_hook.is_some()) {
            Some(tool) if !self.test_hooks => {
                mismatch(format!("tool `{}` names a test hook, which exists only under `dev --profile conformance`", tool.name))
            }
            _ => Ok(()),
        }
    }
}

/// The policies of these files over these tools.
///
/// # Errors
/// Every problem found.
pub fn compile_policies(
    tools: &BTreeMap<ToolName, Arc<Tool>>,
    files: &[PolicyFile],
    permits: GeneratedPermits,
) -> Result<Policies, PolicyError> {
    let subjects: Vec<_> = tools
        .values()
        .map(|tool| PolicySubject {
            plugin: &tool.plugin.manifest.name,
            tool: &tool.manifest,
            input_schema: &tool.guest_input,
            resources: &tool.plugin.manifest.resources,
        })
        .collect();
    Policies::compile(&subjects, files, permits)
}

/// The folders under `root` that hold a `plugin.toml`, in name order; `root` itself if it is one.
///
/// # Errors
/// The folder can't be read, or holds no plugin.
pub fn plugin_dirs(root: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if root.join("plugin.toml").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let dirs: Vec<_> = sorted_entries(root)?.into_iter().filter(|path| path.join("plugin.toml").exists()).collect();
    if dirs.is_empty() { Err(LoadError::NoPlugins(root.to_owned())) } else { Ok(dirs) }
}

fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let entries =
        std::fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>());
    let mut paths = entries.map_err(|source| unreadable(dir, source))?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: std::io::Error) -> LoadError {
    LoadError::Unreadable { path: path.to_owned(), source }
}

/// Manifest and `describe` must name exactly the same tools: what was reviewed is what is served.
fn reconcile(manifest: &Manifest, definitions: Vec<Definition>, keep_answers: Span) -> Result<Vec<Advertised>, String> {
    let mut described = BTreeMap::new();
    for definition in definitions {
        let name = definition.name.clone();
        if described.insert(name.clone(), definition).is_some() {
            return Err(format!("the component describes the tool `{name}` twice"));
        }
    }
    let advertised = manifest.tools.iter().map(|tool| {
        let definition = described.remove(tool.name.as_str()).ok_or_else(|| {
            let hint = document::nearest(tool.name.as_str(), described.keys().map(String::as_str));
            let hint = hint.map_or(String::new(), |near| format!("; the component has a `{near}`"));
            format!("the manifest declares the tool `{}`, but the component does not describe it{hint}", tool.name)
        })?;
        advertise::advertise(definition, tool, keep_answers).map_err(|problem| format!("tool `{}`: {problem}", tool.name))
    });
    let advertised = advertised.collect::<Result<Vec<_>, String>>()?;
    match described.keys().next() {
        None => Ok(advertised),
        Some(extra) => Err(format!("the component describes the tool `{extra}`, which the manifest does not declare")),
    }
}

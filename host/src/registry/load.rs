//! From plugin folders and policy files to a generation: all of them, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use super::advertise::{self, Advertised};
use super::artifact;
use super::error::LoadError;
use super::folder::PluginFolder;
use super::installed::{Anew, Promised, Promises};
use super::{Arrival, Generation, InMemory, Plugin, PluginSet, Tool, digests, sources};
use crate::model::{ChangeSource, Digest, Manifest, Origin, Span, ToolName, document};
use crate::policy::{GeneratedPermits, Policies, PolicyError, PolicyFile, PolicySubject};
use crate::sandbox::{Definition, Sandbox};

/// The most plugins that are loaded at once: each has its component in memory, and may have as much again to describe its tools.
const AT_ONCE: usize = 4;

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
    /// Loads every plugin folder under `plugins` and every `*.cedar` in `policies` (if given) as the first generation.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is loaded then.
    pub async fn load(&self, plugins: &Path, policies: Option<&Path>) -> Result<Generation, LoadError> {
        self.load_dirs(&sources::plugin_dirs(plugins)?, policies).await
    }

    /// [`Loader::load`] for these plugin folders.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is loaded then.
    pub async fn load_dirs(&self, dirs: &[PathBuf], policies: Option<&Path>) -> Result<Generation, LoadError> {
        self.load_signed(dirs, policies, None).await
    }

    /// [`Loader::load_dirs`] as it would be with other signatures beside one of them.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is loaded then.
    pub async fn load_signed(
        &self,
        dirs: &[PathBuf],
        policies: Option<&Path>,
        anew: Option<&Anew>,
    ) -> Result<Generation, LoadError> {
        let PluginSet { plugins, tools, .. } = self.load_plugins(dirs, None, anew).await?;
        let files = policies.map_or(Ok(Vec::new()), PolicyFile::read_folder)?;
        let policies = Arc::new(self.compile_policies(&tools, &files)?);
        let start = Arrival::now(ChangeSource::Start);
        let policy_files = digests(&files);
        Ok(Generation {
            number: 1,
            plugins,
            tools,
            policies,
            policy_files,
            plugins_came: start,
            policies_came: start,
            _in_memory: InMemory::begin(),
        })
    }

    /// Loads these plugin folders. What `in_force` has of the same content is taken from there, tools and all, and neither compiled
    /// nor asked again; whether it would still be let in, the set says. The signatures in `anew` count in place of those that lie there.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is loaded then.
    pub async fn load_plugins(
        &self,
        dirs: &[PathBuf],
        in_force: Option<&Generation>,
        anew: Option<&Anew>,
    ) -> Result<PluginSet, LoadError> {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE);
        let promised = self.promised(anew).await?;
        let loading: Vec<_> = dirs.iter().map(|dir| self.load_plugin_beside(dir, in_force, &promised)).collect();
        let loaded: Vec<_> = futures::stream::iter(loading).buffered(at_once).try_collect().await?;
        let mut set = PluginSet::default();
        let mut names: BTreeMap<String, &Path> = BTreeMap::new();
        for (dir, Loaded { plugin, tools, disowned }) in dirs.iter().zip(loaded) {
            set.disowned.extend(disowned.map(|why| (dir.clone(), why)));
            let name = &plugin.manifest.name;
            if let Some(first) = names.insert(name.clone(), dir) {
                let (first, second) = (first.display().to_string(), dir.display().to_string());
                return Err(LoadError::Duplicate { what: "plugin", name: name.clone(), first, second });
            }
            for tool in tools {
                let name = tool.manifest.name.clone();
                if let Some(other) = set.tools.insert(name.clone(), tool) {
                    let (first, second) = (other.plugin.manifest.name.clone(), plugin.manifest.name.clone());
                    return Err(LoadError::Duplicate { what: "tool", name: name.to_string(), first, second });
                }
            }
            set.plugins.push(plugin);
        }
        set.plugins.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
        Ok(set)
    }

    async fn load_plugin_beside(
        &self,
        dir: &Path,
        in_force: Option<&Generation>,
        promised: &Arc<Promised>,
    ) -> Result<Loaded, LoadError> {
        let folder = self.read(dir).await?;
        if let Some(in_force) = in_force
            && let Some(same) = in_force.plugins.iter().find(|plugin| plugin.version == folder.version)
        {
            let tools = in_force.tools.values().filter(|tool| Arc::ptr_eq(&tool.plugin, same)).cloned().collect();
            let disowned = still_held(folder, promised.clone(), same.told).await.err();
            return Ok(Loaded { plugin: same.clone(), tools, disowned });
        }
        let (plugin, advertised) = self.compile(folder, promised).await?;
        let tools = plugin.manifest.tools.iter().zip(advertised).map(|(manifest, advertised)| {
            let Advertised { listing, input, output, guest_input, face } = advertised;
            Arc::new(Tool { listing, manifest: manifest.clone(), plugin: plugin.clone(), input, output, guest_input, face })
        });
        let tools = tools.collect();
        Ok(Loaded { plugin, tools, disowned: None })
    }

    /// Loads one plugin folder: its manifest, its component, and what clients see of its tools, in manifest order.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn load_plugin(&self, dir: &Path) -> Result<(Arc<Plugin>, Vec<Advertised>), LoadError> {
        let promised = self.promised(None).await?;
        self.compile(self.read(dir).await?, &promised).await
    }

    /// What was promised of plugins, as it stands now.
    async fn promised(&self, anew: Option<&Anew>) -> Result<Arc<Promised>, LoadError> {
        let promises = self.promises.clone();
        let promised = tokio::task::spawn_blocking(move || promises.now()).await;
        Ok(Arc::new(promised.expect("reading reports errors instead of panicking")?.signed(anew.cloned())))
    }

    async fn read(&self, dir: &Path) -> Result<PluginFolder, LoadError> {
        let (dir, max_component) = (dir.to_owned(), self.sandbox.max_component());
        tokio::task::spawn_blocking(move || PluginFolder::read(&dir, max_component))
            .await
            .expect("reading reports errors instead of panicking")
    }

    async fn compile(&self, folder: PluginFolder, promised: &Arc<Promised>) -> Result<(Arc<Plugin>, Vec<Advertised>), LoadError> {
        self.check_against_host(&folder.manifest)?;
        let (sandbox, promises) = (self.sandbox.clone(), promised.clone());
        let compile = move || -> Result<_, LoadError> {
            // Before somebody vouches for it who has to, it is neither compiled nor run.
            let vouched = promises.hold(&folder)?;
            let PluginFolder { dir, manifest, version, path, wasm, .. } = folder;
            let program = sandbox.compile(&wasm, &version.component).map_err(|source| {
                let plugin = manifest.name.clone();
                LoadError::Component { plugin, path, source }
            })?;
            Ok((dir, manifest, version, vouched, program))
        };
        // Compiling takes seconds of CPU for a large component.
        let compiled = tokio::task::spawn_blocking(compile).await.expect("compiling reports errors instead of panicking");
        let (dir, manifest, version, vouched, program) = compiled?;
        let name = manifest.name.clone();
        let definitions =
            self.sandbox.describe(&program).await.map_err(|source| LoadError::Describe { plugin: name.clone(), source })?;
        let mismatch = |problem| LoadError::Mismatch { plugin: name.clone(), problem };
        let told = artifact::published(&definitions).map_err(mismatch)?;
        promised.compare(&dir, &name, vouched, told)?;
        let advertised = reconcile(&manifest, definitions, self.keep_answers).map_err(mismatch)?;
        Ok((Arc::new(Plugin { manifest, version, told, program }), advertised))
    }

    /// The policies of these files over these tools. Takes a moment of CPU.
    ///
    /// # Errors
    /// Every problem found.
    pub fn compile_policies(&self, tools: &BTreeMap<ToolName, Arc<Tool>>, files: &[PolicyFile]) -> Result<Policies, PolicyError> {
        let subjects: Vec<_> = tools
            .values()
            .map(|tool| PolicySubject {
                plugin: &tool.plugin.manifest.name,
                tool: &tool.manifest,
                input_schema: &tool.guest_input,
                resources: &tool.plugin.manifest.resources,
            })
            .collect();
        Policies::compile(&subjects, files, self.permits)
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

/// One plugin with its tools.
struct Loaded {
    plugin: Arc<Plugin>,
    tools: Vec<Arc<Tool>>,
    /// Why it would not be let in now, if it is in force and would not.
    disowned: Option<LoadError>,
}

/// Whether a plugin that is in force, and lies in `folder` as it did, would be let in now.
async fn still_held(folder: PluginFolder, promised: Arc<Promised>, told: Digest) -> Result<(), LoadError> {
    let hold = move || {
        let vouched = promised.hold(&folder)?;
        promised.compare(&folder.dir, &folder.manifest.name, vouched, told)
    };
    Ok(tokio::task::spawn_blocking(hold).await.expect("looking reports errors instead of panicking")?)
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

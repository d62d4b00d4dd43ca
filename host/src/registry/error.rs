//! Why a generation can't be loaded, in words for whoever has to put it right.

use std::path::PathBuf;

use super::artifact::SIGNATURES;
use super::installed::InstallError;
use crate::model::{DocumentError, LoadProblem, Part};
use crate::policy::PolicyError;
use crate::sandbox::{CompileError, DescribeError};

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
    /// A folder holds more plugins than a host serves.
    #[error("`{}` holds more than {limit} plugins; serve fewer from one host", .path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// How many there may be.
        limit: usize,
    },
    /// The files of a plugin did not come to rest.
    #[error("`{}` is still being written; it is not looked at before that is done", .0.display())]
    Unsettled(PathBuf),
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

impl LoadError {
    /// Which part of a generation it is about.
    pub fn part(&self) -> Part {
        match self {
            Self::Policy(_) => Part::Policies,
            _ => Part::Plugins,
        }
    }

    /// What is wrong, one by one: of policies everything, of anything else the first thing.
    pub fn problems(&self) -> Vec<LoadProblem> {
        match self {
            Self::Policy(error) => of_policies(error),
            Self::Manifest(error) => vec![of_document(error)],
            Self::Installed(InstallError::Unvouched { plugin, dir, refusal, way_out }) => {
                let message = format!("plugin `{plugin}` in `{}`: {refusal}", dir.display());
                vec![LoadProblem { file: self.file(), help: Some(way_out.clone()), ..LoadProblem::new(message) }]
            }
            error => vec![LoadProblem { file: error.file(), ..LoadProblem::new(error.to_string()) }],
        }
    }

    /// The file that is to blame, if it is one.
    fn file(&self) -> Option<String> {
        match self {
            Self::Unreadable { path, .. } | Self::NoComponent { path, .. } | Self::Component { path, .. } => {
                Some(path.display().to_string())
            }
            Self::Installed(InstallError::Unvouched { dir, .. }) => Some(dir.join(SIGNATURES).display().to_string()),
            _ => None,
        }
    }
}

/// A document's problem with its place.
pub fn of_document(error: &DocumentError) -> LoadProblem {
    LoadProblem {
        file: Some(error.file.display().to_string()),
        line: Some(error.line),
        column: Some(error.column),
        ..LoadProblem::new(error.problem.clone())
    }
}

fn of_policies(error: &PolicyError) -> Vec<LoadProblem> {
    let problems = error.problems().iter().map(|problem| LoadProblem {
        file: problem.place.as_ref().map(|place| place.file.clone()),
        line: problem.place.as_ref().map(|place| place.line),
        column: problem.place.as_ref().map(|place| place.column),
        excerpt: problem.place.as_ref().map(|place| place.excerpt.clone()),
        message: problem.message.clone(),
        help: problem.help.clone(),
    });
    problems.collect()
}

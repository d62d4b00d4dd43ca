//! The languages a plugin may be written in. Each has its own tools, which are run here and nowhere else.

pub mod python;
pub mod rust;
pub mod sdk;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::model::LoadProblem;
use sdk::Sdk;

/// A language that plugins are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// A crate, compiled by cargo.
    Rust,
    /// Modules, put into a component together with an interpreter.
    Python,
}

/// What a component is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be served: small and quick.
    Release,
    /// To be tried a moment after an edit.
    Trial,
}

/// A source that its compiler refuses. It has said why on stderr.
#[derive(Debug, thiserror::Error)]
#[error("`cargo build` of `{}` failed; its messages stand above", .dir.display())]
pub struct NotCompiled {
    /// The plugin's folder.
    pub dir: PathBuf,
    /// What it said, as far as it was about a source.
    pub problems: Vec<LoadProblem>,
}

impl Language {
    /// The language of the source in `dir`; `None` if there is none, but at most a component.
    pub fn of(dir: &Path) -> Option<Self> {
        let python = || python::is_at(dir).then_some(Self::Python);
        rust::is_at(dir).then_some(Self::Rust).or_else(python)
    }

    /// The folders with what the plugin in `dir` is built from besides what lies there.
    pub fn sources_beside(self, dir: &Path) -> Vec<PathBuf> {
        match self {
            Self::Rust => rust::sources_beside(dir),
            // Links are refused, and what is required comes from a registry.
            Self::Python => Vec::new(),
        }
    }

    /// Compiles the plugin in `dir`; returns its component, wherever the tools of the language put it.
    ///
    /// # Errors
    /// The tools are missing, and how to get them; or they refuse, and have said why on stderr.
    pub fn compile(self, dir: &Path, purpose: Purpose) -> Result<PathBuf> {
        match self {
            Self::Rust => rust::compile(dir, purpose),
            Self::Python => python::compile(dir),
        }
    }

    /// Runs the tests of the plugin in `dir`, as far as they need no host.
    ///
    /// # Errors
    /// The tools are missing, and how to get them; or a test fails, and has said why.
    pub fn test(self, dir: &Path) -> Result<()> {
        match self {
            Self::Rust => rust::test(dir),
            Self::Python => python::test(dir),
        }
    }

    /// The files of a new plugin: paths in its folder, and what stands there.
    pub fn scaffold(self, name: &str) -> Vec<(&'static str, String)> {
        match self {
            Self::Rust => rust::scaffold::files(name),
            Self::Python => python::files(name),
        }
    }

    /// What a plugin in the language is built with.
    pub fn sdk(self) -> Sdk {
        match self {
            Self::Rust => rust::sdk(),
            Self::Python => python::sdk(),
        }
    }

    /// Why a plugin in the language can't have this name, if it can't.
    pub fn reserves(self, name: &str) -> Option<&'static str> {
        match self {
            Self::Rust => rust::reserves(name),
            Self::Python => python::reserves(name),
        }
    }
}

//! What Python plugins are built with: the system's Python, and beside it the pinned builder, fetched once through pip and shared by all
//! plugins.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::scaffold;
use crate::cli::language::sdk::{self, State};
use crate::model::Digest;

/// What pip is to install: one version, by its digests.
pub const BUILDER: &str = include_str!("../../../../../plugin-sdk/python/builder.txt");

/// The oldest Python that the SDK runs on outside of a component.
const OLDEST: (u32, u32) = (3, 10);

/// The Python inside of a component, for which dependencies are chosen.
const INSIDE: &str = "3.14";

/// What a plugin depends on, in pip's format.
const REQUIREMENTS: &str = "requirements.txt";

/// How to get what is missing.
const INSTALL: &str = "plugins in Python need Python 3.10 or newer with venv and pip: `apt install python3 python3-venv`, `brew install \
                       python`, or https://www.python.org/downloads";

/// The system's Python.
pub struct Python(PathBuf);

impl Python {
    /// Finds it.
    ///
    /// # Errors
    /// There is none, or it is too old; and how to get one.
    pub fn find() -> Result<Self> {
        let python = Self(PathBuf::from("python3"));
        let asked = python.command().args(["-c", "import sys; print(*sys.version_info[:2])"]).output();
        let Ok(answer) = asked else { bail!("`python3` is not there; {INSTALL}") };
        let answer = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        let version = answer.split_once(' ').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match version {
            Some(version) if version >= OLDEST => Ok(python),
            Some((major, minor)) => bail!("`python3` is Python {major}.{minor}; {INSTALL}"),
            None => bail!("`python3` does not run; {INSTALL}"),
        }
    }

    /// Python without what the user's environment would add to it, which writes no caches into anybody's sources.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONHOME").env_remove("PYTHONPATH").stdin(Stdio::null());
        command
    }
}

/// The builder: installed at the first call, in a private environment.
///
/// # Errors
/// Python, venv or pip are missing, or pip can't fetch it; and what to do.
pub fn builder() -> Result<PathBuf> {
    let home = home()?.join(format!("builder-{}", &digest([BUILDER.as_bytes()]).to_string()[..16]));
    let builder = home.join("bin/componentize-py");
    let _alone = lock("builder")?;
    // Written last: an environment without it was begun and not finished. One whose Python is gone is of no use either.
    let is_done = home.join("done").exists() && Command::new(home.join("bin/python")).arg("-V").output().is_ok();
    if is_done {
        return Ok(builder);
    }
    let python = Python::find()?;
    eprintln!("fetching componentize-py, once for all plugins in Python");
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("can't remove `{}`", home.display()))?;
    }
    let made = python.command().args(["-m", "venv"]).arg(&home).output();
    let made = made.with_context(|| format!("can't run `python3 -m venv`; {INSTALL}"))?;
    if !made.status.success() {
        bail!("`python3 -m venv` failed: {}\n{INSTALL}", said(&made));
    }
    let requirements = home.join("builder.txt");
    fs::write(&requirements, BUILDER).with_context(|| format!("can't write `{}`", requirements.display()))?;
    let mut install = pip(&home.join("bin/python"));
    install.args(["--require-hashes", "--only-binary=:all:", "--no-deps", "-r"]).arg(&requirements);
    run(install, "the builder of plugins in Python")?;
    fs::write(home.join("done"), "").with_context(|| format!("can't write into `{}`", home.display()))?;
    Ok(builder)
}

/// The folder with what the plugin in `dir` depends on, if it says so in `requirements.txt`: installed once for each such text.
///
/// # Errors
/// pip can't fetch it, or it is not pure Python.
pub fn dependencies(dir: &Path) -> Result<Option<PathBuf>> {
    let file = dir.join(REQUIREMENTS);
    let Ok(text) = fs::read(&file) else { return Ok(None) };
    let folder = home()?.join("dependencies").join(digest([text.as_slice(), INSIDE.as_bytes()]).to_string());
    let python = builder()?.with_file_name("python");
    let _alone = lock("dependencies")?;
    if folder.exists() {
        return Ok(Some(folder));
    }
    let begun = folder.with_extension("tmp");
    let _ = fs::remove_dir_all(&begun);
    let mut install = pip(&python);
    // Nothing but pure Python: there is no compiler for the inside of a component, and no dynamic linker.
    install.args([
        "--only-binary=:all:",
        "--platform",
        "any",
        "--implementation",
        "py",
        "--abi",
        "none",
        "--python-version",
        INSIDE,
    ]);
    install.args(["--no-compile", "--target"]).arg(&begun).arg("-r").arg(&file);
    run(install, "what the plugin depends on, which has to be pure Python,")?;
    fs::rename(&begun, &folder).with_context(|| format!("can't write `{}`", folder.display()))?;
    Ok(Some(folder))
}

/// The SDK that the plugin in `dir` is built with: the one in its folder, else this program's.
pub fn sdk_of(dir: &Path) -> Result<PathBuf> {
    let own = sdk::folder(dir);
    if own.join("python").is_dir() {
        return Ok(own);
    }
    let sdk = scaffold::sdk();
    let home = home()?.join(format!("sdk-{}", env!("CARGO_PKG_VERSION")));
    let _alone = lock("sdk")?;
    if sdk.state(&home) != State::Current {
        sdk.write(&home)?;
    }
    Ok(sdk::folder(&home))
}

/// Where all of this is kept, and built components too: a folder of the user's that may be deleted at any time.
///
/// # Errors
/// The user has no home.
pub fn home() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let home =
        cache.context("there is no home to keep the builder of Python plugins in; set XDG_CACHE_HOME")?.join("tidegate/python");
    fs::create_dir_all(&home).with_context(|| format!("can't create `{}`", home.display()))?;
    Ok(home)
}

/// Keeps other processes from doing the same at the same time, for as long as the file lives.
pub fn lock(what: &str) -> Result<File> {
    let path = home()?.join(format!("{what}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("can't open `{}`", path.display()))?;
    file.lock().with_context(|| format!("can't lock `{}`", path.display()))?;
    Ok(file)
}

/// The digest of texts, told apart.
pub fn digest<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    Digest(digest.finalize().into())
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]).stdin(Stdio::null());
    // What else tells pip where to look, such as a mirror, is the user's to say.
    command.env_remove("PYTHONHOME").env_remove("PYTHONPATH");
    command
}

fn run(mut install: Command, what: &str) -> Result<()> {
    let output = install.output().context("can't run pip")?;
    if !output.status.success() {
        bail!("pip can't install {what}:\n{}", said(&output));
    }
    Ok(())
}

/// What a program said before it failed.
pub fn said(output: &std::process::Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].map(|text| String::from_utf8_lossy(text).trim().to_owned());
    text.join("\n").trim().to_owned()
}

//! One plugin folder as it was read: its manifest and its component, and the digests of exactly the bytes that are used.
//!
//! The two belong together only if neither changed while they were read, and neither is being written: a new manifest beside an old
//! component would be a plugin that nobody made.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use super::artifact::{Kind, MANIFEST};
use super::error::LoadError;
use super::manifest;
use crate::model::{Bytes, Digest, Manifest, PluginVersion};
use crate::sandbox::CompileError;

/// How long a file has to be as it is: whoever writes one does so in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// How long to wait for that.
const LONGEST: Duration = Duration::from_secs(5);

/// How often one looks meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// A plugin as it lies on disk.
pub struct PluginFolder {
    /// Where it is.
    pub dir: PathBuf,
    /// Where that led, through links, when it was read.
    pub real: PathBuf,
    /// What the manifest declares.
    pub manifest: Manifest,
    /// Which contents these are.
    pub version: PluginVersion,
    /// Where the component is.
    pub path: PathBuf,
    /// The component.
    pub wasm: Vec<u8>,
}

impl PluginFolder {
    /// Reads the folder once its files have come to rest. Blocks, on the disk and on whoever still writes.
    ///
    /// # Errors
    /// A file can't be read or is too large, the manifest is broken, there is no component, or the files don't come to rest.
    pub fn read(dir: &Path, max_component: Bytes) -> Result<Self, LoadError> {
        let read = at_rest(|seen| Self::read_once(dir, max_component, seen));
        read.unwrap_or_else(|| Err(LoadError::Unsettled(dir.to_owned())))
    }

    fn read_once(dir: &Path, max_component: Bytes, seen: &mut Seen) -> Result<Self, LoadError> {
        // Where it leads now: a link that is exchanged leads elsewhere afterwards, but both files are read here.
        let (path, real) = (dir.join(MANIFEST), dir.canonicalize().map_err(|source| unreadable(dir, source))?);
        let text =
            seen.read(&real.join(MANIFEST), Kind::Manifest.limit(max_component).0).map_err(|source| unreadable(&path, source))?;
        let digest = Digest(Sha256::digest(&text).into());
        let text = String::from_utf8(text).map_err(|_| unreadable(&path, std::io::Error::other("it is not UTF-8 text")))?;
        let manifest = manifest::parse(&path, &text)?;
        let (plugin, file) = (manifest.name.clone(), format!("{}.wasm", manifest.name));
        let path = dir.join(&file);
        let wasm = seen.read(&real.join(file), max_component.0).map_err(|source| match source.kind() {
            ErrorKind::NotFound => LoadError::NoComponent { plugin, path: path.clone(), dir: dir.to_owned() },
            ErrorKind::FileTooLarge => {
                let size = Bytes(std::fs::metadata(&path).map_or(0, |file| file.len()));
                LoadError::Component { plugin, path: path.clone(), source: CompileError::TooLarge { size, limit: max_component } }
            }
            _ => unreadable(&path, source),
        })?;
        let (plugin, version) = (manifest.name.clone(), manifest.version.clone());
        let version = PluginVersion { plugin, version, component: Digest(Sha256::digest(&wasm).into()), manifest: digest };
        Ok(Self { dir: dir.to_owned(), real, manifest, version, path, wasm })
    }
}

/// Reads one file of `most` bytes at most, once it has come to rest. Blocks, on the disk and on whoever still writes.
///
/// # Errors
/// It can't be read, is too large, no plain file, or does not come to rest.
pub fn read_at_rest(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let restless = || std::io::Error::other("it is being written all the time; put it there whole, by a rename");
    at_rest(|seen| seen.read(path, most)).unwrap_or_else(|| Err(restless()))
}

/// What was read once nothing of it was being written; none if that takes too long.
fn at_rest<T>(mut read: impl FnMut(&mut Seen) -> T) -> Option<T> {
    let begun = Instant::now();
    loop {
        let mut seen = Seen::default();
        let found = read(&mut seen);
        if seen.is_settled() {
            return Some(found);
        }
        if begun.elapsed() > LONGEST {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The files that were read, as they were before that.
#[derive(Default)]
struct Seen {
    files: Vec<(PathBuf, Option<Print>)>,
    /// One was not read, because it was still being written; by now it may have come to rest.
    came_early: bool,
}

impl Seen {
    /// Reads a file of `most` bytes at most, unless it or one before it is still being written.
    fn read(&mut self, path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
        self.files.push((path.to_owned(), Print::of(path)));
        if !self.is_quiet() {
            self.came_early = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut bytes = Vec::new();
        // One byte more tells that there is more.
        plain(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn is_quiet(&self) -> bool {
        self.files.iter().all(|(_, print)| print.as_ref().is_none_or(Print::is_quiet))
    }

    /// Whether what was read belongs together: no file was being written before, and none has changed since.
    fn is_settled(&self) -> bool {
        !self.came_early && self.is_quiet() && self.files.iter().all(|(path, before)| Print::of(path) == *before)
    }
}

/// What can be seen of a file without opening it: another one, or another content, looks different.
#[derive(PartialEq, Eq)]
struct Print {
    numbers: [i64; 7],
    written: Option<SystemTime>,
}

impl Print {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let [device, inode, size] = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
        let numbers = [device, inode, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Some(Self { numbers, written: file.modified().ok() })
    }

    /// Whether it was written some time ago. A time that has not come yet tells of another clock, and nothing else.
    fn is_quiet(&self) -> bool {
        let age = self.written.and_then(|written| SystemTime::now().duration_since(written).ok());
        age.is_none_or(|age| age >= QUIET)
    }
}

/// Opens a plain file, and waits for nobody: a pipe might have no other end.
fn plain(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is not a plain file")) }
}

fn unreadable(path: &Path, source: std::io::Error) -> LoadError {
    LoadError::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};
    use std::io::Write as _;

    use super::*;

    const MOST: Bytes = Bytes::mib(1);

    fn write(path: &Path, content: &str) {
        let mut file = File::create(path).expect("writable");
        file.write_all(content.as_bytes()).expect("writable");
        // As if it had been there for a while.
        let then = SystemTime::now() - Duration::from_secs(60);
        file.set_times(FileTimes::new().set_modified(then)).expect("it is ours");
    }

    fn manifest(version: u32) -> String {
        let tool = "[[tool]]\nname = \"look\"\neffect = \"read\"\nscopes = [\"read:things\"]\n";
        format!("name = \"demo\"\nversion = \"{version}\"\ncontract = \"0.1\"\n{tool}")
    }

    #[test]
    fn what_lies_still_is_read_at_once_and_named_by_its_bytes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write(&dir.path().join(MANIFEST), &manifest(1));
        write(&dir.path().join("demo.wasm"), "component");
        let begun = Instant::now();
        let read = PluginFolder::read(dir.path(), MOST).expect("a plugin");
        assert!(begun.elapsed() < QUIET, "nobody writes");
        assert_eq!(read.wasm, b"component");
        assert_eq!(read.version.component, Digest(Sha256::digest(b"component").into()));
        assert_eq!(read.version.manifest, Digest(Sha256::digest(manifest(1)).into()));
    }

    #[test]
    fn a_manifest_and_a_component_that_were_never_together_are_not_read_together() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join("plugin");
        // Whoever installs exchanges the whole folder, again and again.
        for version in 0..2 {
            let version_dir = dir.path().join(version.to_string());
            fs::create_dir(&version_dir).expect("writable");
            write(&version_dir.join(MANIFEST), &manifest(version));
            write(&version_dir.join("demo.wasm"), &version.to_string().repeat(200_000));
        }
        let exchange = |version: u32| {
            let aside = dir.path().join("aside");
            std::os::unix::fs::symlink(dir.path().join(version.to_string()), &aside).expect("writable");
            fs::rename(aside, &folder).expect("writable");
        };
        exchange(0);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut version = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    version = 1 - version;
                    exchange(version);
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            for _ in 0..200 {
                match PluginFolder::read(&folder, MOST) {
                    Ok(read) => assert_eq!(read.manifest.version.as_bytes()[0], read.wasm[0], "a mix of two versions"),
                    Err(error) => assert!(matches!(error, LoadError::Unsettled(_)), "{error}"),
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write(&dir.path().join(MANIFEST), &manifest(1));
        let pipe = dir.path().join("demo.wasm");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("writable");
        let problem = PluginFolder::read(dir.path(), MOST).err().expect("it can't be used").to_string();
        assert!(problem.contains("it is not a plain file"), "{problem}");
    }

    #[test]
    fn what_is_too_large_or_missing_is_told_by_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write(&dir.path().join(MANIFEST), &manifest(1));
        let problem = || PluginFolder::read(dir.path(), Bytes(4)).err().expect("it can't be used").to_string();
        assert!(problem().contains("there is no component at"), "{}", problem());
        write(&dir.path().join("demo.wasm"), "component");
        assert!(problem().contains("`sandbox.max_component`") && problem().contains("9 B"), "{}", problem());
    }
}

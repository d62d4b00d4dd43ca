//! A plugin as a `.tar.gz`: written the same from the same files, and read without believing it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use super::error::{unreadable, unwritable};
use super::{Artifact, ArtifactError, Kind, file};
use crate::model::Bytes;

/// The largest part of an archive that is not its files: headers, padding, and the end.
const OVERHEAD: u64 = 64 << 10;

/// Writes the plugin as an archive to `out`. The same files make the same bytes.
///
/// # Errors
/// A file can't be read or written.
pub fn pack(artifact: &Artifact, out: &Path, max_component: Bytes) -> Result<(), ArtifactError> {
    let written = |source| unwritable(out, source);
    // Whole under its name or not there.
    let unfinished = out.with_extension(format!("unfinished{}", std::process::id()));
    let target = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished);
    let mut builder =
        Builder::new(GzEncoder::new(target.map_err(|source| unwritable(&unfinished, source))?, Compression::best()));
    for (kind, path) in artifact.files() {
        let mut bytes = Vec::new();
        file::open(&path, kind.limit(max_component))?.read_to_end(&mut bytes).map_err(|source| unreadable(&path, source))?;
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, kind.name(&artifact.manifest.name), &bytes[..]).map_err(written)?;
    }
    let finish = || {
        builder.into_inner()?.finish()?.sync_all()?;
        std::fs::rename(&unfinished, out)
    };
    finish().map_err(written)
}

/// Unpacks `archive`, which the user knows as `shown`, into the empty folder `staging`.
///
/// Nothing is written but plain files of the names a plugin has, directly in `staging`, each once and within its limit.
///
/// # Errors
/// It holds anything else, or is damaged. What was unpacked before that stays in `staging`.
pub(super) fn unpack(archive: File, shown: &str, staging: &Path, max_component: Bytes) -> Result<(), ArtifactError> {
    let problem = |problem: String| ArtifactError::Archive { archive: shown.to_owned(), problem };
    let damaged = |error: io::Error| problem(format!("it is damaged ({error}); `tidegate plugin pack` makes one"));
    let most = Kind::ALL.iter().map(|kind| kind.limit(max_component).0).sum::<u64>() + OVERHEAD;
    // However little it takes when compressed, nothing is unpacked beyond what a plugin can have.
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(archive)).take(most));
    let mut seen = BTreeSet::new();
    // Raw: what extends the names of other entries, or makes them links, is an entry like any other here.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(kind) = Kind::of(&name) else {
            let name = name.escape_default();
            return Err(problem(format!(
                "it holds `{name}`; a plugin has `plugin.toml`, `<name>.wasm`, `README.md` and `plugin.sig` at the top, and no more"
            )));
        };
        if entry.header().entry_type() != EntryType::Regular {
            return Err(problem(format!("`{name}` in it is not a plain file")));
        }
        if !seen.insert(kind) {
            return Err(problem(format!("it holds `{name}` twice, or two components")));
        }
        let limit = kind.limit(max_component);
        if entry.size() > limit.0 {
            return Err(problem(format!("`{name}` in it is longer than the {limit} it may have")));
        }
        let path = staging.join(&name);
        let mut target = create(&path)?;
        let expected = entry.size();
        let copied = io::copy(&mut entry, &mut target).map_err(damaged)?;
        if copied != expected {
            return Err(problem(format!("`{name}` in it is cut off")));
        }
        target.flush().and_then(|()| target.sync_all()).map_err(|source| unwritable(&path, source))?;
    }
    // To the end, where the checksum stands; what follows the last entry may only be padding.
    let follows = || problem("something follows after its end".to_owned());
    let mut rest = archive.into_inner();
    let mut block = [0; 4096];
    loop {
        match rest.read(&mut block).map_err(damaged)? {
            0 => break,
            read if block[..read].iter().any(|byte| *byte != 0) => return Err(follows()),
            _ => {}
        }
    }
    if rest.limit() == 0 {
        return Err(problem("it goes on for longer than any plugin".to_owned()));
    }
    let mut behind = rest.into_inner().into_inner();
    if behind.fill_buf().map_err(damaged)?.is_empty() { Ok(()) } else { Err(follows()) }
}

/// A new file, readable by others only as the folder around it allows.
pub(super) fn create(path: &Path) -> Result<File, ArtifactError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    made.map_err(|source| unwritable(path, source))
}

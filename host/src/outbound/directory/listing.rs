//! What lies in a folder, and what there is to know of it.

use std::time::{Duration, SystemTime};

use rustix::fs::{Statx, StatxFlags, StatxTimestamp};
use serde::Serialize;

use super::folder::{Folder, Kind, kind};
use super::place::Place;
use super::reply::{Refusal, Reply};

/// How many levels one listing goes down.
pub(super) const MAX_DEPTH: usize = 32;
/// The most entries of one listing.
const MAX_ENTRIES: usize = 10_000;
/// The most entries of one folder that are looked at, to list the first of them by name.
const MAX_LOOKED: usize = 100_000;
/// What an entry takes in an answer beside its path, about, in bytes.
const ENTRY: u64 = 96;

/// What listings are sent as: a file may hold JSON too.
const LISTING: &str = "application/vnd.tidegate.listing+json";
/// What is known of one file or folder.
const INFO: &str = "application/vnd.tidegate.info+json";

#[derive(Serialize)]
struct Listing {
    entries: Vec<Entry>,
    /// Whether there are more than are listed.
    truncated: bool,
}

/// One file or folder.
#[derive(Serialize)]
struct Entry {
    /// From the folder that is listed on.
    path: String,
    kind: Kind,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

/// The operator's directories, and which can be written to.
pub(super) fn directories<'d>(all: impl Iterator<Item = (&'d String, bool)>) -> Reply {
    #[derive(Serialize)]
    struct Directory<'d> {
        name: &'d str,
        write: bool,
    }
    let directories: Vec<_> = all.map(|(name, write)| Directory { name, write }).collect();
    Reply::json(&serde_json::json!({ "directories": directories }), LISTING)
}

/// What lies in a folder, and in the folders in it, `depth` levels in all. Answers of about `most` bytes at most.
pub(super) fn entries(root: Folder, place: &Place, depth: usize, most: u64) -> Result<Reply, Refusal> {
    let folder = root.walk(&place.names, place)?;
    let mut listing = Listing { entries: Vec::new(), truncated: false };
    let mut left = most;
    list(&folder, "", depth, &mut listing, &mut left).map_err(|error| Refusal::of_io(&error, place))?;
    Ok(Reply::json(&listing, LISTING))
}

/// Lists one folder in the order of names, each folder before what lies in it.
fn list(folder: &Folder, above: &str, depth: usize, into: &mut Listing, left: &mut u64) -> std::io::Result<()> {
    let (mut names, has_more) = folder.names(MAX_LOOKED)?;
    into.truncated |= has_more;
    names.sort_unstable();
    for name in names {
        // It may be gone since.
        let Ok(info) = folder.info(&name) else { continue };
        let path = format!("{above}{name}");
        // A name may hold what takes six bytes in JSON, each.
        let cost = ENTRY + 6 * path.len() as u64;
        if into.entries.len() == MAX_ENTRIES || *left < cost {
            into.truncated = true;
            return Ok(());
        }
        *left -= cost;
        let below = format!("{path}/");
        let kind = kind(&info);
        into.entries.push(Entry { path, kind, size: info.stx_size, modified: time(&info.stx_mtime) });
        if kind == Kind::Folder && depth > 1 {
            // One that is not open to us is listed, and what lies in it is not.
            if let Ok(next) = folder.folder(&name) {
                let _ = list(&next, &below, depth - 1, into, left);
            }
            if into.truncated {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What is known of a file or a folder.
pub(super) fn info(root: Folder, place: &Place) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Info {
        kind: Kind,
        size: u64,
        created: Option<String>,
        modified: Option<String>,
        accessed: Option<String>,
        permissions: String,
    }
    let info = match place.split() {
        Ok((above, name)) => {
            let folder = root.walk(above, place)?;
            folder.info(name).map_err(|error| folder.refusal(error, name, place))?
        }
        Err(_) => root.own_info().map_err(|error| Refusal::of(error, place))?,
    };
    let is_born = info.stx_mask & StatxFlags::BTIME.bits() != 0;
    let known = Info {
        kind: kind(&info),
        size: info.stx_size,
        created: is_born.then(|| time(&info.stx_btime)).flatten(),
        modified: time(&info.stx_mtime),
        accessed: time(&info.stx_atime),
        permissions: format!("{:03o}", permissions(&info)),
    };
    Ok(Reply::json(&known, INFO))
}

fn permissions(info: &Statx) -> u16 {
    info.stx_mode & 0o777
}

/// A moment as RFC 3339 has it; none before 1970.
fn time(at: &StatxTimestamp) -> Option<String> {
    let since = Duration::new(u64::try_from(at.tv_sec).ok()?, at.tv_nsec);
    let then = SystemTime::UNIX_EPOCH.checked_add(since)?;
    // Beyond the year 9999 it has no such form.
    let is_shown = at.tv_sec < 253_402_300_800;
    is_shown.then(|| humantime::format_rfc3339_seconds(then).to_string())
}

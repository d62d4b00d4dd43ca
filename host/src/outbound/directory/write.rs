//! Writing files and making folders: a file takes its place whole, in one step, or not at all.

use std::fs::File;
use std::io::Write as _;

use http::{HeaderMap, StatusCode, header};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::folder::{Folder, Kind, check_file, kind};
use super::moment::Moment;
use super::place::Place;
use super::read;
use super::reply::{Refusal, Reply};

/// How the name of a file begins and ends that is being written. One that a crash left behind is never shown, and removed at a start.
const PART: (&str, &str) = (".tidegate-", ".part");

/// How many digits stand between.
const DIGITS: usize = 16;

/// Whether a name is that of a file that is being written.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(PART.0) && name.ends_with(PART.1)
}

/// Whether a host has made a name for a file that it was writing.
pub(super) fn is_part(name: &str) -> bool {
    let digits = name.strip_prefix(PART.0).and_then(|name| name.strip_suffix(PART.1));
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(is_digit))
}

/// Writes a file. Its tag, or that there is none, may be demanded (RFC 9110 §13.1.1 and §13.1.2); a file of more than `most` bytes has
/// no tag. Keeps the mode of the file it replaces.
pub(super) fn file(
    root: Folder,
    place: &Place,
    headers: &HeaderMap,
    body: &[u8],
    most: u64,
    moment: &Moment,
) -> Result<Reply, Refusal> {
    let (above, name) = place.split()?;
    let folder = root.walk(above, place)?;
    let present = match folder.info(name) {
        Ok(info) => {
            check_file(kind(&info), place)?;
            Some(info)
        }
        Err(Errno::NOENT) => None,
        Err(error) => return Err(folder.refusal(error, name, place)),
    };
    let only_if_new = headers.contains_key(header::IF_NONE_MATCH);
    if only_if_new && present.is_some() {
        return Err(Refusal::changed(&format!("`{}` is there already", place.shown())));
    }
    if let Some(wanted) = headers.get(header::IF_MATCH) {
        let is_same = present.is_some() && {
            let tag = read::tag_of(&folder.file(name, place)?, most).map_err(|error| Refusal::of_io(&error, place))?;
            tag.is_some_and(|tag| wanted.as_bytes() == tag.as_bytes())
        };
        if !is_same {
            return Err(Refusal::changed(&format!("`{}` was changed, or removed, since it was read", place.shown())));
        }
    }
    let mode = present.as_ref().map(|info| Mode::from_raw_mode((info.stx_mode & 0o777).into()));
    put(&folder, name, body, mode, only_if_new, moment).map_err(|error| match error {
        Errno::EXIST => Refusal::changed(&format!("`{}` is there already", place.shown())),
        other => folder.refusal(other, name, place),
    })?;
    let status = if present.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok(Reply { headers: vec![(header::ETAG, read::tag(body))], ..Reply::done(status) })
}

/// Puts a file in its place. Whatever fails before leaves what was there.
fn put(folder: &Folder, name: &str, body: &[u8], mode: Option<Mode>, only_if_new: bool, moment: &Moment) -> Result<(), Errno> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| Errno::IO)?;
    let part = format!("{}{:0DIGITS$x}{}", PART.0, u64::from_ne_bytes(random), PART.1);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A new file is as open as the host's umask says; one that is replaced was never more open than it is to be, not for a moment.
    let written = fs::openat(folder, &*part, flags, mode.unwrap_or(Mode::from_raw_mode(0o666))).and_then(|file| {
        // Whoever sweeps up after hosts that died leaves what is locked. Where there are no locks, nobody sweeps.
        let _ = fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        if let Some(mode) = mode {
            fs::fchmod(&file, mode)?;
        }
        let mut file = File::from(file);
        file.write_all(body).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        fs::fsync(&file)?;
        fail::fail_point!("directory::written", |_| std::process::abort());
        let flags = if only_if_new { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        moment.step(|| match flags.is_empty() {
            true => fs::renameat(folder, &*part, folder, name),
            false => fs::renameat_with(folder, &*part, folder, name, flags),
        })
    });
    if written.is_err() {
        // What is left of it says nothing to anybody; that it is gone matters less than what failed.
        let _ = fs::unlinkat(folder, &*part, AtFlags::empty());
    }
    written?;
    fail::fail_point!("directory::renamed", |_| std::process::abort());
    fs::fsync(folder)
}

/// Makes a folder, and those it lies in.
pub(super) fn folder(root: Folder, place: &Place, moment: &Moment) -> Result<Reply, Refusal> {
    let (mut folder, mut made) = (root, None);
    for (depth, name) in place.names.iter().enumerate() {
        let next = match folder.folder(name) {
            Err(Errno::NOENT) => match moment.step(|| fs::mkdirat(&folder, name.as_str(), Mode::from_raw_mode(0o777))) {
                Ok(()) => {
                    made = Some(depth);
                    fs::fsync(&folder).and_then(|()| folder.folder(name))
                }
                // Somebody else was quicker.
                Err(Errno::EXIST) => folder.folder(name),
                Err(error) => Err(error),
            },
            other => other,
        };
        let is_file = |error| error == Errno::NOTDIR && folder.stat(name) == Ok(Kind::File);
        folder = next.map_err(|error| {
            let refusal = match is_file(error) {
                true => Refusal::conflict(&format!("`{}` can't be made: `{name}` is a file", place.shown())),
                false => folder.refusal(error, name, place),
            };
            // What was made stays: somebody else may have put something in it.
            let Some(depth) = made else { return refusal };
            let above = Place { directory: place.directory.clone(), names: place.names[..=depth].to_vec() };
            refusal.and(&format!("; `{}` was made before", above.shown()))
        })?;
    }
    Ok(Reply::done(if made.is_some() { StatusCode::CREATED } else { StatusCode::OK }))
}

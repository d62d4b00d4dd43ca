//! Moving files and folders, within a directory or from one to another.

use http::StatusCode;
use rustix::fs::{self, RenameFlags};
use rustix::io::Errno;

use super::folder::{Folder, Kind, check_file};
use super::place::Place;
use super::reply::{Refusal, Reply};

/// Gives a file or folder another name. Nothing is replaced: what is there already stays.
pub(super) fn rename(root: Folder, from: &Place, target: Folder, to: &Place) -> Result<Reply, Refusal> {
    let (above, name) = from.split()?;
    let (above_new, new_name) = to.split()?;
    let folder = root.walk(above, from)?;
    let new_folder = target.walk(above_new, to)?;
    let kind = folder.stat(name).map_err(|error| folder.refusal(error, name, from))?;
    if kind != Kind::Folder {
        check_file(kind, from)?;
    }
    fs::renameat_with(&folder, name, &new_folder, new_name, RenameFlags::NOREPLACE).map_err(|error| match error {
        Errno::EXIST | Errno::NOTEMPTY => Refusal::conflict(&format!("`{}` is there already", to.shown())),
        Errno::INVAL => Refusal::conflict(&format!("`{}` can't be moved to `{}`, which lies in it", from.shown(), to.shown())),
        other => Refusal::of(other, from),
    })?;
    fs::fsync(&new_folder).and_then(|()| fs::fsync(&folder)).map_err(|error| Refusal::of(error, from))?;
    Ok(Reply::done(StatusCode::OK))
}

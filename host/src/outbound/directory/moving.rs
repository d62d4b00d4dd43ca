//! Moving files and folders, within a directory or from one to another.

use http::StatusCode;
use rustix::fs::{self, RenameFlags};
use rustix::io::Errno;

use super::folder::{Folder, Kind, check_file};
use super::moment::Moment;
use super::place::Place;
use super::reply::{Refusal, Reply};

/// Gives a file or folder another name. Nothing is replaced: what is there already stays.
pub(super) fn rename(root: Folder, from: &Place, target: Folder, to: &Place, moment: &Moment) -> Result<Reply, Refusal> {
    let (above, name) = from.split()?;
    let (above_new, new_name) = to.split()?;
    let folder = root.walk(above, from)?;
    let new_folder = target.walk(above_new, to)?;
    let kind = folder.stat(name).map_err(|error| folder.refusal(error, name, from))?;
    if kind != Kind::Folder {
        check_file(kind, from)?;
    }
    let is_below = from.directory == to.directory && to.names.starts_with(&from.names);
    if is_below && to.names.len() > from.names.len() {
        let (from, to) = (from.shown(), to.shown());
        return Err(Refusal::conflict(&format!("`{from}` can't be moved to `{to}`, which lies in it")));
    }
    let renamed = moment.step(|| fs::renameat_with(&folder, name, &new_folder, new_name, RenameFlags::NOREPLACE));
    renamed.map_err(|error| match error {
        Errno::EXIST | Errno::NOTEMPTY => Refusal::conflict(&format!("`{}` is there already", to.shown())),
        // NFS and some others replace or fail, as they can't do both in one step.
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Refusal::conflict(&format!(
            "`{}` is on a disk that can't move without replacing; read it and write it there",
            from.shown()
        )),
        other => Refusal::of(other, from),
    })?;
    fs::fsync(&new_folder).and_then(|()| fs::fsync(&folder)).map_err(|error| Refusal::of(error, from))?;
    Ok(Reply::done(StatusCode::OK))
}

//! Loading a copy into a data folder that is new.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use super::body::{create_folder, sync_folder};
use super::copy::{DELETE, END, HEADER, PUT};
use super::{MAX_PAYLOAD, StoreConfig, StoreError, open, record};
use crate::model::Digest;

/// How many rows are written at a time.
const BATCH: usize = 1024;

/// The longest key or value that a file of rows can hold, in bytes.
const LONGEST: usize = MAX_PAYLOAD + 64;

/// Loads the file `rows` and the folder `bodies`, as [`Store::copy`](super::Store::copy) wrote them, into the new data folder
/// `dir`, and answers the landmark that the copy was taken with. Durable on return. Blocks on the disk.
///
/// # Errors
/// The copy makes no sense, or the system refuses. What `dir` holds then is of no use.
pub fn load(
    dir: &Path,
    config: &StoreConfig,
    rows: &Path,
    bodies: &Path,
    landmark: &'static [u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let _lock = open::claim_folder(dir)?;
    for entry in fs::read_dir(bodies).map_err(StoreError::io("list the folder", bodies))? {
        let body = entry.map_err(StoreError::io("list the folder", bodies))?.path();
        let Some(digest) = body.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok()) else { continue };
        let name = digest.to_string();
        let folder = dir.join("bodies").join(&name[..2]);
        create_folder(&folder)?;
        fs::copy(&body, folder.join(name)).map_err(StoreError::io("copy the body", &body))?;
    }
    let db = open::open_engine(&dir.join("store"), config)?;
    let file = File::open(rows).map_err(StoreError::io("open", rows))?;
    replay(&db, &mut BufReader::with_capacity(1 << 20, file), rows)?;
    let landmark = db.get(landmark)?.map(|value| record::unwrap(landmark, &value)).transpose()?;
    db.flush()?;
    drop(db);
    let folder = File::open(dir).map_err(StoreError::io("open the folder", dir))?;
    rustix::fs::syncfs(&folder).map_err(|error| StoreError::io("sync the folder", dir)(error.into()))?;
    sync_folder(dir)?;
    Ok(landmark)
}

/// Puts and deletes rows as the file says.
fn replay(db: &sled::Db, file: &mut impl Read, path: &Path) -> Result<(), StoreError> {
    let damaged = |problem: &str| StoreError::Damaged { what: format!("`{}`", path.display()), problem: problem.to_owned() };
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged("it is cut short"),
        _ => StoreError::io("read", path)(error),
    };
    let mut header = [0; HEADER.len()];
    file.read_exact(&mut header).map_err(failed)?;
    if header != HEADER {
        return Err(damaged("it is of another format"));
    }
    let part = |file: &mut dyn Read| -> Result<Vec<u8>, StoreError> {
        let mut length = [0; 4];
        file.read_exact(&mut length).map_err(failed)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(damaged("a row is too long"));
        }
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    };
    let (mut batch, mut count) = (sled::Batch::default(), 0_u64);
    loop {
        let mut kind = [0];
        file.read_exact(&mut kind).map_err(failed)?;
        match kind[0] {
            PUT => batch.insert(part(file)?, part(file)?),
            DELETE => batch.remove(part(file)?),
            END => break,
            _ => return Err(damaged("a row is of no known kind")),
        }
        count += 1;
        if count.is_multiple_of(BATCH as u64) {
            db.apply_batch(std::mem::take(&mut batch))?;
        }
    }
    db.apply_batch(batch)?;
    let mut expected = [0; 8];
    file.read_exact(&mut expected).map_err(failed)?;
    if u64::from_be_bytes(expected) != count {
        return Err(damaged("rows are missing"));
    }
    Ok(())
}

//! Reading files: whole, with a tag of their content, or a part of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::folder::Folder;
use super::place::Place;
use super::reply::{Refusal, Reply};
use crate::model::Digest;

/// A file, or the range of it that is asked for; at most `most` bytes.
pub(super) fn file(root: Folder, place: &Place, headers: &HeaderMap, most: u64) -> Result<Reply, Refusal> {
    let (above, name) = place.split()?;
    let folder = root.walk(above, place)?;
    let mut file = folder.file(name, place)?;
    let trouble = |error: std::io::Error| Refusal::of_io(&error, place);
    let info = file.metadata().map_err(trouble)?;
    let size = info.len();
    let mut about =
        vec![(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::ACCEPT_RANGES, "bytes".to_owned())];
    if let Ok(modified) = info.modified() {
        about.push((header::LAST_MODIFIED, httpdate::fmt_http_date(modified.max(SystemTime::UNIX_EPOCH))));
    }
    if let Some((from, length)) = range(headers, size)? {
        let length = length.min(most);
        file.seek(SeekFrom::Start(from)).map_err(trouble)?;
        let body = content(&file, length).map_err(trouble)?;
        let last = (from + body.len() as u64).saturating_sub(1);
        about.push((header::CONTENT_RANGE, format!("bytes {from}-{last}/{size}")));
        return Ok(Reply { status: StatusCode::PARTIAL_CONTENT, headers: about, body: body.into() });
    }
    // One byte more than may be: it may be growing.
    let body = content(&file, most.saturating_add(1)).map_err(trouble)?;
    if body.len() as u64 > most {
        let shown = place.shown();
        return Err(Refusal::too_large(&format!(
            "`{shown}` has {size} bytes, more than the {most} that are sent at once; read it in parts"
        )));
    }
    about.push((header::ETAG, tag(&body)));
    Ok(Reply { status: StatusCode::OK, headers: about, body: body.into() })
}

/// Up to so many bytes of a file, from where it stands.
fn content(file: &File, most: u64) -> std::io::Result<Vec<u8>> {
    // As much as it will take, at once: growing would hold it twice. What a file says of its size is no promise.
    let expected = file.metadata()?.len().saturating_add(1).min(most);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The tag of what a file holds, if that is no more than so many bytes. Nothing of it is kept.
pub(super) fn tag_of(file: &File, most: u64) -> std::io::Result<Option<String>> {
    let (mut hash, mut left, mut part) = (Sha256::new(), most, [0; 16 << 10]);
    let mut file = file;
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok(Some(quoted(hash)));
        }
        let Some(rest) = left.checked_sub(read as u64) else { return Ok(None) };
        left = rest;
        hash.update(&part[..read]);
    }
}

/// The strong tag of a content (RFC 9110 §8.8.3). Of the content itself: clocks are too coarse for two writes in a row.
pub(super) fn tag(content: &[u8]) -> String {
    quoted(Sha256::new_with_prefix(content))
}

fn quoted(hash: Sha256) -> String {
    format!("\"{}\"", Digest(hash.finalize().into()))
}

/// From where on, and how many bytes, if a range is asked for (RFC 9110 §14.1.2). Several at once are not: then all is sent.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else { return Ok(None) };
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()));
    let (from, until) = match (number(first), number(last)) {
        (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(size)),
        (Some(from), None) if last.is_empty() => (from, size),
        (None, Some(length)) if first.is_empty() => (size.saturating_sub(length), size),
        _ => return Ok(None),
    };
    if from >= until {
        return Err(Refusal::out_of_range(&format!("there is nothing there: the file has {size} bytes")));
    }
    Ok(Some((from, until - from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_understood_or_left_aside() {
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(header::RANGE, text.parse().expect("a header"))]);
            range(&headers, 10).map_err(|_| ())
        };
        for (text, expected) in [
            ("bytes=0-3", Ok(Some((0, 4)))),
            ("bytes=4-", Ok(Some((4, 6)))),
            ("bytes=-3", Ok(Some((7, 3)))),
            ("bytes=-30", Ok(Some((0, 10)))),
            ("bytes=8-99", Ok(Some((8, 2)))),
            ("bytes=10-", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=3-1", Ok(None)),
            ("bytes=0-1,3-4", Ok(None)),
            ("bytes=+1-3", Ok(None)),
            ("lines=1-2", Ok(None)),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}

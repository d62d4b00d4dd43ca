//! A row that holds several things: each behind its length, one after the other.

use crate::store::MAX_PAYLOAD;

/// The longest item that a page can hold beside nothing else.
pub(super) const ITEM_MAX: usize = MAX_PAYLOAD - 2;

/// Adds an item, unless the page is too full for it.
pub(super) fn push(page: &mut Vec<u8>, parts: &[&[u8]]) -> bool {
    let needed: usize = parts.iter().map(|part| 2 + part.len()).sum();
    if page.len() + needed > MAX_PAYLOAD {
        return false;
    }
    for part in parts {
        let length = u16::try_from(part.len()).expect("a page is far shorter than 64 KiB");
        page.extend_from_slice(&length.to_be_bytes());
        page.extend_from_slice(part);
    }
    true
}

/// The items of a page, two by two; `None`, and then nothing, where the page makes no sense.
pub(super) fn pairs(mut page: &[u8]) -> impl Iterator<Item = Option<Pair<'_>>> {
    std::iter::from_fn(move || {
        if page.is_empty() {
            return None;
        }
        let pair = take(&mut page).and_then(|first| Some((first, take(&mut page)?)));
        if pair.is_none() {
            page = &[];
        }
        Some(pair)
    })
}

/// Two items that belong together.
pub(super) type Pair<'p> = (&'p [u8], &'p [u8]);

/// Takes the next item off the front of a page; `None` if what is there is no whole item.
fn take<'p>(page: &mut &'p [u8]) -> Option<&'p [u8]> {
    let (length, rest) = page.split_first_chunk::<2>()?;
    let (item, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    *page = rest;
    Some(item)
}

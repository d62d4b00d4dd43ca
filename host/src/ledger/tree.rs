//! The Merkle tree over the log (RFC 6962 §2.1): one hash that stands for all records, and short proofs that one is among them.
//!
//! `leaf = SHA-256(0x00 || head)`, `node = SHA-256(0x01 || left || right)`. Leaves are not stored, the heads are there. Of the
//! nodes above, those over 64, 64², 64³, … leaves are kept, so that a root or a proof costs a few rows and at most 64 heads.

use sha2::{Digest as _, Sha256};

use super::cbor::{Malformed, Reader, Writer};
use super::{LedgerError, keys};
use crate::model::Digest;
use crate::store::{Store, StoreError, Tx};

/// How many nodes of one kept level lie under one of the next, as a power of two.
const STEP: u32 = 6;
/// The same, as a number: so many hashes share a row.
const WIDTH: u64 = 1 << STEP;

/// The leaf of a record.
pub(super) fn leaf(head: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(head).finalize().into())
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The right edge of a tree: the roots of the perfect subtrees it is made of, largest first. All that is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its perfect subtrees, largest first.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// The frontier of these parts; `None` if a tree of that size has another number of them.
    pub fn of(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (peaks.len() as u32 == size.count_ones()).then_some(Self { size, peaks })
    }

    /// Adds a leaf, and hands each kept node that it completes to `complete`: its level (1 is over 64 leaves) and its number there.
    pub fn push(&mut self, leaf: Digest, mut complete: impl FnMut(u32, u64, &Digest)) {
        let mut hash = leaf;
        // As many peaks merge as there are ones at the end of the old size.
        for level in 1..=self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a one in the size is a peak");
            hash = node(&left, &hash);
            if level % STEP == 0 {
                complete(level / STEP, self.size >> level, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree; of an empty one, the hash of nothing.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Digest(Sha256::digest([]).into()) };
        peaks.fold(*last, |right, left| node(left, &right))
    }

    /// Writes it as one item.
    pub fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.peaks.iter().flat_map(|peak| peak.0).collect::<Vec<u8>>());
    }

    /// Reads the frontier of a tree with `size` leaves.
    pub fn read(size: u64, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let peaks = digests(reader.bytes()?).ok_or_else(|| Malformed::message("a broken frontier"))?;
        Self::of(size, peaks).ok_or_else(|| Malformed::message("a frontier of another size"))
    }
}

/// Adds a hash to the row of kept nodes it belongs to.
pub(super) fn keep(tx: &mut Tx<'_>, level: u32, number: u64, hash: &Digest) -> Result<(), StoreError> {
    let key = keys::nodes(level, number / WIDTH);
    let mut row = tx.get(&key)?.unwrap_or_default();
    // A number that is there already comes again when the log was cut back to an earlier state: the later one counts.
    row.truncate((number % WIDTH) as usize * 32);
    row.extend_from_slice(&hash.0);
    tx.put(key, row)
}

/// A kept node as it is stored.
pub(super) fn kept(store: &Store, level: u32, number: u64) -> Result<Option<Digest>, LedgerError> {
    let row = store.get(&keys::nodes(level, number / WIDTH))?.unwrap_or_default();
    Ok(digests(&row).and_then(|row| row.get((number % WIDTH) as usize).copied()))
}

/// The tree in a store, for roots and proofs.
pub(super) struct Tree<'s, L> {
    store: &'s Store,
    /// The leaves from a number (from 0) on, as many as asked for.
    leaves: L,
}

impl<'s, L> Tree<'s, L>
where
    L: Fn(u64, u64) -> Result<Vec<Digest>, LedgerError>,
{
    /// The tree whose kept nodes are in `store`.
    pub fn new(store: &'s Store, leaves: L) -> Self {
        Self { store, leaves }
    }

    /// The root over the first `size` leaves.
    pub fn root(&self, size: u64) -> Result<Digest, LedgerError> {
        if size == 0 {
            return Ok(Frontier::default().root());
        }
        self.hash(0, size)
    }

    /// The right edge of the tree over the first `size` leaves.
    pub fn frontier(&self, size: u64) -> Result<Frontier, LedgerError> {
        let (mut from, mut peaks) = (0, Vec::new());
        while from < size {
            let width = 1 << (size - from).ilog2();
            peaks.push(self.hash(from, from + width)?);
            from += width;
        }
        Ok(Frontier { size, peaks })
    }

    /// The proof that leaf `index` (from 0) is under the root over `size` leaves: RFC 6962 §2.1.1.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, LedgerError> {
        debug_assert!(index < size, "the leaf is in the tree");
        let (mut from, mut until) = (0, size);
        let mut path = Vec::new();
        while until - from > 1 {
            let middle = from + split(until - from);
            if index < middle {
                path.push(self.hash(middle, until)?);
                until = middle;
            } else {
                path.push(self.hash(from, middle)?);
                from = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The root over the leaves in `from..until`, where `from` is where a subtree of that size begins.
    fn hash(&self, from: u64, until: u64) -> Result<Digest, LedgerError> {
        let count = until - from;
        if !count.is_power_of_two() {
            let middle = from + split(count);
            return Ok(node(&self.hash(from, middle)?, &self.hash(middle, until)?));
        }
        let level = count.trailing_zeros();
        let kept = level / STEP;
        let width = 1 << (level % STEP);
        let hashes = if kept == 0 {
            (self.leaves)(from, count)?
        } else {
            let first = from >> (kept * STEP);
            let row = self.store.get(&keys::nodes(kept, first / WIDTH))?.unwrap_or_default();
            let start = (first % WIDTH) as usize;
            let row = digests(&row).unwrap_or_default();
            row.get(start..start + width).map(<[_]>::to_vec).unwrap_or_default()
        };
        if hashes.len() != width {
            return Err(LedgerError::damaged("the tree over the log")(format!(
                "hashes over records {from} to {until} are missing"
            )));
        }
        Ok(merge(hashes))
    }
}

/// The root over a number of hashes that is a power of two.
fn merge(mut hashes: Vec<Digest>) -> Digest {
    while hashes.len() > 1 {
        hashes = hashes.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
    }
    hashes[0]
}

/// The largest power of two below `count`.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root that leaf number `index` (from 0) of `size` and a proof of its inclusion lead to; `None` if the proof has not the
/// length it must have (RFC 9162 §2.1.3.2).
pub(super) fn root_of_proof(leaf: Digest, index: u64, size: u64, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            // At the right edge there are levels where nothing is added.
            let skip = if at & 1 == 0 { at.trailing_zeros() } else { 0 };
            (at, last) = (at >> skip, last >> skip);
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

fn digests(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (digests, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| digests.iter().copied().map(Digest).collect())
}

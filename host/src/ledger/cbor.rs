//! Deterministic CBOR (dCBOR, the deterministic profile of RFC 8949 §4.2) for what is hashed and for the ledger's own rows.
//!
//! Only the shapes we need: unsigned integers, byte strings, texts, null, and arrays and maps of known length. Integers come
//! out in their shortest form; the callers write map keys in the order of their encoded bytes. Texts stand as they are given,
//! not normalized: two subjects that only look alike are two subjects (RFC 7519 §2 compares them byte by byte).

use minicbor::{Decoder, Encoder};

use crate::model::Digest;

/// Writes one item into memory, which cannot fail.
pub(super) fn encode(capacity: usize, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer(Encoder::new(Vec::with_capacity(capacity)));
    write(&mut writer);
    writer.0.into_writer()
}

/// The pinned preimages: an array of texts and byte strings.
pub(super) fn encode_parts(parts: &[Part<'_>]) -> Vec<u8> {
    encode(128, |writer| {
        writer.array(parts.len() as u64);
        for part in parts {
            match part {
                Part::Text(text) => writer.text(text),
                Part::Bytes(bytes) => writer.bytes(bytes),
                Part::Number(number) => writer.number(*number),
            };
        }
    })
}

/// One element of a preimage.
pub(super) enum Part<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(u64),
}

/// A CBOR encoder whose methods chain.
pub(super) struct Writer(Encoder<Vec<u8>>);

const IN_MEMORY: &str = "writing to memory cannot fail";

impl Writer {
    pub fn array(&mut self, length: u64) -> &mut Self {
        self.0.array(length).expect(IN_MEMORY);
        self
    }

    pub fn map(&mut self, length: u64) -> &mut Self {
        self.0.map(length).expect(IN_MEMORY);
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.u64(number).expect(IN_MEMORY);
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.str(text).expect(IN_MEMORY);
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.bytes(bytes).expect(IN_MEMORY);
        self
    }

    /// A byte string, or null.
    pub fn maybe_bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => {
                self.0.null().expect(IN_MEMORY);
                self
            }
        }
    }
}

/// Why bytes are not the item expected.
pub(super) type Malformed = minicbor::decode::Error;

/// A CBOR decoder for rows of known shape.
pub(super) struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// An array of exactly `length` elements, the first of which is the row's version.
    pub fn row(&mut self, length: u64, version: u64) -> Result<(), Malformed> {
        if self.0.array()? != Some(length) {
            return Err(Malformed::message("a row of another length"));
        }
        if self.number()? != version {
            return Err(Malformed::message("a row of another version"));
        }
        Ok(())
    }

    /// An array whose first element is the row's version; each version comes with the length its rows have. Answers the version.
    pub fn row_of(&mut self, versions: &[(u64, u64)]) -> Result<u64, Malformed> {
        let length = self.0.array()?;
        let version = self.number()?;
        match versions.iter().find(|(known, _)| *known == version) {
            Some((_, known)) if length == Some(*known) => Ok(version),
            Some(_) => Err(Malformed::message("a row of another length")),
            None => Err(Malformed::message("a row of another version")),
        }
    }

    /// A map of exactly `length` entries.
    pub fn map(&mut self, length: u64) -> Result<(), Malformed> {
        if self.0.map()? != Some(length) {
            return Err(Malformed::message("a map of another length"));
        }
        Ok(())
    }

    /// The map key `name`, which has to come next.
    pub fn key(&mut self, name: &str) -> Result<&mut Self, Malformed> {
        if self.0.str()? != name {
            return Err(Malformed::message("another key"));
        }
        Ok(self)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        self.0.u64()
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        self.0.str()
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        self.0.bytes()
    }

    /// A byte string of exactly `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes()?.try_into().map_err(|_| Malformed::message("a byte string of another length"))
    }

    pub fn digest(&mut self) -> Result<Digest, Malformed> {
        self.array().map(Digest)
    }

    /// What `read` reads, or `None` at a null.
    pub fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<Option<T>, Malformed> {
        if self.0.datatype()? == minicbor::data::Type::Null {
            self.0.null()?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// That nothing follows.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.position() == self.0.input().len() {
            return Ok(());
        }
        Err(Malformed::message("bytes after the end"))
    }
}

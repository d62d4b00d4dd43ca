//! `plugin.sig`: who signed a plugin, beside its files.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};

use super::key::PublicKey;
use crate::model::{Digest, DocumentError, document};

/// The format this host writes and reads.
const FORMAT: &str = "tidegate/plugin/1";

/// The most signatures that are looked at.
pub const MAX_SIGNATURES: usize = 16;

/// The signatures of a plugin, all over the same statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// A digest of what the component tells of its tools, as those who signed it were told.
    pub published: Digest,
    /// Who signed, each once.
    pub signed: Vec<(PublicKey, [u8; 64])>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    published: Digest,
    #[serde(default, rename = "signature")]
    signatures: Vec<WrittenSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    key: PublicKey,
    #[serde(deserialize_with = "signature")]
    signature: [u8; 64],
}

fn signature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 64], D::Error> {
    let bytes = URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| serde::de::Error::custom("the signature is damaged: it should be 64 bytes in base64url"))
}

impl Signatures {
    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// It is not such a file, or one that this host is too old for.
    pub fn parse(path: &Path, text: &str) -> Result<Self, DocumentError> {
        let written: Written = document::parse(path, text)?;
        let broken = |mention: &str, problem: String| {
            let (line, column) = document::position(text, text.find(mention).unwrap_or(0));
            Err(DocumentError { file: path.to_owned(), line, column, problem })
        };
        if written.format != FORMAT {
            let problem = format!("this host knows signatures of the format `{FORMAT}`, not of `{}`", written.format);
            return broken("format", problem);
        }
        if written.signatures.is_empty() || written.signatures.len() > MAX_SIGNATURES {
            return broken("published", format!("there have to be 1 to {MAX_SIGNATURES} signatures"));
        }
        let mut signed: Vec<(PublicKey, [u8; 64])> = Vec::new();
        for WrittenSignature { key, signature } in written.signatures {
            if signed.iter().any(|(other, _)| *other == key) {
                return broken(&key.to_string(), format!("`{key}` signed twice"));
            }
            signed.push((key, signature));
        }
        Ok(Self { published: written.published, signed })
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let mut text =
            format!("# Written by `tidegate plugin sign`.\nformat = \"{FORMAT}\"\npublished = \"{}\"\n", self.published);
        for (key, signature) in &self.signed {
            let signature = URL_SAFE_NO_PAD.encode(signature);
            write!(text, "\n[[signature]]\nkey = \"{key}\"\nsignature = \"{signature}\"\n").expect("a text takes anything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::PrivateKey;
    use super::*;

    #[test]
    fn signatures_read_back_and_damage_is_told_with_its_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = ["a", "b"].map(|name| PrivateKey::create(&folder.path().join(name)).expect("a new key"));
        let signed = keys.iter().map(|key| (key.public(), key.sign(b"x"))).collect();
        let signatures = Signatures { published: Digest([7; 32]), signed };
        let text = signatures.to_toml();
        let problem = |text: &str| Signatures::parse(Path::new("plugin.sig"), text).expect_err("broken").to_string();
        assert_eq!(Signatures::parse(Path::new("plugin.sig"), &text), Ok(signatures));

        assert!(problem(&text.replace("plugin/1", "plugin/2")).starts_with("plugin.sig:2:1: this host knows"));
        assert!(problem(&text.replace("[[signature]]", "[[signatur]]")).contains("did you mean `signature`?"));
        let second = text.rsplit("[[signature]]").next().expect("two");
        assert!(problem(&format!("{text}\n[[signature]]{second}")).contains("signed twice"));
        let first = text.split("\n[[").next().expect("a head");
        assert!(problem(&format!("{first}\n")).contains("1 to 16 signatures"));
        let cut = text.replacen("signature = \"", "signature = \"A", 1);
        assert!(problem(&cut).contains("plugin.sig:7:13: the signature is damaged"), "{}", problem(&cut));
    }
}

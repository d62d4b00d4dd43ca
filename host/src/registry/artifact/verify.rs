//! Whether somebody who is trusted vouches for a plugin.

use std::time::SystemTime;

use serde::Deserialize;

use super::{Artifact, PrivateKey, PublicKey, Signatures, Standing, Trust};
use crate::model::Digest;

/// A plugin whose files are those that somebody trusted has signed. What its component tells of its tools is yet to be compared, with
/// [`Vouched::telling`], once it could be asked: before somebody vouches for it, it is neither compiled nor run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what the component tells of its tools is not compared yet"]
pub struct Vouched {
    provenance: Provenance,
    published: Digest,
}

/// Who vouches for a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The names of the trusted keys that signed it, as the trust file calls them; at least one.
    pub signers: Vec<String>,
    /// Signatures that did not count, in words.
    pub others: Vec<String>,
}

/// What becomes of a plugin that nobody vouches for who is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsigned {
    /// It is refused.
    #[default]
    Refuse,
    /// It is let in, unless it was tampered with or the key was revoked.
    Allow,
}

/// Why nobody vouches for a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody signed it.
    #[error("it is not signed; its author signs it with `tidegate plugin sign`")]
    Unsigned,
    /// What lies beside it as its signatures can't be read.
    #[error("who signed it can't be told: {0}")]
    Damaged(String),
    /// Its signatures are sound, but nobody of those who signed is known.
    #[error("nobody who is trusted has signed it: {}; whom to trust says the trust file", .0.join("; "))]
    Unknown(Vec<String>),
    /// A signature does not fit, or a key may not vouch for this.
    #[error("no signature of it counts: {}", .0.join("; "))]
    Void(Vec<String>),
    /// The component tells other things than those who signed it were told.
    #[error(
        "its component does not describe its tools as it did when it was signed (published {told}, signed {signed}): a changed \
         description or schema is a changed plugin"
    )]
    Told {
        /// The digest of what it tells.
        told: Digest,
        /// The digest that was signed.
        signed: Digest,
    },
}

impl Refusal {
    /// Whether the plugin is merely a stranger: nothing in it contradicts anything. Only then may an operator let it in unsigned.
    pub fn is_of_a_stranger(&self) -> bool {
        matches!(self, Self::Unsigned | Self::Unknown(_))
    }
}

/// Checks who vouches for the files of `artifact`, at the time `now`, without compiling or running anything.
///
/// One sound signature by a key that is trusted for this plugin is enough, whoever else signed.
///
/// # Errors
/// Nobody does, and why.
pub fn verify(artifact: &Artifact, trust: &Trust, now: SystemTime) -> Result<Vouched, Refusal> {
    let signatures = artifact.signatures.as_ref().ok_or(Refusal::Unsigned)?;
    let message = artifact.statement(signatures.published).message();
    let (mut signers, mut others, mut is_void) = (Vec::new(), Vec::new(), false);
    for (key, signature) in &signatures.signed {
        if !key.has_signed(&message, signature) {
            is_void = true;
            let what = "does not fit: the files, or what `plugin.sig` says, were changed after it was made";
            others.push(format!("the signature of {} {what}", called(trust, key, artifact, now)));
            continue;
        }
        match trust.standing(key, &artifact.manifest.name, now) {
            Standing::Trusted(name) => signers.push(name),
            Standing::Unknown => others.push(format!("`{key}` is not known")),
            Standing::Revoked(name) => {
                is_void = true;
                others.push(match name {
                    Some(name) => format!("the key `{name}` (`{key}`) was revoked"),
                    None => format!("`{key}` was revoked"),
                });
            }
            Standing::Limited(why) => {
                is_void = true;
                others.push(why);
            }
        }
    }
    match (signers.is_empty(), is_void) {
        (false, _) => Ok(Vouched { provenance: Provenance { signers, others }, published: signatures.published }),
        (true, true) => Err(Refusal::Void(others)),
        (true, false) => Err(Refusal::Unknown(others)),
    }
}

/// How people call a key whose signature does not fit.
fn called(trust: &Trust, key: &PublicKey, artifact: &Artifact, now: SystemTime) -> String {
    match trust.standing(key, &artifact.manifest.name, now) {
        Standing::Trusted(name) | Standing::Revoked(Some(name)) => format!("the key `{name}`"),
        _ => format!("`{key}`"),
    }
}

impl Vouched {
    /// The names of the trusted keys that signed it, at least one.
    pub fn signers(&self) -> &[String] {
        &self.provenance.signers
    }

    /// Compares what the component tells of its tools, as [`published`](super::published) digests it, with what was signed.
    ///
    /// # Errors
    /// It tells something else.
    pub fn telling(self, told: Digest) -> Result<Provenance, Refusal> {
        if told == self.published { Ok(self.provenance) } else { Err(Refusal::Told { told, signed: self.published }) }
    }
}

/// The signatures of `artifact` with one by `key`, whose component tells what `published` is a digest of. Signatures that no longer
/// fit are left out.
///
/// # Errors
/// There are as many as there may be.
pub fn sign(artifact: &Artifact, published: Digest, key: &PrivateKey) -> Result<Signatures, String> {
    let message = artifact.statement(published).message();
    let earlier = artifact.signatures.iter().flat_map(|signatures| signatures.signed.iter().copied());
    let mut signed: Vec<_> = earlier.filter(|(other, signature)| other.has_signed(&message, signature)).collect();
    signed.retain(|(other, _)| *other != key.public());
    if signed.len() >= super::signatures::MAX_SIGNATURES {
        return Err(format!("it has {} signatures already, and no more are looked at", signed.len()));
    }
    signed.push((key.public(), key.sign(&message)));
    Ok(Signatures { published, signed })
}

//! What a set of policies was made from, and which set it is.

use serde::{Deserialize, Serialize};

use super::Digest;

/// One file of the policy folder, by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyFileDigest {
    /// Its name in the folder.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// One set of policies among those that were ever in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyVersion {
    /// The generation it belongs to. Numbers start again with every process.
    pub generation: u64,
    /// The hash of the set: schema and all policy texts.
    pub policies: Digest,
}

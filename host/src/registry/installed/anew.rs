//! Contents that were installed once and are brought again: whoever signed them stays the one who did, and others join.

use super::InstallError;
use crate::model::Digest;
use crate::registry::artifact::{Artifact, MAX_SIGNATURES, Signatures};

/// Contents under their digest.
#[derive(Debug)]
pub struct LaidDown {
    /// The plugin, with the signatures that lie beside it.
    pub artifact: Artifact,
    /// The signatures that came with it this time, if it lay there already: they don't lie beside it.
    pub brought: Option<Signatures>,
}

/// Signatures that are to take the place of those that lie beside contents on the shelf, once that is written down.
#[derive(Clone, Debug)]
pub struct Anew {
    /// The contents.
    pub contents: Digest,
    /// Those that lie there, and those that join them.
    pub signatures: Signatures,
}

impl LaidDown {
    /// What lies beside the contents, joined by what came with them; none if that is what lies there. Only signatures that fit join,
    /// and they displace none that does. What was made over something else that the component is said to tell takes the place of what
    /// lies there only if `is_vouched`: somebody who is trusted says so, and what the component tells is to be compared with it before
    /// anything is put in force. A stranger's word takes nobody else's away, so a key that is revoked later is found.
    ///
    /// # Errors
    /// They are more than are looked at.
    pub fn anew(&self, is_vouched: bool) -> Result<Option<Anew>, InstallError> {
        let Self { artifact, brought: Some(brought) } = self else { return Ok(None) };
        let message = artifact.statement(brought.published).message();
        let mut signed = match &artifact.signatures {
            Some(there) if there.published == brought.published => there.signed.clone(),
            Some(_) if !is_vouched => return Ok(None),
            _ => Vec::new(),
        };
        for (key, signature) in brought.signed.iter().filter(|(key, signature)| key.has_signed(&message, signature)) {
            match signed.iter_mut().find(|(other, _)| other == key) {
                Some((_, there)) if key.has_signed(&message, there) => {}
                Some((_, there)) => *there = *signature,
                None => signed.push((*key, *signature)),
            }
        }
        if signed.len() > MAX_SIGNATURES {
            return Err(InstallError::Crowded { plugin: artifact.manifest.name.clone(), most: MAX_SIGNATURES });
        }
        let signatures = Signatures { published: brought.published, signed };
        let is_new = !signatures.signed.is_empty() && artifact.signatures.as_ref() != Some(&signatures);
        Ok(is_new.then(|| Anew { contents: artifact.content(), signatures }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::registry::artifact::{PrivateKey, sign};
    use crate::registry::manifest;

    const TOLD: Digest = Digest([3; 32]);

    fn artifact() -> Artifact {
        let text = "name = \"demo\"\nversion = \"1\"\ncontract = \"0.1\"\n[[tool]]\nname = \"t\"\neffect = \"read\"\nscopes = [\"use:t\"]\n";
        let manifest = manifest::parse("plugin.toml".as_ref(), text).expect("a manifest");
        let (component, manifest_digest) = (Digest([1; 32]), Digest([2; 32]));
        Artifact { dir: PathBuf::new(), manifest, component, manifest_digest, readme: None, signatures: None }
    }

    fn keys<const N: usize>() -> [PrivateKey; N] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::array::from_fn(|n| PrivateKey::create(&folder.path().join(n.to_string())).expect("a new key"))
    }

    /// Signatures over this, by each of the keys.
    fn signed(published: Digest, keys: &[&PrivateKey]) -> Signatures {
        let mut artifact = artifact();
        for key in keys {
            artifact.signatures = Some(sign(&artifact, published, key).expect("signed"));
        }
        artifact.signatures.expect("by one at least")
    }

    /// What becomes of `there` when `brought` comes.
    fn joined(there: &Signatures, brought: &Signatures, is_vouched: bool) -> Option<Signatures> {
        let artifact = Artifact { signatures: Some(there.clone()), ..artifact() };
        let laid_down = LaidDown { artifact, brought: Some(brought.clone()) };
        laid_down.anew(is_vouched).expect("few enough").map(|anew| anew.signatures)
    }

    #[test]
    fn later_signatures_join_the_earlier_ones_if_they_fit_and_displace_none_that_does() {
        let [a, b] = keys();
        let (by_a, by_b, by_both) = (signed(TOLD, &[&a]), signed(TOLD, &[&b]), signed(TOLD, &[&a, &b]));
        let damaged = |of: &Signatures| {
            let signed = of.signed.iter().map(|(key, _)| (*key, [7; 64])).collect();
            Signatures { signed, ..of.clone() }
        };
        for is_vouched in [false, true] {
            assert_eq!(joined(&by_a, &by_b, is_vouched), Some(by_both.clone()));
            for nothing_new in [&by_a, &by_b, &by_both, &damaged(&by_a)] {
                assert_eq!(joined(&by_both, nothing_new, is_vouched), None, "{nothing_new:?}");
            }
            assert_eq!(joined(&by_a, &damaged(&by_b), is_vouched), None, "it does not fit");
            assert_eq!(joined(&damaged(&by_a), &by_a, is_vouched), Some(by_a.clone()), "one that does not fit makes room");
        }
    }

    #[test]
    fn what_is_signed_over_something_else_takes_nothing_away_unless_somebody_trusted_says_so() {
        let [a, b] = keys();
        let (by_a, other) = (signed(TOLD, &[&a]), signed(Digest([4; 32]), &[&b]));
        assert_eq!(joined(&by_a, &other, false), None);
        assert_eq!(joined(&by_a, &other, true), Some(other));
    }

    #[test]
    fn more_signatures_than_are_looked_at_are_refused_instead_of_dropping_the_earliest() {
        let keys = keys::<17>();
        let all: Vec<&PrivateKey> = keys.iter().collect();
        let artifact = Artifact { signatures: Some(signed(TOLD, &all[..MAX_SIGNATURES])), ..artifact() };
        let laid_down = LaidDown { artifact, brought: Some(signed(TOLD, &all[MAX_SIGNATURES..])) };
        let refused = laid_down.anew(true).expect_err("too many").to_string();
        assert!(refused.contains("plugin `demo`") && refused.contains("tidegate plugin remove demo"), "{refused}");
    }
}

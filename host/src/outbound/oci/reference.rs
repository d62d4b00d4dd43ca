//! The name of an artifact in a registry.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;
use url::Url;

use crate::model::Digest;
use crate::outbound::download::WebAddress;

/// `oci://host[:port]/repository[:tag|@sha256:…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciReference {
    pub(super) name: Reference,
    /// The root of the registry's API.
    root: WebAddress,
    /// The digest in the name.
    pub(super) digest: Option<Digest>,
}

impl OciReference {
    /// The registry, as credentials are kept for it.
    pub(super) fn registry(&self) -> &str {
        self.name.registry()
    }

    /// The address of something of the repository: `/v2/<repository>/<path>`.
    pub(super) fn address(&self, path: &str) -> WebAddress {
        let mut url = self.root.url().clone();
        url.set_path(&format!("/v2/{}/{path}", self.name.repository()));
        WebAddress::new(url).expect("a path changes nothing about where it leads")
    }

    /// The root of the registry's API.
    pub(super) fn root(&self) -> &WebAddress {
        &self.root
    }

    /// The name by which exactly the artifact with this manifest is found.
    pub fn pinned(&self, digest: Digest) -> String {
        format!("oci://{}/{}@sha256:{digest}", self.name.registry(), self.name.repository())
    }

    /// The digest or the tag.
    pub(super) fn version(&self) -> &str {
        self.name.digest().or(self.name.tag()).unwrap_or("latest")
    }
}

impl FromStr for OciReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = |problem: &str| {
            format!(
                "`{text}` does not name an artifact: {problem}; write for example `oci://registry.example.com/plugins/echo:1.0.0`"
            )
        };
        let bare = text.strip_prefix("oci://").ok_or_else(|| problem("it does not begin with `oci://`"))?;
        // A name without a registry would silently be taken for one at Docker Hub.
        let host = bare.split_once('/').map(|(host, _)| host).filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| problem("it names no repository"))?;
        let is_host = host == "localhost" || host.contains(['.', ':']);
        if !is_host {
            return Err(problem("it names no registry; a registry has a dot, a port, or is `localhost`"));
        }
        let name: Reference = bare.parse().map_err(|error: oci_client::ParseError| problem(&error.to_string()))?;
        let digest = match name.digest().map(|digest| digest.strip_prefix("sha256:").map(str::parse)) {
            None => None,
            Some(Some(Ok(digest))) => Some(digest),
            Some(_) => return Err(problem("its digest is no SHA-256")),
        };
        // Docker Hub answers under another name than its own.
        let (registry, problem_of_root) = (name.resolve_registry(), |error: String| problem(&error));
        let https = Url::parse(&format!("https://{registry}/v2/")).map_err(|error| problem(&error.to_string()))?;
        let root = WebAddress::new(https).map_err(problem_of_root)?;
        let root = match root.is_loopback() {
            true => format!("http://{registry}/v2/").parse()?,
            false => root,
        };
        Ok(Self { name, root, digest })
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_registry_and_only_loopback_is_spoken_to_in_clear() {
        let address = |text: &str| text.parse::<OciReference>().map(|name| name.address("manifests/1").to_string());
        let good = [
            ("oci://ghcr.io/acme/echo:1.0.0", "https://ghcr.io/v2/acme/echo/manifests/1"),
            ("oci://registry.example.com:5000/echo", "https://registry.example.com:5000/v2/echo/manifests/1"),
            ("oci://localhost:5000/echo:1", "http://localhost:5000/v2/echo/manifests/1"),
            ("oci://127.0.0.1:5000/a/b:1", "http://127.0.0.1:5000/v2/a/b/manifests/1"),
            ("oci://docker.io/acme/echo:1", "https://index.docker.io/v2/acme/echo/manifests/1"),
        ];
        for (text, expected) in good {
            assert_eq!(address(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in [
            "ghcr.io/acme/echo:1",
            "oci://echo",
            "oci://acme/echo:1",
            "oci:///echo:1",
            "oci://ghcr.io/ACME/echo:1",
            "oci://ghcr.io/acme/../echo:1",
            "oci://user:secret@ghcr.io/acme/echo:1",
            "oci://ghcr.io/acme/echo@sha256:00",
            "oci://ghcr.io/acme/echo@sha512:00",
        ] {
            let error = address(bad).expect_err(bad);
            assert!(error.contains("does not name an artifact"), "{error}");
        }
    }

    #[test]
    fn a_digest_counts_before_a_tag() {
        let digest = "ab".repeat(32);
        let name: OciReference = format!("oci://ghcr.io/acme/echo:1@sha256:{digest}").parse().expect("a name");
        assert_eq!(name.version(), format!("sha256:{digest}"));
        assert_eq!(name.digest.map(|digest| digest.to_string()), Some(digest));
    }
}

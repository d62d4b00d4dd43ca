//! From an issuer to the place of its keys: authorization server metadata (RFC 8414) or OpenID Connect Discovery 1.0.

use http::Uri;
use serde::Deserialize;

use super::fetch::{FetchError, Fetcher};
use super::url::{self, UrlProblem};

/// What we need of an issuer's metadata.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
}

/// Why an issuer's keys can't be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscoveryError {
    /// No metadata at any of the places. The error is that of the first one.
    #[error("no metadata was found: {0}; if the issuer publishes none, set `jwks_uri`")]
    Absent(FetchError),
    /// The metadata speaks for somebody else, so it must not be used (RFC 8414 §3.3).
    #[error("the metadata at `{at}` is that of the issuer `{found}`; set `issuer` to exactly that if it is meant")]
    OtherIssuer {
        /// Where it was found.
        at: Uri,
        /// Whose it is.
        found: String,
    },
    /// The metadata names no keys.
    #[error("the metadata at `{0}` names no `jwks_uri`; set it in the config")]
    NoKeys(Uri),
    /// The metadata sends us where we don't go.
    #[error("the metadata names `{0}` as `jwks_uri`, {1}")]
    Keys(String, UrlProblem),
}

/// Where the keys of `issuer` are; `uri` is the same, parsed.
///
/// # Errors
/// No metadata, or none that can be used.
pub(super) async fn keys_of(fetcher: &Fetcher, issuer: &str, uri: &Uri) -> Result<Uri, DiscoveryError> {
    let (mut absent, mut unusable) = (None, None);
    for at in places(uri) {
        match fetcher.get::<Metadata>(&at).await {
            Err(error) => absent = absent.or(Some(error)),
            Ok(fetched) if fetched.document.issuer != issuer => {
                unusable = unusable.or(Some(DiscoveryError::OtherIssuer { at, found: fetched.document.issuer }));
            }
            Ok(fetched) => match fetched.document.jwks_uri {
                None => unusable = unusable.or(Some(DiscoveryError::NoKeys(at))),
                Some(keys) => return allowed(&keys, uri).map_err(|problem| DiscoveryError::Keys(keys, problem)),
            },
        }
    }
    Err(unusable.or(absent.map(DiscoveryError::Absent)).expect("there is at least one place, and it gave no keys"))
}

/// Keys of an issuer elsewhere never come from this machine, nor unprotected.
fn allowed(keys: &str, issuer: &Uri) -> Result<Uri, UrlProblem> {
    let uri = url::secure(keys)?;
    if url::is_loopback(&uri) && !url::is_loopback(issuer) { Err(UrlProblem::ThisMachine) } else { Ok(uri) }
}

/// Where an issuer may publish its metadata, in the order to look: RFC 8414 §3.1 inserts the well-known name before the path,
/// OpenID Connect Discovery §4.1 appends it.
fn places(issuer: &Uri) -> Vec<Uri> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ];
    paths.dedup();
    let at = |path: &String| {
        let mut parts = issuer.clone().into_parts();
        parts.path_and_query = path.parse().ok();
        Uri::from_parts(parts).ok()
    };
    paths.iter().filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places_of(issuer: &str) -> Vec<String> {
        places(&issuer.parse().expect("a URL")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_issuer_without_a_path_has_two_places() {
        let expected =
            ["https://a.example/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration"];
        assert_eq!(places_of("https://a.example"), expected);
        assert_eq!(places_of("https://a.example/"), expected);
    }

    #[test]
    fn a_path_is_inserted_first_and_appended_to_last() {
        let expected = [
            "https://a.example/.well-known/oauth-authorization-server/realms/r",
            "https://a.example/.well-known/openid-configuration/realms/r",
            "https://a.example/realms/r/.well-known/openid-configuration",
        ];
        assert_eq!(places_of("https://a.example/realms/r/"), expected);
    }

    #[test]
    fn metadata_from_elsewhere_cannot_send_us_to_this_machine() {
        let issuer = "https://a.example".parse().expect("a URL");
        for here in ["http://127.0.0.1/keys", "https://127.0.0.1/keys", "https://localhost:8443/keys", "https://[::1]/keys"] {
            assert_eq!(allowed(here, &issuer), Err(UrlProblem::ThisMachine), "{here}");
        }
        assert_eq!(allowed("http://a.example/keys", &issuer), Err(UrlProblem::Insecure));
        assert!(allowed("https://keys.example/a", &issuer).is_ok());
    }
}

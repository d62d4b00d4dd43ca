//! Whose certificates a backend's are checked against, and the one the host shows itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::error::OutboundError;

/// Who vouches for a backend's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ca {
    /// The authorities that browsers trust, as built into the host: `"webpki"`.
    #[default]
    Webpki,
    /// The authorities that this machine trusts: `"system"`.
    System,
    /// Those in a PEM file, and no others.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Ca {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "webpki" => Self::Webpki,
            "system" => Self::System,
            path if path.contains(['/', '.']) => Self::File(path.into()),
            other => {
                let problem =
                    format!("`{other}` is neither \"webpki\" nor \"system\" nor a path such as \"/etc/tidegate/ca.pem\"");
                return Err(serde::de::Error::custom(problem));
            }
        })
    }
}

/// The files of a certificate that the host shows, and of its key. Both PEM.
#[derive(Clone, Copy)]
pub(super) struct Identity<'c> {
    pub(super) certificate: Option<&'c Path>,
    pub(super) key: Option<&'c Path>,
}

impl Identity<'_> {
    /// The host shows no certificate.
    pub(super) const NONE: Self = Self { certificate: None, key: None };
}

/// How connections of `owner` are secured.
///
/// # Errors
/// A file can't be read, or does not hold what it should.
pub(super) fn client_config(owner: &str, ca: &Ca, identity: Identity<'_>) -> Result<Arc<ClientConfig>, OutboundError> {
    let wrong = |problem: String| OutboundError::Setting { backend: owner.to_owned(), problem };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(error.to_string()))?.with_root_certificates(roots(ca).map_err(wrong)?);
    let config = match (identity.certificate, identity.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate).map_err(wrong)?;
            let secret = private_key(key).map_err(wrong)?;
            let config = builder.with_client_auth_cert(chain, secret);
            config.map_err(|error| wrong(format!("`client_cert` and `client_key` do not fit: {error}")))?
        }
        _ => return Err(wrong("`client_cert` and `client_key` are only of use together; set both or neither".to_owned())),
    };
    Ok(Arc::new(config))
}

fn roots(ca: &Ca) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match ca {
        Ca::Webpki => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Ca::System => {
            let found = rustls_native_certs::load_native_certs();
            // Stores of systems hold certificates that nobody can parse any more; those count for nothing.
            let (usable, _) = store.add_parsable_certificates(found.certs);
            if usable == 0 {
                let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
                return Err(format!("`ca = \"system\"`: this machine trusts no authority{why}; install ca-certificates"));
            }
        }
        Ca::File(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|error| format!("`{}`: {error}", path.display()))?;
            }
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("`{}` holds no certificate; it has to be a PEM file", path.display())),
        Err(error) => Err(format!("`{}` is not a PEM file: {error}", path.display())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    // The error may quote what it could not parse.
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| format!("`{}` holds no private key in PEM", path.display()))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("can't read `{}`: {error}", path.display()))?;
    Ok(Zeroizing::new(bytes))
}

/// What an operator does about a certificate that was not taken.
pub(super) fn advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired; renew it, or set this machine's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; is this machine's clock right?"
            }
            // The other one: an authority of the same name, with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is signed by nobody this host trusts; name who signs it as `ca`: \"system\", or a PEM file"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name than the one in its url"
            }
            CertificateError::Revoked => "its certificate was revoked",
            _ => "its certificate is not valid",
        },
        rustls::Error::AlertReceived(_) => "it refused the connection; does it want a `client_cert`?",
        _ => "no TLS connection came about; does it speak TLS at this port?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(ca: &Ca, identity: Identity<'_>) -> String {
        client_config("billing", ca, identity).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_choice_of_authorities_is_a_word_or_a_path() {
        #[derive(Debug, Deserialize)]
        struct Choice {
            ca: Ca,
        }
        let ca = |text: &str| toml::from_str::<Choice>(&format!("ca = \"{text}\"")).map(|choice| choice.ca);
        assert_eq!(ca("webpki"), Ok(Ca::Webpki));
        assert_eq!(ca("system"), Ok(Ca::System));
        assert_eq!(ca("ca.pem"), Ok(Ca::File("ca.pem".into())));
        assert!(ca("sytem").expect_err("a typo").to_string().contains("neither \"webpki\" nor \"system\""));
    }

    #[test]
    fn files_that_are_no_use_are_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ca.pem");
        assert!(problem(&Ca::File(path.clone()), Identity::NONE).contains("can't read `"));
        std::fs::write(&path, "nothing of the kind").expect("it can be written");
        assert!(problem(&Ca::File(path.clone()), Identity::NONE).contains("holds no certificate"));
        let half = Identity { certificate: Some(&path), key: None };
        assert!(problem(&Ca::Webpki, half).contains("set both or neither"));
        assert_eq!(problem(&Ca::Webpki, Identity::NONE), "");
    }
}

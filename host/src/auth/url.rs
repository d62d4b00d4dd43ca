//! Addresses that keys may be fetched from: `https`, or `http` on this very machine.

use std::net::IpAddr;

use http::Uri;

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlProblem {
    /// Not an absolute URL.
    #[error("which is not a URL; write for example \"https://id.example.com\"")]
    NoUrl,
    /// Not protected on its way.
    #[error("which is not `https`; only issuers on this machine may go without")]
    Insecure,
    /// On this machine, where only our own issuers have business.
    #[error("which is on this machine, but the issuer is not")]
    ThisMachine,
    /// An issuer has neither query nor fragment (RFC 8414 §2).
    #[error("but an issuer has neither query nor fragment")]
    Decorated,
}

/// An issuer's URL (RFC 8414 §2).
pub(super) fn issuer(text: &str) -> Result<Uri, UrlProblem> {
    if text.contains(['?', '#']) {
        return Err(UrlProblem::Decorated);
    }
    secure(text)
}

/// A URL that what comes from it can be trusted.
pub(super) fn secure(text: &str) -> Result<Uri, UrlProblem> {
    // `Uri` forgets fragments; nothing we fetch has one.
    let uri: Uri = text.parse().ok().filter(|_| !text.contains('#')).ok_or(UrlProblem::NoUrl)?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(UrlProblem::NoUrl)?;
    match uri.scheme_str() {
        Some("https") if !authority.host().is_empty() => Ok(uri),
        Some("http") if is_loopback(&uri) => Ok(uri),
        Some("http") => Err(UrlProblem::Insecure),
        _ => Err(UrlProblem::NoUrl),
    }
}

/// Whether the host is this machine.
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

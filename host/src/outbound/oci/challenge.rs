//! What a registry asks for before it lets us in, and the answer to it (RFC 9110 §11;
//! <https://distribution.github.io/distribution/spec/auth/token/>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Login, OciReference};
use crate::model::Bytes;
use crate::outbound::DownloadError;
use crate::outbound::download::{Downloader, Expected, WebAddress, pour, status};

/// The longest answer with a token.
const MAX_TOKEN: Bytes = Bytes::kib(64);

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    /// User and password.
    Basic,
    /// A token from somewhere.
    Bearer { realm: String, service: Option<String> },
}

#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

/// The `Authorization` with which to ask again after a registry answered 401 with `refused`.
pub(super) async fn answer(
    downloader: &Downloader,
    reference: &OciReference,
    login: &Login,
    refused: &Response<Incoming>,
) -> Result<HeaderValue, DownloadError> {
    let problem = |problem: &str| DownloadError::Protocol { place: reference.to_string(), problem: problem.to_owned() };
    match (parse(refused.headers()), login) {
        (None, _) => Err(problem("wants credentials of a kind that is not known")),
        (Some(Challenge::Basic), Login::Basic(..)) => Ok(basic(login).expect("there is a user")),
        (Some(Challenge::Basic), Login::Anonymous) => Err(status(reference, StatusCode::UNAUTHORIZED)),
        (Some(Challenge::Bearer { realm, service }), _) => {
            let realm: WebAddress =
                realm.parse().map_err(|error: String| problem(&format!("gives tokens elsewhere: {error}")))?;
            if realm.is_loopback() && !reference.root().is_loopback() {
                return Err(problem("says that its tokens are given on this machine"));
            }
            token(downloader, reference, login, &realm, service.as_deref()).await
        }
    }
}

/// Asks for a token that allows to pull.
async fn token(
    downloader: &Downloader,
    reference: &OciReference,
    login: &Login,
    realm: &WebAddress,
    service: Option<&str>,
) -> Result<HeaderValue, DownloadError> {
    let mut url = realm.url().clone();
    if let Some(service) = service {
        url.query_pairs_mut().append_pair("service", service);
    }
    url.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", reference.name.repository()));
    let address = WebAddress::new(url).expect("a query changes nothing about where it leads");
    let headers: HeaderMap = basic(login).map(|value| (header::AUTHORIZATION, value)).into_iter().collect();
    let (response, place) = downloader.get(&address, &headers).await?;
    if response.status() != StatusCode::OK {
        return Err(status(&place, response.status()));
    }
    let mut text = Zeroizing::new(Vec::new());
    pour(response, &place, Expected { limit: MAX_TOKEN, size: None }, &mut *text).await?;
    let granted: Option<Granted> = serde_json::from_slice(&text).ok();
    let token = granted.and_then(|granted| granted.token.or(granted.access_token));
    token.and_then(|token| secret(&Zeroizing::new(format!("Bearer {}", &*Zeroizing::new(token))))).ok_or_else(|| {
        DownloadError::Protocol { place: place.to_string(), problem: "was asked for a token and gave something else".to_owned() }
    })
}

fn basic(login: &Login) -> Option<HeaderValue> {
    let Login::Basic(user, password) = login else { return None };
    let pair = Zeroizing::new(format!("{user}:{}", &**password));
    secret(&Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(&*pair)))))
}

/// A header that is not printed.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The first challenge that can be answered.
fn parse(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.filter_map(|value| http_auth::parse_challenges(value).ok()).flatten().find_map(|challenge| {
        let of = |wanted: &str| {
            let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.to_unescaped())
        };
        match challenge.scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer { realm: of("realm")?, service: of("service") }),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let parse = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (header::WWW_AUTHENTICATE, HeaderValue::from_static(value)));
            parse(&headers.collect())
        };
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        assert_eq!(parse(&[hub]), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(parse(&["Negotiate", "bearer Realm=\"https://a/t\""]), bearer("https://a/t", None));
        assert_eq!(parse(&["Basic realm=\"Registry\""]), Some(Challenge::Basic));
        assert_eq!((parse(&["Digest realm=\"x\""]), parse(&["Bearer service=\"x\""]), parse(&[])), (None, None, None));
    }
}

//! The admin API of a host, which may be on another machine: one request for each question.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http::{HeaderValue, StatusCode, Uri};
use serde_json::Value;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

use super::{LONGEST, PATIENCE};
use crate::auth::is_loopback;
use crate::config::ADMIN_TOKEN;
use crate::server::operator::PREFIX;

/// The largest file that is taken for a token.
const MAX_TOKEN: u64 = 4 << 10;

/// The admin API of one host.
pub struct Api {
    /// Where the listener is, without a slash at the end.
    url: String,
    token: HeaderValue,
    agent: ureq::Agent,
    patience: Duration,
}

impl Api {
    /// The API of the host whose admin listener is at `url`, asked with the token in `file`, else with that of the environment; `ca`
    /// vouches for its certificate. Nobody is connected to yet.
    ///
    /// # Errors
    /// The URL is none, or a token would travel in clear; or there is no token, or no certificate.
    pub fn at(url: &str, file: Option<&Path>, ca: Option<&Path>) -> Result<Self> {
        let wrong = |problem: &str| anyhow!("`--admin-url` {problem}; write for example `https://tools.example.com:7301`");
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        let authority = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https")));
        let authority = authority.ok_or_else(|| wrong("is no http or https URL"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong("holds more than an address and a path"));
        }
        if uri.scheme_str() == Some("http") && !is_loopback(&uri) {
            bail!(
                "the admin token must not travel without TLS; put a proxy with TLS in front of `{authority}`, and use its `https` URL"
            );
        }
        let mut agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).user_agent("tidegate-admin");
        if let Some(ca) = ca {
            agent = agent.tls_config(TlsConfig::builder().root_certs(authorities(ca)?).build());
        }
        if is_loopback(&uri) {
            // Whatever the environment says: what is on this machine is reached without help.
            agent = agent.proxy(None);
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            token: authorization(file)?,
            agent: agent.build().into(),
            patience: PATIENCE,
        })
    }

    /// How long the host may take for each answer from now on.
    pub fn wait_at_most(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// If nobody answers, or not in time, or the host refuses, and then in its words.
    pub fn ask(&self, method: &str, params: &Value) -> Result<Value> {
        let url = format!("{}/v1/admin/{}", self.url, method.strip_prefix(PREFIX).unwrap_or(method));
        let body = if params.is_null() { String::new() } else { params.to_string() };
        let request = self.agent.post(&url).config().timeout_global(Some(self.patience)).build();
        let request = request.header("content-type", "application/json").header("authorization", self.token.clone());
        let mut response = request.send(body).map_err(|error| match error {
            ureq::Error::Timeout(_) => anyhow!("the host does not answer in time"),
            error => anyhow::Error::new(error).context(format!("no host answers at `{}`", self.url)),
        })?;
        let status = response.status();
        let answer = response.body_mut().with_config().limit(LONGEST).read_to_vec();
        let answer = answer.context("the host stopped in the middle of its answer, or it is too long")?;
        let told: Option<Value> = serde_json::from_slice(&answer).ok();
        match (status, told) {
            (StatusCode::OK, Some(answer)) => Ok(answer),
            (_, Some(Value::Object(refusal))) if refusal.contains_key("error") => {
                bail!("the host refuses: {}", refusal["error"]["message"].as_str().unwrap_or("it gives no reason"))
            }
            _ => bail!("`{}` answers {status}, which is not what a host's admin API says; is that its admin listener?", self.url),
        }
    }
}

/// The certificates in a PEM file.
fn authorities(path: &Path) -> Result<RootCerts> {
    let text = std::fs::read(path).with_context(|| format!("can't read `{}`", path.display()))?;
    let found = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        bail!("`{}` holds no certificate; it has to be a PEM file", path.display());
    }
    Ok(RootCerts::new_with_certs(&found))
}

/// The header that shows the token.
fn authorization(file: Option<&Path>) -> Result<HeaderValue> {
    let text = match file {
        Some(path) => {
            let mut text = Zeroizing::new(String::new());
            let read = std::fs::File::open(path).and_then(|file| file.take(MAX_TOKEN).read_to_string(&mut text));
            read.with_context(|| format!("can't read the admin token `{}`", path.display()))?;
            text
        }
        None => Zeroizing::new(std::env::var(ADMIN_TOKEN).map_err(|_| {
            anyhow!(
                "a host at a URL wants its admin token: name a file with `--admin-token-file FILE`, or set `{ADMIN_TOKEN}`; there, it \
                 is `keys/admin-token` in the data folder"
            )
        })?),
    };
    let text = Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| anyhow!("the admin token holds what no token may hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_to_nobody_on_the_way() {
        let token = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(token.path(), "tga_secret\n").expect("written");
        let refused = |url: &str| Api::at(url, Some(token.path()), None).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused("http://tools.example.com:7301").contains("must not travel without TLS"));
        for url in ["https://tools.example.com", "http://127.0.0.1:7301/", "http://localhost:7301", "https://a/prefix"] {
            assert_eq!(refused(url), "", "{url}");
        }
        for url in ["tools.example.com", "ftp://a", "https://user:secret@a", "https://a?x=1", "/x"] {
            let problem = refused(url);
            assert!(problem.contains("write for example") && !problem.contains("secret"), "{url}: {problem}");
        }
    }
}

//! Who the callers are: nobody, the bearer of one token, or principals with tokens that `tidegate dev` mints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, Semaphore};

use super::client::{Client, Trouble};
use super::dialect::plain_headers;
use super::endpoint::Endpoint;

/// Tokens minted at once.
const MINTERS: usize = 16;

/// How long minting one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who calls.
pub struct Principal {
    /// The subject, where it is known.
    pub subject: String,
    token: Mutex<Option<HeaderValue>>,
    is_minted: bool,
}

/// Where tokens come from.
pub struct Mint {
    endpoint: Endpoint,
    opening: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Minted {
    access_token: String,
}

impl Principal {
    /// Whoever holds this token; whoever the server takes us for without one.
    ///
    /// # Errors
    /// No header can hold the token.
    pub fn bearing(token: Option<&str>) -> Result<Self> {
        let token = match token.map(bearer) {
            Some(None) => bail!("the token holds characters that no header can"),
            Some(token) => token,
            None => None,
        };
        Ok(Self { subject: String::new(), token: Mutex::new(token), is_minted: false })
    }

    /// The header that tells who calls.
    pub async fn authorization(&self) -> Option<HeaderValue> {
        self.token.lock().await.clone()
    }

    /// Gets another token in place of `refused`, which counts no more; answers whether there is one.
    ///
    /// # Errors
    /// The mint does not answer.
    pub async fn renew(&self, mint: &Mint, refused: Option<&HeaderValue>) -> Result<bool, Trouble> {
        let mut token = self.token.lock().await;
        // Another caller of the same principal may have been here.
        if token.as_ref() != refused {
            return Ok(true);
        }
        if !self.is_minted {
            return Ok(false);
        }
        let mut client = mint.client();
        let minted = mint.token(&mut client, &self.subject).await?;
        let is_new = minted.is_some();
        *token = minted.or(token.take());
        Ok(is_new)
    }
}

impl Mint {
    /// The mint of the host that serves `endpoint`, at `path`.
    pub fn beside(endpoint: &Endpoint, path: &'static str, opening: Arc<Semaphore>) -> Self {
        Self { endpoint: endpoint.at(path), opening }
    }

    /// So many principals, each with a token.
    ///
    /// # Errors
    /// It mints none.
    pub async fn principals(self: &Arc<Self>, count: usize, prefix: &str) -> Result<Vec<Arc<Principal>>> {
        let next = Arc::new(AtomicUsize::new(1));
        let minters = (0..MINTERS.min(count)).map(|_| {
            let (mint, next, prefix) = (self.clone(), next.clone(), prefix.to_owned());
            tokio::spawn(async move {
                let mut client = mint.client();
                let mut minted = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > count {
                        return Ok::<_, Trouble>(minted);
                    }
                    let subject = format!("{prefix}{number}");
                    let token = mint.token(&mut client, &subject).await?;
                    let token = Mutex::new(Some(token.ok_or(Trouble::Broken)?));
                    minted.push((number, Arc::new(Principal { subject, token, is_minted: true })));
                }
            })
        });
        let mut principals = Vec::with_capacity(count);
        for minter in minters.collect::<Vec<_>>() {
            match minter.await.expect("a minter does not panic") {
                Ok(minted) => principals.extend(minted),
                Err(trouble) => bail!(
                    "`http://{}{}` mints no tokens ({}); principals need a host that was started with `tidegate dev`, others a `--token`",
                    self.endpoint.address,
                    self.endpoint.path,
                    trouble.as_str()
                ),
            }
        }
        principals.sort_unstable_by_key(|(number, _)| *number);
        Ok(principals.into_iter().map(|(_, principal)| principal).collect())
    }

    fn client(&self) -> Client {
        Client::new(self.endpoint.clone(), self.opening.clone())
    }

    /// A token for `subject` with every scope there is; `None` if it is refused.
    async fn token(&self, client: &mut Client, subject: &str) -> Result<Option<HeaderValue>, Trouble> {
        let body = Bytes::from(json!({ "subject": subject }).to_string());
        let heard = client.send(Method::POST, plain_headers(), body, PATIENCE).await?;
        if heard.status != StatusCode::OK {
            return Ok(None);
        }
        let minted: Option<Minted> = serde_json::from_slice(&heard.body).ok();
        Ok(minted.and_then(|minted| bearer(&minted.access_token)))
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

//! What lets the host in at a backend: a header, made of a secret that is kept elsewhere and may change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::error::OutboundError;
use super::headers;
use super::oauth::{ClientAuth, NoToken, Tokens};
use super::secret::{Keeper, Secret};
use super::tls::Ca;

/// How long what a file holds is taken for what it still holds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What lets the host in. The secret never stands in the configuration itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Credential {
    /// What it is; a header's whole value by default.
    pub kind: CredentialKind,
    /// The environment variable that holds the secret.
    pub env: Option<String>,
    /// The file that holds it; a line break at the end is ignored. It is read again when it changes.
    pub file: Option<PathBuf>,
    /// The header's name. `authorization` by default.
    pub header: Option<String>,
    /// The user, of `basic`.
    pub user: Option<String>,
    /// Where tokens are given out, of `oauth`: `https`, or this machine.
    pub token_url: Option<String>,
    /// Who the host is there, of `oauth`.
    pub client_id: Option<String>,
    /// How it proves that, of `oauth`: `basic` (the default), or `body` for servers that want the secret in the form.
    pub client_auth: Option<ClientAuth>,
    /// The scopes to ask for, of `oauth`, with spaces in between.
    pub scope: Option<String>,
    /// Whom the token is for, of `oauth`, for servers that ask for an `audience`.
    pub audience: Option<String>,
    /// Whom the token is for, of `oauth` (RFC 8707).
    pub resource: Option<String>,
    /// Who vouches for the certificate of `token_url`.
    pub ca: Option<Ca>,
}

/// What a credential is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// The secret is the header's whole value.
    #[default]
    Header,
    /// The secret is a bearer token (RFC 6750).
    Bearer,
    /// The secret is a password (RFC 7617).
    Basic,
    /// The secret gets the host tokens (RFC 6749 §4.4, client credentials), each for as long as it lasts.
    OAuth,
}

/// A credential ready to be sent.
pub(super) struct Badge {
    owner: String,
    /// The header it goes in.
    pub(super) header: HeaderName,
    source: Source,
}

enum Source {
    Kept { keeper: Keeper, form: Form, current: Mutex<Current> },
    Granted(Arc<Tokens>),
}

/// How a secret becomes a header's value.
enum Form {
    Whole,
    Bearer,
    Basic { user: String },
}

/// What the keeper gave last.
struct Current {
    value: HeaderValue,
    looked: Instant,
    /// Whether the last look found nothing of use.
    is_stale: bool,
}

impl Badge {
    /// Reads the secret of `owner`, where it is not one that only gets tokens.
    ///
    /// # Errors
    /// It is not there or cannot be sent, or the configuration makes no sense.
    pub(super) fn new(owner: &str, config: &Credential) -> Result<Self, OutboundError> {
        check(config).map_err(|problem| OutboundError::Credential { backend: owner.to_owned(), problem })?;
        let header = config.header.as_deref().unwrap_or(header::AUTHORIZATION.as_str());
        let Some(header) = HeaderName::from_bytes(header.as_bytes()).ok().filter(headers::can_carry_credential) else {
            return Err(OutboundError::Header { backend: owner.to_owned(), header: header.to_owned() });
        };
        let keeper = Keeper::of(owner, config.env.as_ref(), config.file.as_ref())?;
        let secret = keeper.read(owner)?;
        let form = match config.kind {
            CredentialKind::Header => Form::Whole,
            CredentialKind::Bearer => Form::Bearer,
            CredentialKind::Basic => Form::Basic { user: config.user.clone().unwrap_or_default() },
            CredentialKind::OAuth => {
                let source = Source::Granted(Tokens::new(owner, config, keeper)?);
                return Ok(Self { owner: owner.to_owned(), header, source });
            }
        };
        let value = form.value(&secret).ok_or_else(|| OutboundError::Value { backend: owner.to_owned() })?;
        let current = Mutex::new(Current { value, looked: Instant::now(), is_stale: false });
        Ok(Self { owner: owner.to_owned(), header, source: Source::Kept { keeper, form, current } })
    }

    /// The header's value as of now.
    ///
    /// # Errors
    /// No token is to be had `within` this time.
    pub(super) async fn value(&self, within: Duration) -> Result<HeaderValue, NoToken> {
        match &self.source {
            Source::Granted(tokens) => tokens.current(within).await,
            Source::Kept { current, .. } => {
                self.look(LOOK_AGAIN).await;
                Ok(locked(current).value.clone())
            }
        }
    }

    /// The backend refused `used`: whether there is another value `within` this time, worth a second try.
    pub(super) async fn is_renewed(&self, used: &HeaderValue, within: Duration) -> bool {
        match &self.source {
            Source::Granted(tokens) => tokens.replace(used, within).await,
            Source::Kept { current, .. } => {
                self.look(Duration::ZERO).await;
                locked(current).value != used
            }
        }
    }

    /// Reads the file again if the last look is `age` old. What was read before stays until there is something better.
    async fn look(&self, age: Duration) {
        let Source::Kept { keeper: keeper @ Keeper::File(path), form, current } = &self.source else { return };
        {
            let mut current = locked(current);
            if current.looked.elapsed() < age {
                return;
            }
            // Whoever comes meanwhile goes with what is there.
            current.looked = Instant::now();
        }
        let (keeper, owner) = (keeper.clone(), self.owner.clone());
        let read = tokio::task::spawn_blocking(move || keeper.read(&owner)).await;
        let value = read.ok().and_then(Result::ok).and_then(|secret| form.value(&secret));
        let mut current = locked(current);
        match value {
            Some(value) if value == current.value => current.is_stale = false,
            Some(value) => {
                tracing::info!(backend = self.owner, file = %path.display(), "the credential was replaced");
                *current = Current { value, looked: Instant::now(), is_stale: false };
            }
            None if current.is_stale => {}
            None => {
                current.is_stale = true;
                tracing::warn!(
                    backend = self.owner, file = %path.display(),
                    "the file of a credential holds none any more; the one it held before stays in use"
                );
            }
        }
    }
}

fn locked(current: &Mutex<Current>) -> std::sync::MutexGuard<'_, Current> {
    // Nothing in it can be half changed.
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Form {
    fn value(&self, secret: &Secret) -> Option<HeaderValue> {
        match self {
            Self::Whole => secret.header(""),
            Self::Bearer => secret.header("Bearer "),
            Self::Basic { user } => Some(basic(user, secret.expose())?).and_then(|secret| secret.header("Basic ")),
        }
    }
}

/// User and password as one secret (RFC 7617 §2); `None` without a password.
pub(super) fn basic(user: &str, password: &str) -> Option<Secret> {
    let pair = Zeroizing::new([user, ":", password].concat());
    (!password.is_empty()).then(|| Secret::new(STANDARD.encode(pair.as_bytes())))
}

/// What a credential of its kind needs, and what says nothing to it.
fn check(config: &Credential) -> Result<(), String> {
    let is_oauth = config.kind == CredentialKind::OAuth;
    let kind = format!("{:?}", config.kind).to_lowercase();
    let only_oauth = [
        ("token_url", config.token_url.is_some()),
        ("client_id", config.client_id.is_some()),
        ("client_auth", config.client_auth.is_some()),
        ("scope", config.scope.is_some()),
        ("audience", config.audience.is_some()),
        ("resource", config.resource.is_some()),
        ("ca", config.ca.is_some()),
    ];
    if let Some((key, _)) = only_oauth.iter().find(|(_, is_set)| *is_set && !is_oauth) {
        return Err(format!("`{key}` says nothing to one of kind `{kind}`; remove it, or set `kind = \"oauth\"`"));
    }
    for (key, value) in [("token_url", &config.token_url), ("client_id", &config.client_id)] {
        if is_oauth && value.is_none() {
            return Err(format!("one of kind `oauth` needs a `{key}`"));
        }
    }
    match (&config.user, config.kind) {
        (None, CredentialKind::Basic) => Err("one of kind `basic` needs a `user`".to_owned()),
        (Some(user), CredentialKind::Basic) if user.contains(':') => Err("a `user` cannot hold a `:` (RFC 7617 §2)".to_owned()),
        (Some(_), kind) if kind != CredentialKind::Basic => {
            Err("`user` says nothing but to one of kind `basic`; remove it, or set `kind = \"basic\"`".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Credential {
        toml::from_str(toml).expect("well formed")
    }

    fn problem(toml: &str) -> String {
        Badge::new("billing", &config(toml)).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn kept(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("secret");
        std::fs::write(&path, text).expect("it can be written to");
        (folder, path)
    }

    #[tokio::test]
    async fn each_kind_makes_its_header_and_none_is_printed() {
        let (_folder, path) = kept("s3cret\n");
        for (toml, header, value) in [
            ("", "authorization", "s3cret"),
            ("header = \"X-Api-Key\"\n", "x-api-key", "s3cret"),
            ("kind = \"bearer\"\n", "authorization", "Bearer s3cret"),
            ("kind = \"basic\"\nuser = \"me\"\n", "authorization", "Basic bWU6czNjcmV0"),
        ] {
            let badge = Badge::new("billing", &config(&format!("{toml}file = \"{}\"", path.display()))).expect("it is there");
            let sent = badge.value(Duration::ZERO).await.expect("no token is needed");
            assert_eq!((badge.header.as_str(), sent.as_bytes()), (header, value.as_bytes()));
            assert!(!format!("{sent:?}").contains(value), "{sent:?}");
        }
        assert_eq!(format!("{:?}", Secret::new("s3cret".into())), "Secret");
    }

    #[test]
    fn what_makes_no_sense_is_told_in_words() {
        let (_folder, path) = kept("two\nlines");
        for (toml, said) in [
            ("", "either `env`"),
            ("env = \"A\"\nfile = \"b\"", "either `env`"),
            ("env = \"TIDEGATE_NO_SUCH_VARIABLE\"", "`TIDEGATE_NO_SUCH_VARIABLE`, which holds its credential, is not set"),
            ("file = \"/no/such/file\"", "reading its credential from `/no/such/file`"),
            ("env = \"PATH\"\nheader = \"host\"", "`host` is not an HTTP header that can carry a credential"),
            ("env = \"PATH\"\nkind = \"basic\"", "needs a `user`"),
            ("env = \"PATH\"\nuser = \"me\"", "`user` says nothing but to one of kind `basic`"),
            ("env = \"PATH\"\nkind = \"basic\"\nuser = \"a:b\"", "cannot hold a `:`"),
            ("env = \"PATH\"\nscope = \"a\"", "`scope` says nothing to one of kind `header`"),
            ("env = \"PATH\"\nkind = \"oauth\"", "needs a `token_url`"),
            ("env = \"PATH\"\nkind = \"oauth\"\ntoken_url = \"https://id.example/token\"", "needs a `client_id`"),
            ("env = \"PATH\"\nkind = \"oauth\"\nclient_id = \"a\"\ntoken_url = \"http://id.example/token\"", "is not `https`"),
        ] {
            let problem = problem(toml);
            assert!(problem.contains(said), "{toml}: {problem}");
        }
        assert!(problem(&format!("file = \"{}\"", path.display())).contains("line break"));
        assert!(toml::from_str::<Credential>("kind = \"digest\"").is_err());
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again_and_one_that_breaks_is_not_taken() {
        let (_folder, path) = kept("first");
        let badge = Badge::new("billing", &config(&format!("file = \"{}\"", path.display()))).expect("it is there");
        let first = badge.value(Duration::ZERO).await.expect("no token is needed");
        assert!(!badge.is_renewed(&first, Duration::ZERO).await);
        std::fs::write(&path, "second").expect("it can be written to");
        assert!(badge.is_renewed(&first, Duration::ZERO).await);
        assert_eq!(badge.value(Duration::ZERO).await.expect("no token is needed"), "second");
        std::fs::remove_file(&path).expect("it can be removed");
        badge.look(Duration::ZERO).await;
        assert_eq!(badge.value(Duration::ZERO).await.expect("no token is needed"), "second", "the old one stays");
    }
}

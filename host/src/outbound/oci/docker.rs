//! Who we are to a registry, as `docker login` keeps it: in docker's `config.json`, or in a credential helper it names.

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use zeroize::Zeroizing;

use super::Login;
use crate::outbound::DownloadError;

/// The longest that a credential helper may take; it may ask its user.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest `config.json` that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What is kept for `registry`; nobody if there is nothing.
pub(super) async fn login(registry: &str) -> Result<Login, DownloadError> {
    // The name that `docker login` keeps Docker Hub under.
    let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }.to_owned();
    let problem = |problem: String| DownloadError::Credentials { registry: registry.to_owned(), problem };
    let asked = tokio::task::spawn_blocking(move || read(&server));
    let answered = tokio::time::timeout(HELPER_TIMEOUT, asked).await;
    let answered = answered.map_err(|_| problem(format!("the credential helper took longer than {HELPER_TIMEOUT:?}")))?;
    answered.expect("it reports errors instead of panicking").map_err(problem)
}

fn read(server: &str) -> Result<Login, String> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".docker")));
    let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Ok(Login::Anonymous) };
    let file = match File::open(&path) {
        Ok(file) => file.take(MAX_FILE),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Login::Anonymous),
        Err(error) => return Err(format!("can't read `{}`: {error}", path.display())),
    };
    match docker_credential::get_credential_from_reader(file, server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Login::Basic(user, Zeroizing::new(password))),
        Ok(DockerCredential::IdentityToken(_)) => {
            Err("it is an identity token, which is not supported; log in with a user and an access token".to_owned())
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Login::Anonymous),
        // What a helper says that knows nothing of this registry; that it is on stdout is the protocol of helpers.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(Login::Anonymous)
        }
        // Its output is not repeated: it may be half a secret.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            Err(format!("`{helper}`, which `{}` names, failed; run `docker login`", path.display()))
        }
        Err(error) => Err(format!("`{}`: {error}", path.display())),
    }
}

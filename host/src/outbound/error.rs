//! What is wrong with the operator's backends.

use std::path::PathBuf;

/// Why a backend cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The name could not stand in a URL.
    #[error("`{0}` cannot be the name of a backend; use lower-case letters, digits and `-`")]
    Name(String),
    /// The URL is not one a backend can have.
    #[error("backend `{backend}`: `{url}` cannot be its url: {problem}; write for example \"https://billing.example.com/v1\"")]
    Url {
        /// The backend.
        backend: String,
        /// The URL, without what might be a password in it.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Its breaker or its retries could never do what they are for.
    #[error("`[backends.{backend}.{table}]`: {problem}")]
    Limits {
        /// The backend.
        backend: String,
        /// `breaker` or `retry`.
        table: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The URL is not one a collector can have.
    #[error("`{url}` cannot be the url of a collector: {problem}; write for example \"http://127.0.0.1:4318\"")]
    Collector {
        /// The URL, without what might be a password in it.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The credential's header is not a header.
    #[error("backend `{backend}`: `{header}` is not an HTTP header that can carry a credential")]
    Header {
        /// The backend.
        backend: String,
        /// The header's name.
        header: String,
    },
    /// The credential comes from nowhere, or from two places.
    #[error("backend `{backend}`: `credential` needs either `env` (the name of a variable) or `file` (a path)")]
    CredentialSource {
        /// The backend.
        backend: String,
    },
    /// The credential's settings make no sense.
    #[error("backend `{backend}`: its `credential`: {problem}")]
    Credential {
        /// The backend.
        backend: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A setting that can't be meant, or a file that does not hold what it should.
    #[error("backend `{backend}`: {problem}")]
    Setting {
        /// The backend.
        backend: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The variable is not set.
    #[error("backend `{backend}`: the environment variable `{variable}`, which holds its credential, is not set")]
    Variable {
        /// The backend.
        backend: String,
        /// The variable.
        variable: String,
    },
    /// The file cannot be read.
    #[error("backend `{backend}`: reading its credential from `{}`: {source}", path.display())]
    File {
        /// The backend.
        backend: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The credential holds a line break or another control character.
    #[error("backend `{backend}`: its credential cannot be sent in a header; is there a line break in it?")]
    Value {
        /// The backend.
        backend: String,
    },
}

//! Attempts to reach what a guest must not have: the surroundings of the process, and addresses of its own choice.

use std::collections::BTreeMap;
use std::io::Read;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_plugin_sdk::{Context, Failure, NoInput, Tool};

use crate::raw;

/// Tells all it can see of the host.
pub(crate) struct DumpEnvironment;

/// What it saw. In a sandbox: nothing.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Surroundings {
    /// Environment variables.
    environment: BTreeMap<String, String>,
    /// Arguments of the process.
    arguments: Vec<String>,
    /// Folders that were opened for the guest.
    folders: Vec<String>,
    /// What `/` holds.
    root: Vec<String>,
    /// What `/etc/passwd` holds, in bytes.
    passwd_bytes: usize,
    /// What standard input holds, in bytes.
    stdin_bytes: usize,
}

impl Tool for DumpEnvironment {
    const NAME: &'static str = "dump_environment";
    const DESCRIPTION: &'static str = "Returns everything it can see of the machine it runs on.";
    type Input = NoInput;
    type Output = Surroundings;

    fn call(_: NoInput, _: &Context) -> Result<Surroundings, Failure> {
        let mut stdin = [0; 64];
        let root = std::fs::read_dir("/").into_iter().flatten().flatten();
        Ok(Surroundings {
            environment: std::env::vars().collect(),
            arguments: std::env::args().collect(),
            folders: raw::folders()?,
            root: root.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
            passwd_bytes: std::fs::read("/etc/passwd").map_or(0, |bytes| bytes.len()),
            stdin_bytes: std::io::stdin().read(&mut stdin).unwrap_or(0),
        })
    }
}

/// Requests any URL.
pub(crate) struct Fetch;

/// Which URL, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Such as `http://127.0.0.1:7301/metrics`.
    url: String,
    /// The method; GET unless said otherwise.
    method: Option<String>,
    /// Headers to smuggle in, such as `Host`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What to send.
    #[serde(default)]
    body: String,
    /// Whether to go by the SDK, as honest tools do; `url` is a backend or an origin then.
    #[serde(default)]
    by_sdk: bool,
}

/// Requests any URL, as a tool that may change something.
pub(crate) struct Change;

impl Tool for Change {
    const NAME: &'static str = "change";
    const DESCRIPTION: &'static str = "Requests the given URL, whatever it is, to change something there.";
    type Input = Wanted;
    type Output = Fetched;

    fn call(wanted: Wanted, context: &Context) -> Result<Fetched, Failure> {
        let fetched = Fetch::call(wanted, context)?;
        match fetched.status {
            // A change that was not made is no success, or the host would say so in words of its own.
            400.. => Err(Failure::failed(format!("status {}", fetched.status))),
            _ => Ok(fetched),
        }
    }
}

/// What came back.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Fetched {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body, as far as it is text.
    pub(crate) body: String,
    /// The headers that the host did not take.
    pub(crate) refused: Vec<String>,
}

impl Tool for Fetch {
    const NAME: &'static str = "fetch";
    const DESCRIPTION: &'static str = "Requests the given URL, whatever it is.";
    type Input = Wanted;
    type Output = Fetched;

    fn call(wanted: Wanted, context: &Context) -> Result<Fetched, Failure> {
        if !wanted.by_sdk {
            return raw::fetch(&wanted.url, wanted.method.as_deref(), &wanted.headers, &wanted.body);
        }
        let response = context.backend(&wanted.url).get(&[]).send()?;
        let body = String::from_utf8_lossy(response.bytes()).into_owned();
        Ok(Fetched { status: response.status(), headers: BTreeMap::new(), body, refused: Vec::new() })
    }
}

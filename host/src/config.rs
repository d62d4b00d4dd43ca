//! `tidegate.toml`: every module's own config, overridden by `TIDEGATE_…`, overridden by flags.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::admission::AdmissionConfig;
use crate::auth::{IssuerConfig, TokenLimits};
use crate::ledger::LedgerConfig;
use crate::model::{Bytes, Digest, DocumentError, Scope, Span, document};
use crate::outbound::{BackendConfig, OriginsConfig};
use crate::registry::artifact::Unsigned;
use crate::registry::installed::{DEFAULT_FOLDER, read_digest};
use crate::sandbox::SandboxConfig;
use crate::server::{AdminConfig, HttpConfig, StdioConfig};
use crate::store::StoreConfig;
use crate::telemetry::TelemetryConfig;

/// The whole configuration. Unknown keys are errors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file that it was read from, if there is one.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// The folder that holds the store, the keys and the control socket.
    pub data: Option<PathBuf>,
    /// `[plugins]`
    pub plugins: PluginsConfig,
    /// `[policies]`
    pub policies: PoliciesConfig,
    /// `[backends.<name>]`: what plugins may reach, by the names their manifests use.
    pub backends: BTreeMap<String, BackendConfig>,
    /// `[origins]`: what plugins may reach by its own address.
    pub origins: OriginsConfig,
    /// `[server]`
    pub server: HttpConfig,
    /// `[stdio]`
    pub stdio: StdioConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[admission]`
    pub admission: AdmissionConfig,
    /// `[sandbox]`
    pub sandbox: SandboxConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[ledger]`
    pub ledger: LedgerConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
}

/// `[plugins]`: where the plugins lie, whose are let in, and which ones may be served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// A folder of plugin folders, or one plugin folder. Installed plugins are served besides.
    pub path: PathBuf,
    /// Whether what changes there takes effect by itself. By default only under `dev`: who puts a new version live says when, with
    /// `tidegate plugin reload` or SIGHUP.
    pub watch: Option<bool>,
    /// `[plugins.pins]`: the digest that a plugin must have, by its name. None by default.
    pub pins: BTreeMap<String, Pin>,
    /// The file of standing approvals: how far plugins may widen without anybody being asked. None by default.
    pub approvals: Option<PathBuf>,
    /// How many versions of each installed plugin are kept, with the one in force. Default 5.
    pub keep: NonZeroUsize,
    /// The trust file: whose signatures count. Nobody's without one.
    pub trust: Option<PathBuf>,
    /// Whether a plugin may be installed that nobody vouches for who is trusted.
    pub unsigned: Unsigned,
    /// Whether nothing is served, from the folder neither, that nobody has signed who is trusted. Not by default.
    pub require_signatures: bool,
    /// The longest that fetching a plugin may take altogether.
    pub fetch_timeout: Span,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            path: DEFAULT_FOLDER.into(),
            watch: None,
            pins: BTreeMap::new(),
            approvals: None,
            keep: NonZeroUsize::new(5).expect("five is not zero"),
            trust: None,
            unsigned: Unsigned::default(),
            require_signatures: false,
            fetch_timeout: Span::seconds(120),
        }
    }
}

/// A digest as configs write it, `"sha256:…"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub Digest);

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_digest(&String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

/// `[policies]`: where the operator's own policies lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoliciesConfig {
    /// A folder of `*.cedar` files; `policies` beside the plugins by default, if there is such a folder.
    pub path: Option<PathBuf>,
    /// Whether the folder need not be there, and counts from when it comes: for verbs that choose it themselves.
    #[serde(skip)]
    pub awaited: bool,
    /// Whether permits are generated from the manifests. Without them, only the operator's own policies permit anything.
    pub generate: bool,
}

impl Default for PoliciesConfig {
    fn default() -> Self {
        Self { path: None, awaited: false, generate: true }
    }
}

/// `[auth]`: who callers are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// `[auth.issuers.<name>]`: whose tokens count over HTTP.
    pub issuers: BTreeMap<String, IssuerConfig>,
    /// The longest token that is looked at.
    pub max_token: Bytes,
    /// The memory for tokens that were verified already.
    pub cache: Bytes,
    /// How long a verified token is taken for verified without looking again; never longer than it lasts.
    pub cache_for: Span,
    /// Who callers without credentials are; nobody by default. Only with `--insecure-no-auth`, on loopback.
    pub anonymous: Option<PrincipalConfig>,
    /// Who the local user is, over stdio and the control socket; `local` with what the loaded manifests declare by default.
    pub local: Option<PrincipalConfig>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        let TokenLimits { max_token, cache, cache_for } = TokenLimits::default();
        Self { issuers: BTreeMap::new(), max_token, cache, cache_for, anonymous: None, local: None }
    }
}

impl AuthConfig {
    /// The limits on tokens, whoever issued them.
    pub fn limits(&self) -> TokenLimits {
        TokenLimits { max_token: self.max_token, cache: self.cache, cache_for: self.cache_for }
    }
}

/// A principal that the operator vouches for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalConfig {
    /// The subject.
    pub subject: String,
    /// The scopes held; all that the loaded manifests declare if absent.
    pub scopes: Option<Vec<Scope>>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The OAuth client it is taken to act through.
    pub client: Option<String>,
    /// Its groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Further claims.
    #[serde(default)]
    pub claims: BTreeMap<String, serde_json::Value>,
}

impl Default for PrincipalConfig {
    fn default() -> Self {
        Self { subject: "local".into(), scopes: None, tenant: None, client: None, groups: Vec::new(), claims: BTreeMap::new() }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the config `{}`: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The file is broken.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An environment variable is broken.
    #[error("the environment variable `{name}`: {problem}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The prefix of environment variables; `__` stands for the dot: `TIDEGATE_ADMISSION__SLOTS=128`.
const PREFIX: &str = "TIDEGATE_";

/// The token of `tidegate call`: a secret of the caller's, no setting.
const TOKEN: &str = "TIDEGATE_TOKEN";

/// The admin token of whoever asks a host over its admin API: as little a setting.
pub const ADMIN_TOKEN: &str = "TIDEGATE_ADMIN_TOKEN";

impl Config {
    /// Reads `file` (or `tidegate.toml` here, if it exists, or the defaults), then applies the environment.
    ///
    /// # Errors
    /// The file can't be read or is broken, or a variable does not fit.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let default = Path::new("tidegate.toml");
        let (path, text) = match file {
            Some(path) => (path, read(path)?),
            None if default.exists() => (default, read(default)?),
            None => (default, String::new()),
        };
        let own = path.exists().then(|| path.to_owned());
        let config = Self { file: own.clone(), ..document::parse(path, &text)? };
        let variables: Vec<_> =
            environment.filter(|(name, _)| name.starts_with(PREFIX) && ![TOKEN, ADMIN_TOKEN].contains(&name.as_str())).collect();
        if variables.is_empty() {
            return Ok(config);
        }
        let file: toml::Table = document::parse(path, &text)?;
        // Only all variables together need to make sense; if they don't, the first one that breaks things is to blame.
        let config = overridden(file.clone(), &variables).map_err(|error| {
            let blamed = (1..=variables.len()).find_map(|count| overridden(file.clone(), &variables[..count]).err());
            blamed.unwrap_or(error)
        })?;
        Ok(Self { file: own, ..config })
    }
}

impl Config {
    /// The folder of policies that counts: the configured one, else `policies` beside the plugins if there is such a folder.
    pub fn policy_folder(&self) -> Option<PathBuf> {
        self.policies.path.clone().or_else(|| Some(self.policies_beside()).filter(|beside| beside.is_dir()))
    }

    /// Where policies lie beside the plugins, if they do.
    pub fn policies_beside(&self) -> PathBuf {
        // `./x/.` and `x/..` have no name of their own to stand beside.
        let plugins = self.plugins.path.canonicalize().ok().filter(|_| self.plugins.path.file_name().is_none());
        plugins.as_ref().unwrap_or(&self.plugins.path).with_file_name("policies")
    }

    /// Defines the backend `name` as `url`, with whatever else the file says of it.
    pub fn set_backend(&mut self, name: &str, url: &str) {
        self.backends.entry(name.to_owned()).or_insert_with(|| BackendConfig::at(url)).set_url(url);
    }
}

/// The configuration that `table` and the variables make together.
fn overridden(mut table: toml::Table, variables: &[(String, String)]) -> Result<Config, ConfigError> {
    let mut last = String::new();
    for (name, value) in variables {
        set(&mut table, &name[PREFIX.len()..].to_ascii_lowercase(), value)
            .map_err(|problem| ConfigError::Variable { name: name.clone(), problem })?;
        last.clone_from(name);
    }
    table
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Variable { name: last, problem: error.message().trim().to_owned() })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

/// Sets `section__key` in `table`. The value is TOML if it reads as TOML, and text otherwise.
fn set(table: &mut toml::Table, path: &str, value: &str) -> Result<(), String> {
    let mut keys: Vec<&str> = path.split("__").collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or("it names no key")?;
    let mut table = table;
    for key in keys {
        let entry = table.entry(key).or_insert_with(|| toml::Table::new().into());
        table = entry.as_table_mut().ok_or_else(|| format!("`{key}` is not a section"))?;
    }
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut parsed| parsed.remove("v"));
    table.insert(last.to_owned(), parsed.unwrap_or_else(|| value.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(None, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_overrides_the_file_by_section_and_key() {
        let config = with(&[("TIDEGATE_ADMISSION__SLOTS", "7"), ("TIDEGATE_BACKENDS__BILLING__URL", "http://127.0.0.1:9")]);
        let config = config.expect("both fit");
        assert_eq!(config.admission.slots, 7);
        assert!(config.backends.contains_key("billing"));
    }

    #[test]
    fn the_local_user_may_come_from_the_environment() {
        let config = with(&[
            ("TIDEGATE_AUTH__LOCAL__SUBJECT", "u2"),
            ("TIDEGATE_AUTH__LOCAL__SCOPES", "[\"read:invoices\"]"),
            ("TIDEGATE_AUTH__LOCAL__GROUPS", "[\"finance\"]"),
            ("TIDEGATE_AUTH__LOCAL__TENANT", "acme"),
            ("TIDEGATE_AUTH__LOCAL__CLAIMS__PAY_LIMIT", "500"),
        ]);
        let local = config.expect("all fit").auth.local.expect("the environment sets it");
        assert_eq!((local.subject.as_str(), local.tenant.as_deref(), local.groups), ("u2", Some("acme"), vec!["finance".into()]));
        assert_eq!((local.scopes.map(|scopes| scopes.len()), &local.claims["pay_limit"]), (Some(1), &serde_json::json!(500)));
    }

    #[test]
    fn an_issuer_may_come_from_the_environment() {
        let config = with(&[
            ("TIDEGATE_AUTH__ISSUERS__CORP__ISSUER", "https://id.example.com"),
            ("TIDEGATE_AUTH__ISSUERS__CORP__AUDIENCE", "https://tools.example.com/mcp"),
        ]);
        let issuers = config.expect("both fit").auth.issuers;
        assert_eq!(issuers["corp"].audience, ["https://tools.example.com/mcp"]);
    }

    #[test]
    fn policies_beside_the_plugins_count_unless_others_are_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.plugins.path = dir.path().join("plugins");
        assert_eq!(config.policy_folder(), None);
        let beside = dir.path().join("policies");
        std::fs::create_dir(&beside).expect("writable");
        assert_eq!(config.policy_folder(), Some(beside));
        config.policies.path = Some("elsewhere".into());
        assert_eq!(config.policy_folder(), Some("elsewhere".into()), "and its absence is an error, not a reason to look on");
    }

    #[test]
    fn the_examples_for_operators_are_configurations() {
        let text = include_str!("../../docs/backends.md");
        let examples: Vec<_> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(examples.len(), 4);
        for example in examples {
            // What is commented out is an example, too; a table is named before its keys, as in the text.
            let whole = example.replace("\n# ", "\n");
            let backend = "[backends.a]\nurl = \"http://a\"\n[backends.b]\nurl = \"http://b\"\n[backends.c]\nurl = \"http://c\"\n\
                           [backends.d]\nurl = \"http://d\"\n";
            for text in [example, &whole] {
                let text = if text.contains("credential]") { format!("{backend}{text}") } else { text.to_owned() };
                toml::from_str::<Config>(&text).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    #[test]
    fn the_callers_token_is_no_setting() {
        assert!(with(&[("TIDEGATE_TOKEN", "secret"), ("TIDEGATE_ADMIN_TOKEN", "secret")]).is_ok());
    }

    #[test]
    fn a_variable_that_fits_nothing_is_named() {
        let error = with(&[("TIDEGATE_ADMISSION__SLOT", "7")]).expect_err("misspelt").to_string();
        assert!(error.contains("TIDEGATE_ADMISSION__SLOT") && error.contains("unknown field"), "{error}");
    }
}

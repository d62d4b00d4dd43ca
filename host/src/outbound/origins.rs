//! Literal origins that the operator allows: `[origins]` in `tidegate.toml`.

use serde::{Deserialize, Deserializer};

use super::backend::{Backend, BackendConfig, Reach, parse_url};
use super::error::OutboundError;
use super::resolve::Lookup;
use crate::model::Origin;

/// `[origins]`: what plugins may reach by its own address, if their manifests name it too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OriginsConfig {
    /// The origins.
    pub allow: Vec<AllowedOrigin>,
}

/// One of them: `"https://api.example.com"`, or a table with `origin`, `private` and the limits that backends have.
#[derive(Clone, Debug)]
pub struct AllowedOrigin {
    /// The origin.
    pub origin: Origin,
    /// Whether it may be on a private network, or on this very machine.
    pub is_private: bool,
    /// Its limits.
    pub limits: BackendConfig,
}

/// What says nothing to an origin: the guest knows no secret of it, and neither does the host.
const BACKENDS_ONLY: [&str; 3] = ["url", "credential", "keyed_for"];

impl<'de> Deserialize<'de> for AllowedOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut table = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(origin) => toml::Table::from_iter([("origin".to_owned(), toml::Value::String(origin))]),
            toml::Value::Table(table) => table,
            other => {
                let problem = format!("`{other}` is neither an origin such as \"https://api.example.com\" nor a table with one");
                return Err(D::Error::custom(problem));
            }
        };
        if let Some(key) = BACKENDS_ONLY.iter().find(|key| table.contains_key(**key)) {
            let problem =
                format!("an origin has no `{key}`; define a backend, which plugins reach by a name of yours, if it needs one");
            return Err(D::Error::custom(problem));
        }
        let origin = table.remove("origin").ok_or_else(|| D::Error::missing_field("origin"))?;
        let origin: Origin = origin.try_into().map_err(D::Error::custom)?;
        let is_private = table.remove("private").map_or(Ok(false), toml::Value::try_into).map_err(D::Error::custom)?;
        if is_private && origin.is_everything() {
            let problem = format!(
                "`private` with `{origin}` would open your whole network to plugins; name the private origins that they may reach"
            );
            return Err(D::Error::custom(problem));
        }
        table.insert("url".to_owned(), origin.to_string().into());
        let limits = toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| D::Error::custom(error.message()))?;
        Ok(Self { origin, is_private, limits })
    }
}

impl AllowedOrigin {
    /// The origin, ready to be sent to.
    pub(super) fn backend(&self, lookup: Lookup) -> Result<Backend, OutboundError> {
        let name = self.origin.to_string();
        // Whom a request goes to is read from the request: this one may stand for many.
        let place =
            parse_url(&name).map_err(|problem| OutboundError::Url { backend: name.clone(), url: name.clone(), problem })?;
        let reach = if self.is_private { Reach::AnyOrigin } else { Reach::PublicOrigin };
        Backend::at(&name, place, &self.limits, reach, lookup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(toml: &str) -> String {
        toml::from_str::<OriginsConfig>(toml).err().map(|error| error.message().to_owned()).unwrap_or_default()
    }

    #[test]
    fn an_origin_is_a_text_or_a_table_with_limits() {
        let config: OriginsConfig = toml::from_str(
            "allow = [\"https://api.example.com\", { origin = \"http://10.0.0.7:8080\", private = true, timeout = \"2s\" }]",
        )
        .expect("well formed");
        let [first, second] = &config.allow[..] else { panic!("{config:?}") };
        assert_eq!((first.origin.to_string().as_str(), first.is_private), ("https://api.example.com", false));
        assert_eq!((second.origin.to_string().as_str(), second.is_private), ("http://10.0.0.7:8080", true));
        assert_eq!(second.limits.timeout, crate::model::Span::seconds(2));
    }

    #[test]
    fn what_is_no_origin_or_says_nothing_to_one_is_refused_with_a_reason() {
        for (toml, said) in [
            ("allow = [\"api.example.com\"]", "`api.example.com` is not an origin: it has no scheme"),
            ("allow = [7]", "neither an origin"),
            ("allow = [{ private = true }]", "missing field `origin`"),
            ("allow = [{ origin = \"https://a.example\", private = \"yes\" }]", "boolean"),
            ("allow = [{ origin = \"https://a.example\", timout = \"1s\" }]", "unknown field `timout`"),
            ("allow = [{ origin = \"https://a.example\", credential = { env = \"A\" } }]", "an origin has no `credential`"),
            ("allow = [{ origin = \"https://*\", private = true }]", "would open your whole network"),
            ("allowed = []", "unknown field `allowed`"),
        ] {
            assert!(problem(toml).contains(said), "{toml}: {}", problem(toml));
        }
    }
}

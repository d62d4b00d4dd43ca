//! What a caller is told whose tool asked for a place that it may not reach.

use http::Uri;

use super::route::Reachable;

/// The most origins that are named.
const MAX_NAMED: usize = 16;
/// The longest part of what was asked for that is repeated.
const MAX_TARGET: usize = 128;

/// What was asked for, and what there is instead. Names no backend and no private origin: those are the operator's own.
pub(super) fn in_words(uri: &Uri, reachable: &Reachable) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    // Whatever stands before an `@` may be a password.
    let host = uri.authority().map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let target = format!("{scheme}://{}", &host[..host.floor_char_boundary(MAX_TARGET)]);
    let origins: Vec<_> = reachable.iter().filter(|(_, backend)| backend.is_origin).collect();
    let public: Vec<_> =
        origins.iter().filter(|(_, backend)| backend.exchange.is_public_only()).map(|(name, _)| name.as_str()).collect();
    if public.is_empty() && origins.is_empty() {
        return format!(
            "this host lets the tool reach no origins, so not `{target}`; its operator can add it to `allow` under `[origins]`"
        );
    }
    let mut named: Vec<_> = public.iter().take(MAX_NAMED).map(|name| format!("`{name}`")).collect();
    let others = origins.len() - named.len();
    if others > 0 {
        named.push(if named.is_empty() { format!("{others} that are private") } else { format!("{others} more") });
    }
    format!("`{target}` is not among the origins that this host lets the tool reach: {}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{OriginsConfig, backend::Backend, resolve};
    use super::*;

    fn told(allow: &str, asked: &str) -> String {
        let config: OriginsConfig = toml::from_str(&format!("allow = {allow}")).expect("well formed");
        let backend = |allowed: &super::super::origins::AllowedOrigin| -> Arc<Backend> {
            Arc::new(allowed.backend(resolve::system()).expect("no files are needed"))
        };
        let reachable = config.allow.iter().map(|allowed| (allowed.origin.to_string(), backend(allowed))).collect();
        in_words(&asked.parse().expect("a URL"), &reachable)
    }

    #[test]
    fn public_origins_are_named_and_private_ones_counted() {
        let said = told(
            "[\"https://a.example\", \"https://*.b.example\", { origin = \"http://10.0.0.7\", private = true }]",
            "https://user:secret@evil.example/x",
        );
        assert_eq!(
            said,
            "`https://evil.example` is not among the origins that this host lets the tool reach: `https://*.b.example`, \
             `https://a.example`, 1 more"
        );
        let said = told("[{ origin = \"http://10.0.0.7\", private = true }]", "http://10.0.0.8");
        assert!(said.ends_with("reach: 1 that are private") && !said.contains("10.0.0.7"), "{said}");
    }

    #[test]
    fn where_nothing_is_allowed_the_operators_key_is_named() {
        let said = told("[]", "https://a.example/");
        assert!(said.contains("no origins") && said.contains("`allow` under `[origins]`"), "{said}");
    }

    #[test]
    fn a_long_list_is_cut_off() {
        let many: Vec<_> = (0..40).map(|n| format!("\"https://a{n}.example\"")).collect();
        let said = told(&format!("[{}]", many.join(",")), "https://b.example");
        assert!(said.ends_with(", 24 more"), "{said}");
    }
}

//! What a server does not want programs to fetch: its `robots.txt` (RFC 9309).

use robotstxt::DefaultMatcher;
use tidegate_plugin_sdk::{Context, Failure, code};
use url::Url;

use crate::page;

/// The name that rules may be addressed to.
const AGENT: &str = "Tidegate";

/// How much of the file counts, in bytes; RFC 9309 §2.5 asks for at least 500 KiB.
const MAX_RULES: usize = 500 << 10;

/// The rules of the server asked last.
#[derive(Default)]
pub(crate) struct Robots {
    known: Option<(String, String)>,
}

impl Robots {
    /// Whether `url` may be fetched by a program on its own.
    ///
    /// A server without rules allows everything, one that keeps them from us allows nothing (as in the reference server), and one
    /// that is in trouble is not asked for more (RFC 9309 §2.3.1).
    pub(crate) fn check(&mut self, url: &Url, context: &Context) -> Result<(), Failure> {
        let origin = url.origin().ascii_serialization();
        let is_known = self.known.as_ref().is_some_and(|(of, _)| *of == origin);
        if !is_known {
            self.known = Some((origin, rules(url, context)?));
        }
        let rules = self.known.as_ref().map(|(_, rules)| rules.as_str()).unwrap_or_default();
        if DefaultMatcher::default().one_agent_allowed_by_robots(rules, AGENT, url.as_str()) {
            return Ok(());
        }
        Err(refused(url, "its robots.txt asks programs not to fetch this page; a person may open it"))
    }
}

fn refused(url: &Url, why: &str) -> Failure {
    Failure::new(code::PERMISSION_DENIED, format!("`{url}` was not fetched: {why}"))
}

fn rules(url: &Url, context: &Context) -> Result<String, Failure> {
    let mut at = url.clone();
    at.set_path("/robots.txt");
    at.set_query(None);
    at.set_fragment(None);
    let response = page::ask(&at, "text/plain,*/*;q=0.8", context)?;
    match response.status() {
        200..=299 => {
            let body = response.bytes();
            Ok(String::from_utf8_lossy(&body[..body.len().min(MAX_RULES)]).into_owned())
        }
        401 | 403 => Err(refused(url, "its server does not show its robots.txt to programs")),
        // Redirects of this file are not followed: few lead to rules of this very server.
        300..=499 => Ok(String::new()),
        status => {
            let why = format!("its server answered {status} when it was asked for its robots.txt");
            Err(Failure::new(code::BACKEND_UNAVAILABLE, format!("`{url}` was not fetched: {why}")))
        }
    }
}

//! The two refusals that only HTTP has a shape for: 401 asks for credentials, 403 for more scopes (MCP 2026-07-28,
//! authorization; RFC 6750 §3).

use http::{HeaderValue, StatusCode};

use crate::model::{Rejection, Scope};

/// Why an HTTP client has to come back with other credentials.
#[derive(Clone, Debug, PartialEq)]
pub enum Challenge {
    /// No credentials, or credentials that do not verify.
    Unauthenticated {
        /// What to tell the caller.
        message: String,
        /// Whether a token came along; without one, RFC 6750 §3.1 wants no error code.
        had_token: bool,
    },
    /// The token lacks scopes.
    InsufficientScope {
        /// All scopes the call needs, so that one step-up suffices.
        needed: Vec<Scope>,
        /// What to tell the caller.
        message: String,
    },
}

impl Challenge {
    /// The challenge that a rejection is over HTTP, if it is one.
    pub fn of(rejection: &Rejection, had_token: bool) -> Option<Self> {
        match rejection {
            Rejection::Unauthenticated(message) => Some(Self::Unauthenticated { message: message.clone(), had_token }),
            Rejection::InsufficientScope { missing, needed } => {
                let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
                let message = format!("the token lacks the scope {}", missing.join(" "));
                Some(Self::InsufficientScope { needed: needed.clone(), message })
            }
            _ => None,
        }
    }

    /// 401 or 403.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope { .. } => StatusCode::FORBIDDEN,
        }
    }

    /// What to tell the caller.
    pub fn message(&self) -> &str {
        match self {
            Self::Unauthenticated { message, .. } | Self::InsufficientScope { message, .. } => message,
        }
    }

    /// The `WWW-Authenticate` header; `metadata` is the URL of the protected resource metadata (RFC 9728 §5.1), if there is one,
    /// `to_begin_with` what to ask for where it is not known yet what will be needed.
    pub fn header(&self, metadata: Option<&str>, to_begin_with: Option<&str>) -> HeaderValue {
        let mut parameters = Vec::new();
        match self {
            Self::Unauthenticated { had_token: false, .. } => {}
            Self::Unauthenticated { message, had_token: true } => {
                parameters.push(("error", "invalid_token".to_owned()));
                parameters.push(("error_description", message.clone()));
            }
            Self::InsufficientScope { needed, message } => {
                let needed: Vec<_> = needed.iter().map(ToString::to_string).collect();
                parameters.push(("error", "insufficient_scope".to_owned()));
                parameters.push(("scope", needed.join(" ")));
                parameters.push(("error_description", message.clone()));
            }
        }
        if let (Self::Unauthenticated { .. }, Some(scope)) = (self, to_begin_with) {
            parameters.push(("scope", scope.to_owned()));
        }
        parameters.extend(metadata.map(|url| ("resource_metadata", url.to_owned())));
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quotable(value))).collect();
        let text = format!("Bearer {}", parameters.join(", "));
        HeaderValue::from_str(text.trim_end()).expect("only printable ASCII was kept")
    }
}

/// The characters RFC 6750 §3 allows in a parameter: printable ASCII without quote and backslash.
fn quotable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '\'' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_up_names_all_needed_scopes_at_once() {
        let parse = |text: &str| text.parse::<Scope>().expect("well formed");
        let (read, write) = (parse("read:invoices"), parse("write:invoices"));
        let rejection = Rejection::InsufficientScope { missing: vec![write.clone()], needed: vec![read, write] };
        let challenge = Challenge::of(&rejection, true).expect("a challenge");
        assert_eq!(challenge.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            challenge.header(Some("https://h/.well-known/oauth-protected-resource/mcp"), Some("ignored")),
            "Bearer error=\"insufficient_scope\", scope=\"read:invoices write:invoices\", \
             error_description=\"the token lacks the scope write:invoices\", \
             resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\""
        );
    }

    #[test]
    fn a_caller_without_a_token_is_told_no_error_code() {
        let challenge = Challenge::of(&Rejection::Unauthenticated("a token is needed".into()), false).expect("a challenge");
        assert_eq!(
            (challenge.status(), challenge.header(None, None)),
            (StatusCode::UNAUTHORIZED, HeaderValue::from_static("Bearer"))
        );
        assert_eq!(
            challenge.header(Some("https://h/m"), Some("read:a read:b")),
            "Bearer scope=\"read:a read:b\", resource_metadata=\"https://h/m\""
        );
    }

    #[test]
    fn nothing_in_a_message_can_break_out_of_the_header() {
        let rejection = Rejection::Unauthenticated("bad \"token\"\r\nSet-Cookie: x=1 — é".into());
        let header = Challenge::of(&rejection, true).expect("a challenge").header(None, None);
        assert_eq!(header, "Bearer error=\"invalid_token\", error_description=\"bad 'token'''Set-Cookie: x=1 ' '\"");
    }
}

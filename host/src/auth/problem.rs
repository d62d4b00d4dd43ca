//! Why a token does not count.

/// Why a token does not count. The texts are for its bearer: what a forger could learn from them is public, and what is inside
/// a token is judged only once its signature holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Longer than any token that is looked at.
    #[error("the bearer token is too long; at most {0} bytes are taken")]
    TooLong(usize),
    /// Not a signed JWT.
    #[error("the bearer token is not a signed JWT")]
    NoJwt,
    /// A JWE.
    #[error("the bearer token is encrypted; this server takes signed ones")]
    Encrypted,
    /// `crit` in the header: an extension that must be understood (RFC 7515 §4.1.11), and is not.
    #[error("the bearer token demands an extension that this server does not know")]
    Critical,
    /// An algorithm that is not allowed, shared secrets and `none` above all.
    #[error("the bearer token is not signed in a way that this server takes")]
    Algorithm,
    /// Nobody we trust.
    #[error("the bearer token is not from an issuer that this server trusts")]
    UnknownIssuer,
    /// No key of the issuer goes by that name.
    #[error("the bearer token is signed with a key that its issuer does not publish")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the signature of the bearer token does not hold")]
    Signature,
    /// Another kind of JWT, such as an ID token (RFC 8725 §3.12).
    #[error("the bearer token is not an access token")]
    OtherKind,
    /// A claim that must be there is not, or is malformed.
    #[error("the bearer token lacks the claim `{0}`, or it is malformed")]
    Claim(String),
    /// For somebody else.
    #[error("the bearer token is not for this server; ask for one with the resource `{0}`")]
    Audience(String),
    /// Too old.
    #[error("the bearer token has expired")]
    Expired,
    /// Too young.
    #[error("the bearer token is not valid yet")]
    NotYet,
    /// Bound to a key of its client (`cnf`: RFC 8705, RFC 9449), which can't be checked here.
    #[error("the bearer token is bound to a key of its client, so it can't be used as a bearer token")]
    Bound,
    /// More scopes, groups or claims than are kept. Dropping some could drop what a policy forbids by.
    #[error("the bearer token holds too many {0}; at most {1} are taken")]
    TooMany(&'static str, usize),
    /// Authorization details of our type that are malformed (RFC 9396 §5).
    #[error("the authorization details of the bearer token are malformed: {0}")]
    Details(String),
}

impl Problem {
    /// The problem as metrics spell it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "too_long",
            Self::NoJwt => "no_jwt",
            Self::Encrypted => "encrypted",
            Self::Critical => "critical",
            Self::Algorithm => "algorithm",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::OtherKind => "other_kind",
            Self::Claim(_) => "claim",
            Self::Audience(_) => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Bound => "bound",
            Self::TooMany(..) => "too_many",
            Self::Details(_) => "details",
        }
    }
}

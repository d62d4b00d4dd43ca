//! One condition of a scope, `amount_cents<=$principal.pay_limit`: an attribute of a row, a comparison, and what it is compared to.

use std::fmt;
use std::str::FromStr;

use super::parse::{self, ScopeError};

/// What must hold for one attribute of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// The attribute, as the manifest's `[[resource]]` names it.
    pub attribute: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// What it is compared to.
    pub term: Term,
}

/// How an attribute is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`, integers only.
    Less,
    /// `<=`, integers only.
    LessOrEqual,
    /// `>`, integers only.
    Greater,
    /// `>=`, integers only.
    GreaterOrEqual,
    /// `:in:`, one of a list.
    In,
}

/// What an attribute is compared to: a value, or the name of one that is known when a call comes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term {
    /// `100`
    Integer(i64),
    /// `'open'`
    Text(String),
    /// `$principal.sub`: the caller's subject (`sub`), issuer (`iss`), tenant, client (`client_id`), or a claim of its token.
    Principal(String),
    /// `$args/user_id`: an argument of the call, by JSON pointer (RFC 6901).
    Argument(String),
}

impl Comparison {
    /// Every comparison and its sign, longer signs before those they begin with.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::In, ":in:"),
        (Self::NotEqual, "!="),
        (Self::LessOrEqual, "<="),
        (Self::GreaterOrEqual, ">="),
        (Self::Equal, "="),
        (Self::Less, "<"),
        (Self::Greater, ">"),
    ];

    /// The sign, such as `<=`.
    pub fn as_str(self) -> &'static str {
        let [.., (_, greater)] = Self::ALL;
        Self::ALL.iter().find(|(comparison, _)| *comparison == self).map_or(greater, |(_, sign)| sign)
    }

    /// Whether it orders its operands, which only integers have.
    pub fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

impl FromStr for Condition {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        parse::condition(text)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.attribute, self.comparison.as_str(), self.term)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => {
                f.write_str("'")?;
                parse::encode(text, b"", f)?;
                f.write_str("'")
            }
            Self::Principal(claim) => {
                f.write_str("$principal.")?;
                parse::encode(claim, parse::NAME_MARKS, f)
            }
            Self::Argument(pointer) => {
                f.write_str("$args")?;
                parse::encode(pointer, parse::NAME_MARKS, f)
            }
        }
    }
}

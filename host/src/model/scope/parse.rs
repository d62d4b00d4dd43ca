//! From text to a scope, with errors that say where the text leaves the grammar, what was expected, and what was likely meant.

use std::fmt;

use super::Scope;
use super::condition::{Comparison, Condition, Term};
use crate::model::document;

/// What may stand unencoded in a claim's name and in a pointer, besides unreserved characters (RFC 3986 §2.3).
pub(super) const NAME_MARKS: &[u8] = b"/:@";

/// Why a text is not a scope, and where it goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a scope: at column {column}, expected {expected}{}", .hint.as_ref().map_or(String::new(), |hint| format!("; {hint}")))]
pub struct ScopeError {
    /// The text, shortened if it is long.
    text: String,
    /// One-based column of the first character that does not fit.
    pub column: usize,
    /// How many characters do not fit.
    pub length: usize,
    /// What the grammar has there.
    pub expected: &'static str,
    /// What was likely meant.
    pub hint: Option<String>,
}

/// Reads a whole text as a scope.
pub(super) fn scope(text: &str) -> Result<Scope, ScopeError> {
    let mut reader = Reader::new(text)?;
    let action = reader.name("an action such as `read`")?;
    if !reader.take(":") {
        return Err(reader.error("`:`").with_hint("write `action:resource`, for example `read:invoices`"));
    }
    let resource = reader.name("a resource such as `invoices`")?;
    let mut conditions = Vec::new();
    if !reader.is_done() {
        reader.where_keyword()?;
        loop {
            conditions.push(reader.condition()?);
            if conditions.len() > Scope::MAX_CONDITIONS {
                return Err(reader.error("at most 16 conditions"));
            }
            if !reader.take(",") {
                break;
            }
        }
        if !reader.take(")") {
            return Err(reader.error("`,` or `)`"));
        }
        reader.end()?;
    }
    Ok(Scope { action, resource, conditions })
}

/// Reads a whole text as one condition.
pub(super) fn condition(text: &str) -> Result<Condition, ScopeError> {
    let mut reader = Reader::new(text)?;
    let condition = reader.condition()?;
    reader.end()?;
    Ok(condition)
}

/// Writes `text` with everything percent-encoded that is neither unreserved nor one of `marks`.
pub(super) fn encode(text: &str, marks: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.bytes().try_for_each(|byte| match byte {
        byte if is_unreserved(byte) || marks.contains(&byte) => write!(f, "{}", char::from(byte)),
        byte => write!(f, "%{byte:02X}"),
    })
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

impl ScopeError {
    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

struct Reader<'a> {
    text: &'a str,
    /// The byte to read next.
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Result<Self, ScopeError> {
        let reader = Self { text, at: 0 };
        if text.len() > Scope::MAX_LENGTH {
            return Err(reader.error("at most 1024 bytes"));
        }
        Ok(reader)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn is_done(&self) -> bool {
        self.at == self.text.len()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !fits(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn name(&mut self, expected: &'static str) -> Result<String, ScopeError> {
        match self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            "" => Err(self.error(expected)),
            name => Ok(name.to_owned()),
        }
    }

    fn where_keyword(&mut self) -> Result<(), ScopeError> {
        if self.take(".where(") {
            return Ok(());
        }
        let error = self.error("the end, or `.where(`");
        let word: &str = self.rest().strip_prefix('.').unwrap_or(self.rest());
        let word = word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        Err(match document::nearest(&word.to_ascii_lowercase(), ["where"]) {
            Some(_) => error.with_hint("did you mean `.where(`?"),
            None => error,
        })
    }

    fn condition(&mut self) -> Result<Condition, ScopeError> {
        let attribute = self.name("an attribute such as `user_id`")?;
        let comparison = self.comparison()?;
        let start = self.at;
        let term = self.term()?;
        let literal = |what| Err(Self { at: start, ..*self }.error(what));
        match (comparison, &term) {
            (Comparison::In, Term::Integer(_) | Term::Text(_)) => literal("a list: `$principal.<claim>` or `$args/<pointer>`"),
            (order, Term::Text(_)) if order.is_order() => literal("an integer, `$principal.<claim>` or `$args/<pointer>`"),
            _ => Ok(Condition { attribute, comparison, term }),
        }
    }

    fn comparison(&mut self) -> Result<Comparison, ScopeError> {
        for (meant, mistakes) in
            [("=", &["=="][..]), ("<=", &["=<"]), (">=", &["=>"]), ("!=", &["<>", "~="]), (":in:", &["in:", ":in'", ":in$"])]
        {
            if mistakes.iter().any(|mistake| self.rest().starts_with(mistake)) {
                return Err(self.error("a comparison").with_hint(format!("did you mean `{meant}`?")));
            }
        }
        let found = Comparison::ALL.into_iter().find(|(_, sign)| self.take(sign));
        found.map(|(comparison, _)| comparison).ok_or_else(|| self.error("`=`, `!=`, `<`, `<=`, `>`, `>=` or `:in:`"))
    }

    fn term(&mut self) -> Result<Term, ScopeError> {
        match self.rest().bytes().next() {
            Some(b'\'') => {
                self.at += 1;
                let text = self.encoded(b"")?;
                if !self.take("'") {
                    return Err(self
                        .error("`'`")
                        .with_hint("other characters than letters, digits and `-._~` are percent-encoded, a space as `%20`"));
                }
                Ok(Term::Text(text))
            }
            Some(b'$') => self.variable(),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            _ => {
                let error = self.error("an integer, a text in single quotes, `$principal.<claim>` or `$args/<pointer>`");
                let word = self.rest().split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default();
                Err(match word {
                    "" => error,
                    "principal" | "args" => error.with_hint(format!("did you mean `${word}`?")),
                    word => error.with_hint(format!("did you mean `'{word}'`?")),
                })
            }
        }
    }

    fn variable(&mut self) -> Result<Term, ScopeError> {
        let start = self.at;
        self.at += 1;
        let word = self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match word {
            "principal" if self.take(".") => match self.encoded(NAME_MARKS)? {
                claim if claim.is_empty() => Err(self.error("the name of a claim, such as `sub`")),
                claim => Ok(Term::Principal(claim)),
            },
            "principal" => Err(self.error("`.` and the name of a claim, such as `sub`")),
            "args" if self.rest().starts_with('/') => self.encoded(NAME_MARKS).map(Term::Argument),
            "args" => Err(self.error("`/` and the name of an argument (a JSON pointer)")),
            word => {
                self.at = start;
                let hint = document::nearest(word, ["principal", "args"]).map(|near| format!("did you mean `${near}`?"));
                Err(ScopeError { hint, length: word.len() + 1, ..self.error("`$principal.` or `$args/`") })
            }
        }
    }

    fn integer(&mut self) -> Result<Term, ScopeError> {
        let start = self.at;
        self.take("-");
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        let canonical = !digits.is_empty() && (digits == "0" || !digits.starts_with('0')) && &self.text[start..self.at] != "-0";
        match self.text[start..self.at].parse() {
            Ok(number) if canonical => Ok(Term::Integer(number)),
            _ => {
                let length = (self.at - start).max(1);
                self.at = start;
                Err(ScopeError { length, ..self.error("an integer of 64 bits without leading zeros") })
            }
        }
    }

    /// Unreserved characters, `marks` and percent-encoded bytes, decoded. What is decoded is UTF-8.
    fn encoded(&mut self, marks: &[u8]) -> Result<String, ScopeError> {
        let start = self.at;
        let mut bytes = Vec::new();
        loop {
            bytes.extend(self.take_while(|byte| is_unreserved(byte) || marks.contains(&byte)).bytes());
            if !self.rest().starts_with('%') {
                break;
            }
            let digits = self.rest().get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                return Err(self.error("two hex digits after `%`"));
            };
            bytes.push(byte);
            self.at += 3;
        }
        String::from_utf8(bytes)
            .map_err(|_| ScopeError { length: self.at - start, ..Self { at: start, ..*self }.error("percent-encoded UTF-8") })
    }

    fn end(&self) -> Result<(), ScopeError> {
        if self.is_done() { Ok(()) } else { Err(self.error("the end")) }
    }

    fn error(&self, expected: &'static str) -> ScopeError {
        let column = self.text[..self.at].chars().count() + 1;
        let text: String = self.text.chars().take(200).collect();
        ScopeError { text, column, length: 1, expected, hint: None }
    }
}

//! How deeply a policy text nests, known before a parser recurses into it.
//!
//! Cedar's parser and its JSON form recurse without looking at the stack, and an overflow ends the process. So a text is refused
//! here that would need more stack than any thread of ours has, by a rule that admins can count by. The validator, for its part,
//! takes twice the time for each `if` within an `if`.

use std::iter::Peekable;
use std::str::CharIndices;

/// The deepest nesting of brackets. Cedar's parser takes some 15 KiB of stack for each.
const BRACKETS: usize = 32;
/// The most operators of one policy: a chain of them nests once for each.
const OPERATORS: usize = 200;
/// The most `if` of one policy.
const IFS: usize = 10;

/// A policy text that nests too deeply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep {
    /// The first byte that is too much.
    pub(super) offset: usize,
    /// What there is too much of.
    pub(super) message: String,
}

/// Finds the first place where `text` nests too deeply. Strings and comments are passed over as Cedar's lexer does.
pub(super) fn check(text: &str) -> Result<(), TooDeep> {
    let (mut open, mut operators, mut ifs) = (0_usize, 0_usize, 0_usize);
    let mut rest = text.char_indices().peekable();
    while let Some((offset, c)) = rest.next() {
        match c {
            '"' => skip_string(&mut rest),
            '/' if rest.peek().is_some_and(|(_, next)| *next == '/') => {
                rest.by_ref().find(|(_, c)| *c == '\n' || *c == '\r');
            }
            '(' | '[' | '{' => {
                open += 1;
                operators += 1;
            }
            ')' | ']' | '}' => open = open.saturating_sub(1),
            ';' => (operators, ifs) = (0, 0),
            ',' | ':' | '@' | '?' => {}
            c if c.is_alphanumeric() || c == '_' => {
                let word = word(text, offset, &mut rest);
                operators += usize::from(["has", "if", "in", "is", "like"].contains(&word));
                ifs += usize::from(word == "if");
            }
            c if c.is_whitespace() => {}
            _ => {
                operators += 1;
                // The second half of `&&`, `||`, `==`, `!=`, `<=`, `>=`.
                rest.next_if(|(_, next)| *next == c || *next == '=');
            }
        }
        let message = match () {
            () if open > BRACKETS => format!("more than {BRACKETS} brackets are open"),
            () if operators > OPERATORS => format!("the policy has more than {OPERATORS} operators and brackets"),
            () if ifs > IFS => format!("the policy has more than {IFS} `if`"),
            () => continue,
        };
        return Err(TooDeep { offset, message });
    }
    Ok(())
}

fn skip_string(rest: &mut Peekable<CharIndices<'_>>) {
    while let Some((_, c)) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn word<'a>(text: &'a str, start: usize, rest: &mut Peekable<CharIndices<'_>>) -> &'a str {
    while rest.next_if(|(_, c)| c.is_alphanumeric() || *c == '_').is_some() {}
    let end = rest.peek().map_or(text.len(), |(offset, _)| *offset);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_operators_are_counted_outside_of_strings_and_comments() {
        assert_eq!(check(&format!("{}{}", "(".repeat(BRACKETS), ")".repeat(BRACKETS))), Ok(()));
        assert_eq!(check(&"(".repeat(BRACKETS + 1)).map_err(|deep| deep.offset), Err(BRACKETS));
        assert_eq!(check(&format!("\"{}\\\"\" // {}\n", "(".repeat(99), "&".repeat(999))), Ok(()));
        assert_eq!(check(&"() ".repeat(OPERATORS)), Ok(()));
        assert_eq!(check(&"if a then ".repeat(IFS)), Ok(()));
        assert!(check(&"if a then ".repeat(IFS + 1)).is_err());
        for operator in ["&&", "||", "+", "has", "in", ".", "!", "=="] {
            assert_eq!(check(&format!("a {operator} ").repeat(OPERATORS)), Ok(()), "{operator}");
            assert!(check(&format!("a {operator} ").repeat(OPERATORS + 1)).is_err(), "{operator}");
        }
        assert_eq!(check(&"a && b;".repeat(OPERATORS + 1)), Ok(()), "each policy has its own");
        assert_eq!(check(&"\"a\", ".repeat(10_000)), Ok(()), "a long list is not deep");
    }
}

//! Names of row types as Cedar identifiers, reversibly: no two names share an identifier.

/// Words that Cedar's grammars keep for themselves, in policies or in schemas.
pub(super) const KEYWORDS: [&str; 26] = [
    "Bool",
    "Long",
    "Set",
    "String",
    "__cedar",
    "action",
    "appliesTo",
    "attributes",
    "context",
    "else",
    "entity",
    "enum",
    "external",
    "false",
    "has",
    "if",
    "in",
    "is",
    "like",
    "namespace",
    "principal",
    "resource",
    "tags",
    "then",
    "true",
    "type",
];

/// `name` as an identifier: what fits stays, every other character becomes `_x<hex>_`.
///
/// An underscore before an `x` is written as an escape too, so `_x` in an identifier always starts one, and the first character
/// of a reserved word is. Reading from the left then gives the name back.
pub(super) fn identifier(name: &str) -> String {
    let mut identifier = String::with_capacity(name.len());
    let mut rest = name.chars().peekable();
    let mut first = true;
    while let Some(c) = rest.next() {
        let starts_escape = c == '_' && rest.peek() == Some(&'x');
        let fits = c == '_' || c.is_ascii_alphabetic() || (!first && c.is_ascii_digit());
        if !fits || starts_escape || (first && KEYWORDS.contains(&name)) {
            identifier.push_str(&format!("_x{:x}_", u32::from(c)));
        } else {
            identifier.push(c);
        }
        first = false;
    }
    identifier
}

/// Whether an attribute may be written without quotes in schemas and policies alike.
pub(super) fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !KEYWORDS.contains(&name)
}

/// `text` as a Cedar string literal, quotes included.
pub(super) fn quoted(text: &str) -> String {
    // A quote of the other kind needs no escape; every one of them has one.
    format!("\"{}\"", text.escape_debug().to_string().replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name that `identifier` was made from.
    fn name(identifier: &str) -> String {
        let mut name = String::new();
        let mut rest = identifier;
        while !rest.is_empty() {
            if let Some(escape) = rest.strip_prefix("_x") {
                let end = escape.find('_').expect("every escape ends");
                let code = u32::from_str_radix(&escape[..end], 16).expect("every escape holds a number");
                name.push(char::from_u32(code).expect("the number is a character's"));
                rest = &escape[end + 1..];
            } else {
                let c = rest.chars().next().expect("not at the end");
                name.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        name
    }

    #[test]
    fn names_that_fit_stay_readable() {
        for name in ["Invoice", "credit_note", "_private", "V2"] {
            assert_eq!(identifier(name), name);
        }
        assert_eq!(identifier("credit-note"), "credit_x2d_note");
        assert_eq!(identifier("in"), "_x69_n");
        assert_eq!(identifier("2nd"), "_x32_nd");
        assert_eq!(identifier("_x2d_"), "_x5f_x2d_");
    }

    proptest::proptest! {
        #[test]
        fn an_identifier_gives_its_name_back(text in "[a-zA-Z_x0-9.é-]{0,12}|.{0,6}") {
            proptest::prop_assert_eq!(name(&identifier(&text)), text);
        }

        #[test]
        fn an_identifier_is_one_for_cedar(text in "[a-zA-Z_x0-9.é-]{1,12}|.{1,6}") {
            let typed = format!("Tidegate::{}", identifier(&text)).parse::<cedar_policy::EntityTypeName>();
            proptest::prop_assert!(typed.is_ok(), "{:?}", typed);
        }
    }

    #[test]
    fn reserved_words_become_identifiers_too() {
        for word in KEYWORDS {
            assert_eq!(name(&identifier(word)), word);
            assert!(identifier(word).parse::<cedar_policy::EntityTypeName>().is_ok(), "{word}");
        }
    }
}

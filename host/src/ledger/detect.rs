//! What must not be stored wherever it turns up: payment data, credentials, and whatever an argument's name says is secret.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// One thing found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it is: `card`, `iban`, `credential`.
    pub kind: &'static str,
    /// Where it stands, in bytes.
    pub place: Range<usize>,
}

/// Candidates; digits and accounts are held to their check sums before they count.
static CANDIDATES: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = [
        r"(?P<card>\b\d(?:[ -]?\d){12,18}\b)",
        r"(?P<iban>\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b)",
        r"(?P<ssn>\b\d{3}-\d{2}-\d{4}\b)",
        // RFC 7519 and RFC 6750, keys in PEM (RFC 7468), passwords in URLs (RFC 3986 §3.2.1).
        r"(?P<jwt>\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)",
        r"(?P<bearer>(?i:\bbearer +)[A-Za-z0-9._~+/-]{16,}=*)",
        r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z))",
        r"(?P<url>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@)",
        // The prefixes by which providers mark their keys for scanners.
        r"(?P<provider>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{35}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{20,})",
    ];
    Regex::new(&patterns.join("|")).expect("the patterns are well formed")
});

/// Everything in a text that must not be stored, in order.
pub(super) fn find(text: &str) -> Vec<Found> {
    // Nothing that counts is shorter.
    if text.len() < 9 {
        return Vec::new();
    }
    CANDIDATES
        .captures_iter(text)
        .filter_map(|found| {
            let named = |name: &str| found.name(name);
            let (kind, whole) = if let Some(card) = named("card") {
                (is_card(card.as_str()).then_some("card")?, card)
            } else if let Some(iban) = named("iban") {
                (is_iban(iban.as_str()).then_some("iban")?, iban)
            } else if let Some(ssn) = named("ssn") {
                ("ssn", ssn)
            } else {
                ("credential", found.get(0)?)
            };
            Some(Found { kind, place: whole.range() })
        })
        .collect()
}

/// Whether an argument or member of this name holds a secret, whatever it looks like.
pub(super) fn is_secret_name(name: &str) -> bool {
    const NAMES: [&str; 22] = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "clientsecret",
        "token",
        "accesstoken",
        "refreshtoken",
        "idtoken",
        "apikey",
        "apitoken",
        "authorization",
        "privatekey",
        "cardnumber",
        "creditcard",
        "cvv",
        "cvc",
        "cvv2",
        "pin",
        "ssn",
        "iban",
    ];
    if name.len() > 32 {
        return false;
    }
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    NAMES.contains(&plain.as_str())
}

/// The check digit of payment cards (ISO/IEC 7812-1, annex B), and a first digit that issuers use.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    (2..=6).contains(&digits[0]) && sum.is_multiple_of(10)
}

/// The check digits of account numbers (ISO 13616-1).
fn is_iban(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| *c != ' ').collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let (country, account) = plain.split_at(4);
    let rest = account.iter().chain(country).filter_map(|c| c.to_digit(36)).fold(0_u32, |rest, value| {
        let shift = if value < 10 { 10 } else { 100 };
        (rest * shift + value) % 97
    });
    rest == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<&'static str> {
        find(text).into_iter().map(|found| found.kind).collect()
    }

    #[test]
    fn payment_data_counts_only_with_its_check_digits() {
        assert_eq!(kinds("pay 4111 1111 1111 1111 now, not 4111 1111 1111 1112"), ["card"]);
        assert_eq!(kinds("5500-0000-0000-0004"), ["card"]);
        assert_eq!(kinds("to DE89 3704 0044 0532 0130 00, not DE88370400440532013000"), ["iban"]);
        assert_eq!(kinds("SSN 078-05-1120"), ["ssn"]);
        assert_eq!(kinds("order 1764105600000 of 2026-11-25, call +49 30 1234567"), Vec::<&str>::new());
    }

    #[test]
    fn credentials_are_known_by_their_shape() {
        for text in [
            "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl",
            "Authorization: Bearer abcdefghijklmnop0123",
            "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
            "postgres://app:hunter2@db/invoices",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
            concat!("sk_", "live_0123456789abcdefghij"),
        ] {
            assert_eq!(kinds(text), ["credential"], "{text}");
        }
        for text in
            ["the bearer of this letter", "https://example.com/a:b@c", "a sketch-book", "skill-based routing of long texts"]
        {
            assert_eq!(kinds(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn a_place_is_where_the_thing_stands() {
        let text = "card 4111111111111111.";
        assert_eq!(&text[find(text)[0].place.clone()], "4111111111111111");
    }

    #[test]
    fn names_tell_of_secrets_however_they_are_spelt() {
        assert!(["Password", "api_key", "client-secret", "cardNumber", "CVV"].iter().all(|name| is_secret_name(name)));
        assert!(!["passengers", "tokens_used", "description", "pinned"].iter().any(|name| is_secret_name(name)));
    }
}

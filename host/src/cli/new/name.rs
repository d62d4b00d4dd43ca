//! What a plugin may be called.

use anyhow::{Result, bail};

use crate::cli::language::Language;
use crate::registry::manifest;

/// Checks the name of a plugin that is to be made.
///
/// # Errors
/// It is no name of a plugin, or none the language can work with; with one that would do.
pub fn check(name: &str, language: Language) -> Result<()> {
    if !manifest::is_name(name) {
        let likely = likely(name);
        let hint = if manifest::is_name(&likely) { format!("; did you mean `{likely}`?") } else { String::new() };
        bail!("`{name}` is not a plugin name (1 to 64 of `a-z`, `0-9`, `-`, `_`, starting with a letter){hint}");
    }
    if let Some(reason) = language.reserves(name) {
        bail!("a plugin can't be called `{name}`: {reason}; did you mean `{name}-tools`?");
    }
    Ok(())
}

/// The name somebody may have meant who did not know how names are written.
fn likely(name: &str) -> String {
    let mut likely = String::new();
    let mut was_lower = false;
    for c in name.trim().chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' => likely.push(c),
            'A'..='Z' => {
                // `MyTool` is two words.
                if was_lower {
                    likely.push('-');
                }
                likely.push(c.to_ascii_lowercase());
            }
            _ if likely.is_empty() || likely.ends_with('-') => {}
            _ => likely.push('-'),
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    let likely = likely.trim_matches('-');
    likely.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(name: &str) -> String {
        check(name, Language::Rust).expect_err(name).to_string()
    }

    #[test]
    fn a_name_that_is_none_gets_one_that_would_do() {
        for (name, meant) in
            [("My Tool", "my-tool"), ("MyTool", "my-tool"), ("2fa", "fa"), ("ünder/score", "nder-score"), ("X ", "x")]
        {
            assert!(problem(name).ends_with(&format!("did you mean `{meant}`?")), "{}", problem(name));
        }
        assert!(!problem("42").contains("did you mean"), "{}", problem("42"));
        assert!(!problem("").contains("did you mean"), "{}", problem(""));
        assert!(problem(&"x".repeat(65)).ends_with(&format!("did you mean `{}`?", "x".repeat(64))));
    }

    #[test]
    fn a_name_that_rust_has_taken_is_refused() {
        for name in ["fn", "test", "core", "serde", "tidegate-plugin-sdk"] {
            assert!(problem(name).ends_with(&format!("did you mean `{name}-tools`?")), "{}", problem(name));
        }
        check("greet", Language::Rust).expect("a good name");
    }
}

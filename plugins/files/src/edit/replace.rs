//! Replacing a text in a text, where it is there once.

/// `text` with `old` replaced by `new`. If `old` is not there to the letter, lines are compared without their indentation, and the new
/// ones are indented as the old ones were.
pub(crate) fn once(text: &str, old: &str, new: &str) -> Result<String, String> {
    if old.is_empty() {
        return Err("`oldText` is empty".to_owned());
    }
    let Some(at) = text.find(old) else { return lines(text, old, new) };
    // Two that overlap are two as well.
    if text.rfind(old) != Some(at) {
        return Err(ambiguous());
    }
    Ok(format!("{}{new}{}", &text[..at], &text[at + old.len()..]))
}

fn ambiguous() -> String {
    "`oldText` is there more than once; take more of what surrounds it".to_owned()
}

fn lines(text: &str, old: &str, new: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.split('\n').collect();
    let wanted: Vec<&str> = old.strip_suffix('\n').unwrap_or(old).split('\n').collect();
    let is_blank = wanted.iter().all(|line| line.trim().is_empty());
    let fits = |window: &&[&str]| window.iter().zip(&wanted).all(|(line, wanted)| line.trim() == wanted.trim());
    let mut found = lines.windows(wanted.len()).enumerate().filter(|(_, window)| !is_blank && fits(window));
    let at = match (found.next(), found.next()) {
        (Some((at, _)), None) => at,
        (Some(_), Some(_)) => return Err(ambiguous()),
        (None, _) => return Err("`oldText` is not there".to_owned()),
    };
    let shift = Shift::between(wanted[0], lines[at]);
    let replaced: Vec<_> = new.strip_suffix('\n').unwrap_or(new).split('\n').map(|line| shift.of(line)).collect();
    let after = &lines[at + wanted.len()..];
    let all: Vec<&str> =
        lines[..at].iter().copied().chain(replaced.iter().map(String::as_str)).chain(after.iter().copied()).collect();
    Ok(all.join("\n"))
}

/// How much further lines are indented than who wrote them thought.
struct Shift<'l> {
    from: &'l str,
    to: &'l str,
}

impl<'l> Shift<'l> {
    fn between(written: &'l str, there: &'l str) -> Self {
        Self { from: indentation(written), to: indentation(there) }
    }

    /// A line, indented as those that it replaces.
    fn of(&self, line: &str) -> String {
        if line.trim().is_empty() {
            return line.to_owned();
        }
        match line.strip_prefix(self.from) {
            Some(rest) => format!("{}{rest}", self.to),
            None => line.to_owned(),
        }
    }
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_once_is_replaced() {
        assert_eq!(once("a b c", "b", "x").as_deref(), Ok("a x c"));
        assert_eq!(once("a\nb\n", "a\nb\n", "").as_deref(), Ok(""));
        assert_eq!(once("ü🌊ü", "🌊", "$&").as_deref(), Ok("ü$&ü"), "nothing in it means anything");
    }

    #[test]
    fn what_is_there_twice_or_not_at_all_is_not_guessed() {
        assert!(once("a b a", "a", "x").is_err_and(|problem| problem.contains("more than once")));
        assert!(once("aaa", "aa", "x").is_err_and(|problem| problem.contains("more than once")), "they overlap");
        assert!(once("  a\n\ta\n", "a \n", "x").is_err_and(|problem| problem.contains("more than once")));
        assert!(once("a b", "c", "x").is_err_and(|problem| problem.contains("not there")));
        assert!(once("a\n\n\nb", "  \n ", "x").is_err_and(|problem| problem.contains("not there")));
        assert!(once("a", "", "x").is_err_and(|problem| problem.contains("empty")));
        assert!(once("a", "a\nb\nc", "x").is_err());
    }

    #[test]
    fn lines_are_found_with_another_indentation_and_keep_it() {
        let text = "fn f() {\n    if a {\n        b();\n    }\n}\n";
        let changed = once(text, "if a {\n    b();\n}", "if a {\n    c();\n\n    d();\n}");
        assert_eq!(changed.as_deref(), Ok("fn f() {\n    if a {\n        c();\n\n        d();\n    }\n}\n"));
        assert_eq!(once("\tx = 1;\n", "x = 1; ", "x = 2;\ny = 3;").as_deref(), Ok("\tx = 2;\n\ty = 3;\n"));
    }
}

//! The part of a text that one answer holds.

/// `length` characters of `text` from the character `start` on, and what to ask for next. In the words of the reference server,
/// which agents know.
pub(crate) fn of(text: &str, start: usize, length: usize) -> String {
    let mut rest = text.char_indices().skip(start).map(|(at, _)| at);
    let Some(from) = rest.next() else { return "<error>No more content available.</error>".to_owned() };
    match rest.nth(length - 1) {
        None => text[from..].to_owned(),
        Some(to) => format!(
            "{}\n\n<error>Content truncated. Call the fetch tool with a start_index of {} to get more content.</error>",
            &text[from..to],
            start + length
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_text_are_the_whole_of_it() {
        let text = "Grüße 🌊 an alle";
        let (mut start, mut whole) = (0, String::new());
        loop {
            let part = of(text, start, 4);
            let (content, notice) = part.split_once("\n\n<error>").unwrap_or((&part, ""));
            whole.push_str(content);
            if notice.is_empty() {
                break;
            }
            start += 4;
            assert!(notice.contains(&format!("start_index of {start} ")), "{notice}");
        }
        assert_eq!(whole, text);
        assert_eq!(of(text, 15, 1), "<error>No more content available.</error>");
        assert_eq!(of("", 0, 5000), "<error>No more content available.</error>");
        assert_eq!(of("abc", 0, 3), "abc");
    }
}

//! Bytes of a page as text: what its byte order mark, its header or the page itself says of the encoding.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Where a page may still say what it is encoded in (HTML, "prescan a byte stream to determine its encoding").
const PRESCAN: usize = 1024;

/// `body` as text. What nobody says the encoding of is UTF-8, or else the encoding of the old web.
pub(crate) fn decode(body: &[u8], content_type: &str, is_html: bool) -> String {
    let told = label(content_type.as_bytes()).and_then(Encoding::for_label);
    let own = || {
        let start = &body[..body.len().min(PRESCAN)];
        let told = label(start).and_then(Encoding::for_label).filter(|_| is_html)?;
        // A page that says so in ASCII is not in UTF-16.
        Some(if told.is_ascii_compatible() { told } else { UTF_8 })
    };
    let guessed = || if std::str::from_utf8(body).is_ok() { UTF_8 } else { WINDOWS_1252 };
    let encoding = told.or_else(own).unwrap_or_else(guessed);
    // A byte order mark counts before all else.
    encoding.decode(body).0.into_owned()
}

/// The value of the first `charset=` in a header or a tag.
fn label(text: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"charset";
    let at = text.windows(NAME.len()).position(|word| word.eq_ignore_ascii_case(NAME))?;
    let value = text[at + NAME.len()..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let end = value.iter().position(|byte| matches!(byte, b'"' | b'\'' | b';' | b'>' | b'/') || byte.is_ascii_whitespace());
    Some(&value[..end.unwrap_or(value.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_mark_the_header_or_the_page() {
        for (body, content_type, text) in [
            (&b"gr\xc3\xbc\xc3\x9fe"[..], "text/html", "grüße"),
            (b"gr\xfc\xdfe", "text/html", "grüße"),
            (b"gr\xfc\xdfe", "text/html; charset=ISO-8859-1", "grüße"),
            (b"\xcf\xf0\xe8\xe2\xe5\xf2", "text/plain; charset=\"windows-1251\"", "Привет"),
            (b"<meta charset=windows-1251>\xcf\xf0", "text/html", "<meta charset=windows-1251>Пр"),
            (
                b"<meta http-equiv=x content='text/html; Charset = koi8-r'>\xd0",
                "",
                "<meta http-equiv=x content='text/html; Charset = koi8-r'>п",
            ),
            (b"<meta charset=utf-16>\xc3\xbc", "text/html", "<meta charset=utf-16>ü"),
            (b"\xef\xbb\xbf\xc3\xbc", "text/html; charset=iso-8859-1", "ü"),
            (b"\xff\xfeh\0i\0", "text/plain", "hi"),
            (b"\x83e\x83X\x83g", "text/html; charset=Shift_JIS", "テスト"),
            (b"\xc3\xbc", "text/html; charset=nonsense", "ü"),
        ] {
            assert_eq!(decode(body, content_type, true), text, "{content_type}");
        }
        assert_eq!(
            decode(b"charset=koi8-r \xd0", "text/plain", false),
            "charset=koi8-r \u{d0}",
            "only pages speak for themselves"
        );
    }
}

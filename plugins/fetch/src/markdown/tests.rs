//! Pages and the Markdown that is made of them, as it stands beside them. `UPDATE_GOLDEN=1 cargo test` rewrites it.

use std::path::Path;

use super::*;

fn at(url: &str) -> Url {
    Url::parse(url).expect("a URL")
}

#[test]
fn pages_become_the_markdown_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("there are pages") {
        let html = entry.expect("it can be read").path();
        if html.extension().is_none_or(|extension| extension != "html") {
            continue;
        }
        let made = of(&std::fs::read_to_string(&html).expect("text"), &at("https://example.com/notes/page.html")) + "\n";
        let golden = html.with_extension("md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &made).expect("it can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_else(|error| panic!("`{}`: {error}", golden.display()));
        assert_eq!(made, expected, "{}", html.display());
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn what_is_no_article_is_shown_whole_with_links_that_lead_somewhere() {
    let html = "<title>T</title><p><a href='/a'>A</a> <a href='b?c=1&amp;d=2#e'>B</a></p><p><img src='i.png' alt='I'>";
    assert_eq!(
        of(html, &at("https://x.example/p/q")),
        "# T\n\n[A](https://x.example/a) [B](https://x.example/p/b?c=1&d=2#e)\n\n![I](https://x.example/p/i.png)"
    );
}

#[test]
fn a_page_deeper_than_any_stack_is_read_all_the_same() {
    let html = format!("{}deep{}", "<div>".repeat(5_000), "</div>".repeat(5_000));
    assert_eq!(of(&html, &at("https://x.example/")), "deep");
}

#[test]
fn nothing_makes_nothing() {
    for html in ["", " \n", "<html></html>", "<script>1</script>", "\u{0}<!--", "<", "</p>", "<![CDATA["] {
        let made = of(html, &at("https://x.example/"));
        assert!(made.len() < 10, "{html:?}: {made}");
    }
}

//! HTML as Markdown: what a page is about, without what surrounds it.

use dom_query::{Document, NodeRef};
use dom_smoothie::{Config, Readability, TextMode};
use url::Url;

/// In deeper pages nobody looks for the article: the search takes time that grows with the square of the depth.
const MAX_DEPTH: usize = 256;

/// An article of fewer characters is probably not what the page is about.
const MIN_ARTICLE: usize = 200;

/// What says nothing in a text.
const SKIPPED: [&str; 9] = ["script", "style", "meta", "head", "noscript", "template", "svg", "iframe", "canvas"];

/// The page at `url` as Markdown: its article, if there is one, else all of it.
pub(crate) fn of(html: &str, url: &Url) -> String {
    plain_links(&article(html, url).unwrap_or_else(|| whole(&document(html), url)))
}

/// Links as a model can use them: in Markdown `&amp;` in one means `&`, but who copies it does not know that.
fn plain_links(markdown: &str) -> String {
    let mut parts = markdown.split("](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (link, rest) = part.split_at(part.find([')', '\n']).unwrap_or(part.len()));
        plain.extend(["](", &link.replace("&amp;", "&"), rest]);
    }
    plain
}

fn document(html: &str) -> Document {
    let document = Document::from(html);
    // Pictures that are in the page itself are long and show a model nothing.
    document.select("img[src^='data:'], svg").remove();
    document
}

fn article(html: &str, url: &Url) -> Option<String> {
    let document = document(html);
    if depth(&document) > MAX_DEPTH {
        return None;
    }
    let config = Config { text_mode: TextMode::Markdown, keep_classes: true, disable_json_ld: true, ..Config::default() };
    let article = Readability::with_document(document, Some(url.as_str()), Some(config)).ok()?.parse().ok()?;
    let text = article.text_content.trim();
    (text.chars().count() >= MIN_ARTICLE).then(|| titled(&article.title, text))
}

fn whole(document: &Document, url: &Url) -> String {
    for (tag, attribute) in [("a[href]", "href"), ("img[src]", "src")] {
        for node in document.select(tag).nodes() {
            let absolute = node.attr(attribute).and_then(|written| url.join(&written).ok());
            if let Some(absolute) = absolute {
                node.set_attr(attribute, absolute.as_str());
            }
        }
    }
    let title = document.select_single("head > title").text();
    titled(&title, document.md(Some(&SKIPPED)).trim())
}

/// The text below the page's title, unless it starts with it already.
fn titled(title: &str, text: &str) -> String {
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = text.lines().next().unwrap_or_default().trim_start_matches('#').trim();
    if title.is_empty() || first == title { text.to_owned() } else { format!("# {title}\n\n{text}") }
}

/// How deep the tree is. It is walked without recursion: a page may be deeper than a guest's stack.
fn depth(document: &Document) -> usize {
    let mut deepest = 0;
    let mut open: Vec<(NodeRef<'_>, usize)> = vec![(document.root(), 0)];
    while let Some((node, depth)) = open.pop() {
        deepest = deepest.max(depth);
        let mut child = node.first_child();
        while let Some(next) = child {
            child = next.next_sibling();
            open.push((next, depth + 1));
        }
    }
    deepest
}

#[cfg(test)]
mod tests;

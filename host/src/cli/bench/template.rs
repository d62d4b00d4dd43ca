//! A text with places that are filled anew for every call, parsed once.

use std::fmt::Write as _;

/// A text with places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// What is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The number of the call, with at least so many digits.
    Number(usize),
    /// The subject of the caller.
    Principal,
    /// The id of the request.
    Request,
    /// The idempotency key.
    Key,
}

/// What stands in the places of one request.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// The number of the call.
    pub number: u64,
    /// The subject of the caller.
    pub principal: &'a str,
    /// The id of the request.
    pub request: u64,
    /// The idempotency key; where there is none, nothing stands.
    pub key: &'a str,
}

impl Template {
    /// A user's text: `{n}`, `{n:04}` and `{principal}` are places, every other brace is a brace.
    pub fn parse(text: &str) -> Self {
        let mut template = Self::default();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let place = rest[open..].find('}').and_then(|close| Some((close, place(&rest[open + 1..open + close])?)));
            let (kept, place, next) = match place {
                Some((close, place)) => (open, Some(place), open + close + 1),
                None => (open + 1, None, open + 1),
            };
            template = template.text(&rest[..kept]);
            template.pieces.extend(place.map(Piece::Place));
            rest = &rest[next..];
        }
        template.text(rest)
    }

    /// The same with a text behind it.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
        self
    }

    /// The same with a place behind it.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.pieces.push(Piece::Place(place));
        self
    }

    /// The same with another template behind it.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        for piece in other.pieces {
            match piece {
                Piece::Text(text) => self = self.text(&text),
                place @ Piece::Place(_) => self.pieces.push(place),
            }
        }
        self
    }

    /// Whether the subject of the caller stands in it.
    pub fn names_principal(&self) -> bool {
        self.pieces.contains(&Piece::Place(Place::Principal))
    }

    /// The text for one request.
    pub fn fill(&self, filling: Filling<'_>) -> String {
        let length = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Place(_) => 40,
        };
        let mut text = String::with_capacity(self.pieces.iter().map(length).sum());
        for piece in &self.pieces {
            let written = match piece {
                Piece::Text(piece) => text.write_str(piece),
                Piece::Place(Place::Number(digits)) => write!(text, "{:0digits$}", filling.number),
                Piece::Place(Place::Principal) => text.write_str(filling.principal),
                Piece::Place(Place::Request) => write!(text, "{}", filling.request),
                Piece::Place(Place::Key) => text.write_str(filling.key),
            };
            written.expect("a String takes any text");
        }
        text
    }
}

fn place(name: &str) -> Option<Place> {
    match name {
        "n" => Some(Place::Number(0)),
        "principal" => Some(Place::Principal),
        _ => name.strip_prefix("n:0")?.parse().ok().filter(|digits| *digits <= 20).map(Place::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLING: Filling<'_> = Filling { number: 7, principal: "bench-3", request: 12, key: "k" };

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        for (text, filled) in [
            (r#"{"id": "inv_{n:04}", "user": "{principal}", "n": {n}}"#, r#"{"id": "inv_0007", "user": "bench-3", "n": 7}"#),
            (r#"{"a": {}, "b": {"n": 1}, "c": "{m} {n"}"#, r#"{"a": {}, "b": {"n": 1}, "c": "{m} {n"}"#),
            ("{{n}}", "{7}"),
            ("{n:4}{n:099}", "{n:4}{n:099}"),
            ("", ""),
        ] {
            assert_eq!(Template::parse(text).fill(FILLING), filled, "{text}");
        }
        assert!(Template::parse("{principal}").names_principal() && !Template::parse("{n}").names_principal());
    }

    #[test]
    fn a_user_cannot_reach_places_that_are_not_theirs() {
        assert_eq!(Template::parse("{key} {request}").fill(FILLING), "{key} {request}");
        let whole =
            Template::default().text("id=").place(Place::Request).text(" ").then(Template::parse("x{n}")).place(Place::Key);
        assert_eq!(whole.fill(FILLING), "id=12 x7k");
    }
}

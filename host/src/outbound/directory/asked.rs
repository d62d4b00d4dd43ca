//! What a request asks of directories.

use http::{Method, request};

use super::listing::MAX_DEPTH;
use super::place::Place;
use super::reply::Refusal;

/// What a request asks for.
pub(super) enum Asked {
    /// The directories that there are.
    Directories,
    /// What there is to know of a file or a folder.
    Info(Place),
    /// A listing that goes so many levels down.
    Entries(Place, usize),
    /// A file, or a part of it.
    Content(Place),
    /// That a file is written.
    Write(Place),
    /// That a folder is made.
    Folder(Place),
    /// That the first becomes the second.
    Move(Place, Place),
}

impl Asked {
    /// Reads it from the head of a request.
    pub(super) fn parse(head: &request::Parts) -> Result<Self, Refusal> {
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        let Some(place) = Place::parse(head.uri.path())? else {
            return match is_read {
                true => Ok(Self::Directories),
                false => Err(Refusal::not_allowed("the list of directories is the operator's")),
            };
        };
        let pairs: Vec<_> = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .take(2)
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        match (&head.method, &pairs[..]) {
            (_, []) if is_read => Ok(Self::Content(place)),
            (_, [("info", "")]) if is_read => Ok(Self::Info(place)),
            (_, [("depth", depth)]) if is_read => match depth.parse() {
                Ok(depth @ 1..=MAX_DEPTH) => Ok(Self::Entries(place, depth)),
                _ => Err(Refusal::invalid(&format!("`depth` is from 1 to {MAX_DEPTH}"))),
            },
            (&Method::PUT, []) => Ok(Self::Write(place)),
            (&Method::PUT, [("folder", "")]) => Ok(Self::Folder(place)),
            (&Method::POST, [("move-to", to)]) => {
                let to = Place::parse(to)?.ok_or_else(|| Refusal::invalid("`move-to` names no file"))?;
                Ok(Self::Move(place, to))
            }
            (&Method::GET | &Method::HEAD | &Method::PUT | &Method::POST, [_, ..]) => {
                Err(Refusal::invalid("the query is none of `info`, `folder`, `depth=` and `move-to=`, or another method's"))
            }
            _ => Err(Refusal::not_allowed("files are read with GET, written with PUT, and moved with POST and `?move-to=`")),
        }
    }

    /// Where it changes something.
    pub(super) fn changed(&self) -> Vec<&Place> {
        match self {
            Self::Directories | Self::Info(_) | Self::Entries(..) | Self::Content(_) => Vec::new(),
            Self::Write(place) | Self::Folder(place) => vec![place],
            Self::Move(from, to) => vec![from, to],
        }
    }
}

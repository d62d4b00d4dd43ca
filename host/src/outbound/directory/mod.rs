//! Directories of this machine as a backend: files and folders over HTTP, answered by the host itself.
//!
//! `GET /docs/a.txt` reads, `GET /docs?depth=1` lists, `GET …?info` tells of one, `PUT` writes, `PUT …?folder` makes a folder,
//! `POST …?move-to=` moves. Nothing else is reachable: a path is walked name by name from the directory, and no symbolic link is
//! followed on the way.

mod folder;
mod listing;
mod moving;
mod place;
mod read;
mod reply;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use tokio::sync::Semaphore;

use self::folder::Folder;
use self::place::Place;
use self::reply::{Refusal, Reply};
use super::Body;
use super::config::BackendConfig;
use super::error::OutboundError;
use super::exchange::Way;

/// The most directories of one backend.
const MAX_DIRECTORIES: usize = 64;

/// One directory in `[backends.<name>.directories]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Where it is: an absolute path.
    pub path: PathBuf,
    /// Whether files in it may be made and changed; not by default.
    #[serde(default)]
    pub write: bool,
}

impl DirectoryConfig {
    /// Whether the host can use it as the operator means it.
    ///
    /// # Errors
    /// Why not, in words for the operator.
    pub fn look(&self) -> Result<(), String> {
        let at = self.path.display();
        let folder = Folder::open(&self.path).map_err(|error| format!("`{at}` can't be opened: {error}"))?;
        folder.names(1).map_err(|error| format!("`{at}` can't be read: {error}"))?;
        if self.write && !folder.is_writable() {
            return Err(format!("`{at}` is to be written to, but this user may not"));
        }
        Ok(())
    }
}

/// The directories of one backend.
pub(super) struct Directories {
    inner: Arc<Inner>,
    /// Work that is under way, also for requests that nobody waits for any more: a disk that hangs holds so many threads at most.
    at_work: Arc<Semaphore>,
}

struct Inner {
    by_name: BTreeMap<String, Directory>,
    max_request: u64,
    max_response: u64,
    problem: Mutex<Option<String>>,
}

/// One of them.
struct Directory {
    path: PathBuf,
    is_writable: bool,
    /// Whoever changes something in it: between looking and changing nobody else of this host does.
    changing: Mutex<()>,
}

impl Directory {
    /// Waits until nobody else changes anything in it.
    fn changes(&self) -> MutexGuard<'_, ()> {
        // What a change that panicked left is whole: a file takes its place in one step.
        self.changing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Directories {
    /// The directories of the backend `name`. They are opened for each request, so one that is not there yet is no reason not to start.
    ///
    /// # Errors
    /// A name or a path that cannot be one.
    pub(super) fn new(
        name: &str,
        directories: &BTreeMap<String, DirectoryConfig>,
        config: &BackendConfig,
    ) -> Result<Self, OutboundError> {
        let wrong = |problem: String| OutboundError::Setting { backend: name.to_owned(), problem };
        if directories.len() > MAX_DIRECTORIES {
            return Err(wrong(format!("it has more than {MAX_DIRECTORIES} `directories`; give some a backend of their own")));
        }
        for (directory, DirectoryConfig { path, .. }) in directories {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if directory.is_empty() || directory.len() > 63 || !directory.bytes().all(is_plain) {
                return Err(wrong(format!("`{directory}` cannot be the name of a directory; use letters, digits, `-` and `_`")));
            }
            if !path.is_absolute() || path.parent().is_none() {
                let path = path.display();
                return Err(wrong(format!(
                    "`{path}` cannot be the path of `{directory}`; write an absolute one, and not `/` itself"
                )));
            }
        }
        let by_name = directories.iter().map(|(name, config)| {
            let directory = Directory { path: config.path.clone(), is_writable: config.write, changing: Mutex::default() };
            (name.clone(), directory)
        });
        let inner = Inner {
            by_name: by_name.collect(),
            max_request: config.max_request.0,
            max_response: config.max_response.0,
            problem: Mutex::default(),
        };
        let most = config.max_concurrent.min(Semaphore::MAX_PERMITS);
        Ok(Self { inner: Arc::new(inner), at_work: Arc::new(Semaphore::new(most)) })
    }

    /// Does what a request asks for. Files are no work for the threads that calls run on.
    pub(super) async fn answer(&self, request: Request<Full<Bytes>>, way: &mut Way) -> Response<Body> {
        let Ok(turn) = Arc::clone(&self.at_work).try_acquire_owned() else {
            return Refusal::busy().into_response();
        };
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        let inner = Arc::clone(&self.inner);
        way.leaves();
        let work = move || {
            let _turn = turn;
            inner.serve(&head, &body)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Refusal::broken("the host failed").into_response())
    }

    /// Why the last request failed, if the machine is to blame.
    pub(super) fn problem(&self) -> Option<String> {
        self.inner.problem().clone()
    }
}

impl Inner {
    fn serve(&self, head: &request::Parts, body: &Bytes) -> Response<Body> {
        let reply = self.reply(head, body);
        let mut response = match reply {
            Ok(reply) => reply.into_response(),
            Err(refusal) => refusal.into_response(),
        };
        if head.method == Method::HEAD {
            *response.body_mut() = Full::<Bytes>::default().map_err(|never| match never {}).boxed_unsync();
        }
        response
    }

    fn reply(&self, head: &request::Parts, body: &Bytes) -> Result<Reply, Refusal> {
        let Some(place) = Place::parse(head.uri.path())? else {
            return match head.method {
                Method::GET | Method::HEAD => {
                    Ok(listing::directories(self.by_name.iter().map(|(name, one)| (name, one.is_writable))))
                }
                _ => Err(Refusal::not_allowed("the list of directories is the operator's")),
            };
        };
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        let directory = self.directory(&place)?;
        match (&head.method, query) {
            (&Method::GET | &Method::HEAD, Query::Info) => listing::info(self.open(directory)?, &place),
            (&Method::GET | &Method::HEAD, Query::Depth(depth)) => {
                listing::entries(self.open(directory)?, &place, depth, self.max_response)
            }
            (&Method::GET | &Method::HEAD, Query::None) => {
                read::file(self.open(directory)?, &place, &head.headers, self.max_response)
            }
            (&Method::PUT, Query::None) => {
                self.check_writable(&place, directory)?;
                let _alone = directory.changes();
                write::file(self.open(directory)?, &place, &head.headers, body, self.max_request.max(self.max_response))
            }
            (&Method::PUT, Query::Folder) => {
                self.check_writable(&place, directory)?;
                let _alone = directory.changes();
                write::folder(self.open(directory)?, &place)
            }
            (&Method::POST, Query::MoveTo(to)) => self.moved(&place, directory, &to),
            _ => Err(Refusal::not_allowed("files are read with GET, written with PUT, and moved with POST and `?move-to=`")),
        }
    }

    fn moved(&self, from: &Place, directory: &Directory, to: &str) -> Result<Reply, Refusal> {
        let to = Place::parse(to)?.ok_or_else(|| Refusal::invalid("`move-to` names no file"))?;
        let target = self.directory(&to)?;
        self.check_writable(from, directory)?;
        self.check_writable(&to, target)?;
        // In the order of their names, so that no two wait for each other.
        let (first, second) = if from.directory <= to.directory { (directory, target) } else { (target, directory) };
        let _alone = first.changes();
        let _too = (from.directory != to.directory).then(|| second.changes());
        moving::rename(self.open(directory)?, from, self.open(target)?, &to)
    }

    fn directory(&self, place: &Place) -> Result<&Directory, Refusal> {
        self.by_name.get(&place.directory).ok_or_else(|| {
            let known: Vec<_> = self.by_name.keys().map(|name| format!("`{name}`")).collect();
            Refusal::not_found(&format!("there is no directory `{}`, but {}", place.directory, known.join(", ")))
        })
    }

    fn check_writable(&self, place: &Place, directory: &Directory) -> Result<(), Refusal> {
        if directory.is_writable {
            return Ok(());
        }
        Err(Refusal::forbidden(&format!("the directory `{}` is for reading only", place.directory)))
    }

    fn open(&self, directory: &Directory) -> Result<Folder, Refusal> {
        let opened = Folder::open(&directory.path);
        let problem = opened.as_ref().err().map(|error| format!("`{}` can't be opened: {error}", directory.path.display()));
        if let Some(problem) = &problem {
            tracing::warn!(problem, "a directory is not there");
        }
        *self.problem() = problem;
        opened.map_err(|_| Refusal::gone())
    }

    fn problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().expect("no code panics while it holds a problem")
    }
}

/// What a request asks for beside its path.
enum Query {
    None,
    /// What there is to know of a file or a folder.
    Info,
    /// A listing that goes so many levels down.
    Depth(usize),
    /// A folder, rather than a file.
    Folder,
    /// Where it is to be moved to.
    MoveTo(String),
}

impl Query {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let (first, more) = (pairs.next(), pairs.next());
        let unknown = || Refusal::invalid("the query is none of `info`, `folder`, `depth=` and `move-to=`");
        match (first.as_ref().map(|(key, value)| (&**key, &**value)), more) {
            (None, _) => Ok(Self::None),
            (Some(("info", "")), None) => Ok(Self::Info),
            (Some(("folder", "")), None) => Ok(Self::Folder),
            (Some(("depth", depth)), None) => match depth.parse() {
                Ok(depth @ 1..=listing::MAX_DEPTH) => Ok(Self::Depth(depth)),
                _ => Err(Refusal::invalid(&format!("`depth` is from 1 to {}", listing::MAX_DEPTH))),
            },
            (Some(("move-to", to)), None) => Ok(Self::MoveTo(to.to_owned())),
            _ => Err(unknown()),
        }
    }
}

//! Directories of this machine as a backend: files and folders over HTTP, answered by the host itself.
//!
//! `GET /docs/a.txt` reads, `GET /docs?depth=1` lists, `GET …?info` tells of one, `PUT` writes, `PUT …?folder` makes a folder,
//! `POST …?move-to=` moves. Nothing else is reachable: a path is walked name by name from the directory, and no symbolic link is
//! followed on the way.

mod asked;
mod folder;
mod listing;
mod moment;
mod moving;
mod place;
mod read;
mod reply;
mod sweep;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::{Instant, timeout_at};

use self::asked::Asked;
use self::folder::Folder;
use self::moment::Moment;
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
}

/// One of them.
struct Directory {
    path: PathBuf,
    is_writable: bool,
    /// Held by whoever changes something in it: between looking and changing nobody else of this host does.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Why the last request to it failed, if the machine is to blame.
    problem: Mutex<Option<String>>,
}

impl Directory {
    fn problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
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
            let (changing, problem) = Default::default();
            let directory = Directory { path: config.path.clone(), is_writable: config.write, changing, problem };
            (name.clone(), directory)
        });
        let inner = Inner { by_name: by_name.collect(), max_request: config.max_request.0, max_response: config.max_response.0 };
        let most = config.max_concurrent.min(Semaphore::MAX_PERMITS);
        Ok(Self { inner: Arc::new(inner), at_work: Arc::new(Semaphore::new(most)) })
    }

    /// Does what a request asks for, until then. Files are no work for the threads that calls run on.
    ///
    /// INVARIANT: whoever waits is told by `way` that nothing was done if that is certain, and then nothing will be: a change that
    /// comes after its caller was told of a failure would undo what the caller did since.
    pub(super) async fn answer(&self, request: Request<Full<Bytes>>, until: Instant, way: &mut Way) -> Response<Body> {
        let (head, body) = request.into_parts();
        let (asked, alone) = match self.inner.prepare(&head, until).await {
            Ok(prepared) => prepared,
            Err(refusal) => {
                way.did_nothing();
                return refusal.into_response();
            }
        };
        let Ok(turn) = Arc::clone(&self.at_work).try_acquire_owned() else {
            way.did_nothing();
            return Refusal::busy().into_response();
        };
        let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        let (inner, moment) = (Arc::clone(&self.inner), Arc::new(Moment::before(until)));
        let is_change = !asked.changed().is_empty();
        way.leaves();
        let waiting = Waiting { moment: Arc::clone(&moment), way, is_change };
        let work = move || {
            let (_turn, _alone) = (turn, alone);
            inner.serve(&asked, &head, &body, &moment)
        };
        let response = tokio::task::spawn_blocking(work).await;
        let response = response.unwrap_or_else(|_| Refusal::broken("the host failed").into_response());
        if response.status().is_success() {
            waiting.answered();
        }
        response
    }

    /// Removes, in time, what hosts that died have left of what they were writing.
    pub(super) fn sweep(&self) {
        sweep::start(&self.inner);
    }

    /// Why the last requests failed, if the machine is to blame.
    pub(super) fn problem(&self) -> Option<String> {
        let problems: Vec<_> = self.inner.by_name.values().filter_map(|directory| directory.problem().clone()).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

/// Somebody who waits for an answer. When it is dropped, with an answer that is no success or without one, nothing is changed any
/// more.
struct Waiting<'w> {
    moment: Arc<Moment>,
    way: &'w mut Way,
    is_change: bool,
}

impl Waiting<'_> {
    /// It was done.
    fn answered(mut self) {
        self.is_change = false;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_change && self.moment.give_up() {
            self.way.did_nothing();
        }
    }
}

impl Inner {
    /// What is asked for, if it may be; and the directories that it changes, for nobody else until these are dropped.
    async fn prepare(&self, head: &request::Parts, until: Instant) -> Result<(Asked, Vec<OwnedMutexGuard<()>>), Refusal> {
        let asked = Asked::parse(head)?;
        let mut directories = BTreeMap::new();
        for place in asked.changed() {
            let directory = self.directory(place)?;
            self.check_writable(place, directory)?;
            directories.insert(&place.directory, directory);
        }
        let mut alone = Vec::new();
        // In the order of their names, so that no two wait for each other.
        for directory in directories.into_values() {
            let locked = timeout_at(until, Arc::clone(&directory.changing).lock_owned()).await;
            alone.push(locked.map_err(|_| Refusal::busy())?);
        }
        Ok((asked, alone))
    }

    fn serve(&self, asked: &Asked, head: &request::Parts, body: &Bytes, moment: &Moment) -> Response<Body> {
        let reply = self.reply(asked, head, body, moment);
        let mut response = match reply {
            Ok(reply) => reply.into_response(),
            Err(refusal) => refusal.into_response(),
        };
        if head.method == Method::HEAD {
            *response.body_mut() = Full::<Bytes>::default().map_err(|never| match never {}).boxed_unsync();
        }
        response
    }

    fn reply(&self, asked: &Asked, head: &request::Parts, body: &Bytes, moment: &Moment) -> Result<Reply, Refusal> {
        match asked {
            Asked::Directories => Ok(listing::directories(self.by_name.iter().map(|(name, one)| (name, one.is_writable)))),
            Asked::Info(place) => listing::info(self.open(place)?, place),
            Asked::Entries(place, depth) => listing::entries(self.open(place)?, place, *depth, self.max_response),
            Asked::Content(place) => read::file(self.open(place)?, place, &head.headers, self.max_response),
            Asked::Write(place) => {
                let most = self.max_request.max(self.max_response);
                write::file(self.open(place)?, place, &head.headers, body, most, moment)
            }
            Asked::Folder(place) => write::folder(self.open(place)?, place, moment),
            Asked::Move(from, to) => moving::rename(self.open(from)?, from, self.open(to)?, to, moment),
        }
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

    fn open(&self, place: &Place) -> Result<Folder, Refusal> {
        let directory = self.directory(place)?;
        let opened = Folder::open(&directory.path);
        let problem = opened.as_ref().err().map(|error| format!("`{}` can't be opened: {error}", directory.path.display()));
        if let Some(problem) = &problem {
            tracing::warn!(problem, "a directory is not there");
        }
        *directory.problem() = problem;
        opened.map_err(|_| Refusal::gone())
    }
}

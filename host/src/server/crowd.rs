//! How many connections there may be, and which of them must leave for others: the one that has done nothing for longest.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long a connection must have done nothing before it is closed for another: a client that is about to send its next request
/// would lose it.
const AT_LEAST: Duration = Duration::from_secs(1);

/// How often to look for connections that have come to do nothing while somebody waits for a place.
const GLANCE: Duration = Duration::from_millis(100);

/// How many of all places are cleared at once, at least one: looking through all connections for each newcomer would cost too much.
const SHARE: usize = 64;

/// All connections of one listener.
pub struct Crowd {
    places: Arc<Semaphore>,
    size: usize,
    present: Mutex<Present>,
    /// Somebody waits for a place: the next connection to be answered is closed after that.
    is_waited_for: Arc<AtomicBool>,
    opened: Instant,
}

/// The connections there are, by number.
#[derive(Default)]
struct Present {
    activities: BTreeMap<u64, Arc<Activity>>,
    next: u64,
}

/// A connection's place, until it is dropped.
pub struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

/// What one connection does.
pub struct Activity {
    opened: Instant,
    /// Since when it does nothing, in milliseconds after `opened`; [`BUSY`] while a request is under way, [`ASKED`] once it was
    /// asked to leave.
    idle_since: AtomicU64,
    leave: Notify,
    is_waited_for: Arc<AtomicBool>,
}

const BUSY: u64 = u64::MAX;

const ASKED: u64 = u64::MAX - 1;

impl Crowd {
    /// A crowd of at most `size` connections.
    pub fn new(size: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(size)),
            size,
            present: Mutex::default(),
            is_waited_for: Arc::default(),
            opened: Instant::now(),
        }
    }

    /// A place for one more connection, as soon as there is one. May be dropped while it waits.
    pub async fn place(self: &Arc<Self>) -> Place {
        loop {
            match self.places.clone().try_acquire_owned() {
                Ok(permit) => {
                    self.is_waited_for.store(false, Ordering::Relaxed);
                    return self.enter(permit);
                }
                Err(_) => {
                    if self.make_room() == 0 {
                        self.is_waited_for.store(true, Ordering::Relaxed);
                    }
                    // Whether somebody left by then or not, there may be others to ask.
                    if let Ok(Ok(permit)) = tokio::time::timeout(GLANCE, self.places.clone().acquire_owned()).await {
                        self.is_waited_for.store(false, Ordering::Relaxed);
                        return self.enter(permit);
                    }
                }
            }
        }
    }

    /// Asks those to leave that have done nothing for longest. Answers how many were asked.
    pub fn make_room(&self) -> usize {
        let before = millis(self.opened.elapsed().saturating_sub(AT_LEAST));
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let idle_since = present.activities.values().map(|activity| (activity.idle_since.load(Ordering::Relaxed), activity));
        let mut idle: Vec<_> = idle_since.filter(|(since, _)| *since < before).collect();
        let most = (self.size / SHARE).max(1);
        if idle.len() > most {
            idle.select_nth_unstable_by_key(most, |(since, _)| *since);
            idle.truncate(most);
        }
        // Asked once, and only if no request has come in between.
        let asked = |(since, activity): &&(u64, &Arc<Activity>)| {
            activity.idle_since.compare_exchange(*since, ASKED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        idle.iter().filter(asked).map(|(_, activity)| activity.leave.notify_one()).count()
    }

    fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let activity = Arc::new(Activity {
            opened: self.opened,
            idle_since: AtomicU64::new(millis(self.opened.elapsed())),
            leave: Notify::new(),
            is_waited_for: self.is_waited_for.clone(),
        });
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let number = present.next;
        present.next += 1;
        present.activities.insert(number, activity.clone());
        Place { crowd: self.clone(), number, activity, _permit: permit }
    }
}

impl Place {
    /// What the connection in this place does.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.present.lock().unwrap_or_else(PoisonError::into_inner).activities.remove(&self.number);
    }
}

impl Activity {
    /// Waits until the connection is asked to leave.
    pub async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.idle_since.load(Ordering::Relaxed) == BUSY
    }

    fn begin(self: &Arc<Self>) -> UnderWay {
        self.idle_since.store(BUSY, Ordering::Relaxed);
        UnderWay(self.clone())
    }
}

/// A request under way; dropped once its whole answer has been handed over.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.idle_since.store(millis(self.0.opened.elapsed()), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(ASKED - 1)
}

/// A service whose requests count as its connection's activity.
#[derive(Clone)]
pub struct Watched<S> {
    /// The service.
    pub service: S,
    /// The connection's activity.
    pub activity: Arc<Activity>,
}

impl<S, B> Service<Request<Incoming>> for Watched<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<WatchedBody<B>>;
    type Error = Infallible;
    /// Boxed, so that a connection without a request takes up no room for one.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (under_way, answering) = (self.activity.begin(), self.service.call(request));
        Box::pin(async move {
            let mut response = answering.await?;
            if under_way.0.is_waited_for.swap(false, Ordering::Relaxed) {
                // The way to close a connection without losing a request: its client knows before it sends the next one.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| WatchedBody { body, _under_way: under_way }))
        })
    }
}

/// A body that counts as activity for as long as it is there.
pub struct WatchedBody<B> {
    body: B,
    _under_way: UnderWay,
}

impl<B: Body<Data = Bytes> + Unpin> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn elapsed() {
        tokio::time::sleep(AT_LEAST + Duration::from_millis(50)).await;
    }

    #[tokio::test]
    async fn whoever_has_done_nothing_for_longest_leaves_for_a_newcomer() {
        let crowd = Arc::new(Crowd::new(2));
        let (first, second) = (crowd.place().await, crowd.place().await);
        // The first has done something since.
        elapsed().await;
        drop(first.activity().begin());
        let newcomer = tokio::spawn({
            let crowd = crowd.clone();
            async move { crowd.place().await }
        });
        second.activity().told_to_leave().await;
        drop(second);
        newcomer.await.expect("it gets a place");
        assert!(!first.activity().is_busy());
    }

    #[tokio::test]
    async fn nobody_busy_is_asked_to_leave_and_the_next_to_be_answered_is_told_so() {
        let crowd = Arc::new(Crowd::new(1));
        let only = crowd.place().await;
        let under_way = only.activity().begin();
        elapsed().await;
        assert!(tokio::time::timeout(GLANCE, crowd.place()).await.is_err());
        assert!(only.activity().is_busy() && crowd.is_waited_for.load(Ordering::Relaxed));
        drop(under_way);
        assert_eq!(crowd.make_room(), 0, "it has just answered");
        drop(only);
        crowd.place().await;
        assert!(!crowd.is_waited_for.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn nobody_is_asked_twice() {
        let crowd = Arc::new(Crowd::new(1));
        let _only = crowd.place().await;
        elapsed().await;
        assert_eq!((crowd.make_room(), crowd.make_room()), (1, 0));
    }
}

//! What waits for the collector: bounded, sent in batches by a task of its own, dropped and counted where there is no room.
//!
//! INVARIANT: whoever puts something in never waits, whatever the collector does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Counter;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long a batch is waited for to become larger.
const LINGER: Duration = Duration::from_millis(500);

/// The most items of one batch.
const MAX_BATCH: usize = 512;

/// The bytes at which a batch is closed, about: collectors take 4 MiB over gRPC by default, and what is refused is lost whole.
const FULL_BATCH: usize = 1 << 20;

/// How often a batch is tried.
const TRIES: u32 = 4;

/// How long to wait before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(500);

/// The entrance.
pub struct Queue<T> {
    items: mpsc::UnboundedSender<(T, usize)>,
    room: Arc<Room>,
}

struct Room {
    /// Bytes that wait, about.
    waiting: AtomicUsize,
    max: usize,
    /// What waits, counted as what is dropped is.
    many: AtomicU64,
    dropped: Counter,
}

/// What waits in a queue, for whoever can't wait until it is sent.
pub struct Left {
    room: Arc<Room>,
    signal: &'static str,
}

/// Why a batch was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub problem: String,
    /// The collector will not take this batch later either.
    pub is_final: bool,
}

/// The exit.
pub struct Exit<T> {
    items: mpsc::UnboundedReceiver<(T, usize)>,
    room: Arc<Room>,
    signal: &'static str,
    timeout: Duration,
    closing: CancellationToken,
}

/// A queue for about `max` bytes of `signal`. Requests may take `timeout`; once `closing`, what waits is sent and no more.
pub fn queue<T>(signal: &'static str, max: usize, timeout: Duration, closing: CancellationToken) -> (Queue<T>, Exit<T>) {
    let (sender, items) = mpsc::unbounded_channel();
    let room = Arc::new(Room { waiting: AtomicUsize::new(0), max, many: AtomicU64::new(0), dropped: dropped(signal) });
    (Queue { items: sender, room: Arc::clone(&room) }, Exit { items, room, signal, timeout, closing })
}

/// Counts what is dropped of a signal.
pub fn dropped(signal: &'static str) -> Counter {
    metrics::counter!("tidegate_telemetry_dropped_total", "signal" => signal)
}

impl<T> Queue<T> {
    /// Whether something would be taken.
    pub fn has_room(&self) -> bool {
        self.room.waiting.load(Ordering::Relaxed) < self.room.max
    }

    /// Takes `item`, which takes up about so many `bytes` and counts as so `many`, or drops it.
    pub fn offer(&self, item: T, bytes: usize, many: u64) {
        self.room.waiting.fetch_add(bytes, Ordering::Relaxed);
        // What is longer than all the room waits alone, so there is always something that fits.
        let fits = self.room.waiting.load(Ordering::Relaxed) <= self.room.max.max(bytes);
        self.room.many.fetch_add(many, Ordering::Relaxed);
        if !fits || self.items.send((item, bytes)).is_err() {
            self.room.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.room.many.fetch_sub(many, Ordering::Relaxed);
            self.drop_uncounted(many);
        }
    }

    /// Counts what was dropped elsewhere for want of room.
    pub fn drop_uncounted(&self, many: u64) {
        self.room.dropped.increment(many);
    }
}

impl Left {
    /// Gives up what still waits: it counts as dropped.
    pub fn give_up(&self) {
        let many = self.room.many.swap(0, Ordering::Relaxed);
        if many > 0 {
            self.room.dropped.increment(many);
            tracing::warn!(
                signal = self.signal,
                many,
                "the collector did not take in time what was left to send, so it is dropped"
            );
        }
    }
}

impl<T: Clone> Exit<T> {
    /// What waits.
    pub fn left(&self) -> Left {
        Left { room: Arc::clone(&self.room), signal: self.signal }
    }

    /// Sends what comes until the queue is closed. `send` is told everything once more if it fails.
    pub async fn run(mut self, count: impl Fn(&[T]) -> u64, send: impl AsyncFn(Vec<T>) -> Result<(), Failure>) {
        let mut is_down = false;
        while let Some((batch, bytes)) = self.batch().await {
            let many = count(&batch);
            match self.deliver(&batch, &send).await {
                Ok(()) if is_down => {
                    is_down = false;
                    tracing::info!(signal = self.signal, "the collector takes telemetry again");
                }
                Ok(()) => {}
                Err(problem) => {
                    self.room.dropped.increment(many);
                    if !is_down {
                        is_down = true;
                        tracing::warn!(signal = self.signal, problem, "the collector takes no telemetry, so it is dropped");
                    }
                }
            }
            self.room.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.room.many.fetch_sub(many, Ordering::Relaxed);
        }
    }

    async fn batch(&mut self) -> Option<(Vec<T>, usize)> {
        let (first, mut bytes) = tokio::select! {
            biased;
            first = self.items.recv() => first?,
            () = self.closing.cancelled() => self.items.try_recv().ok()?,
        };
        let mut batch = vec![first];
        let full = Instant::now() + LINGER;
        while batch.len() < MAX_BATCH && bytes < FULL_BATCH {
            let next = tokio::select! {
                biased;
                next = timeout_at(full, self.items.recv()) => next.ok().flatten(),
                () = self.closing.cancelled() => self.items.try_recv().ok(),
            };
            let Some((next, more)) = next else { break };
            batch.push(next);
            bytes += more;
        }
        Some((batch, bytes))
    }

    async fn deliver(&self, batch: &[T], send: &impl AsyncFn(Vec<T>) -> Result<(), Failure>) -> Result<(), String> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let sent = timeout(self.timeout, send(batch.to_vec())).await;
            let (problem, is_final) = match sent {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Failure { problem, is_final })) => (problem, is_final),
                Err(_) => (format!("it did not answer within {:?}", self.timeout), false),
            };
            if is_final || attempt == TRIES || self.closing.is_cancelled() {
                return Err(problem);
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.closing.cancelled() => {}
            }
            pause *= 2;
        }
        unreachable!("the last try returns")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn failure(is_final: bool) -> Failure {
        Failure { problem: "not now".to_owned(), is_final }
    }

    fn started(max: usize) -> (Queue<u32>, Exit<u32>, CancellationToken) {
        let closing = CancellationToken::new();
        let (queue, exit) = queue("test", max, Duration::from_secs(1), closing.clone());
        (queue, exit, closing)
    }

    #[tokio::test]
    async fn what_waits_is_sent_in_order_when_the_queue_closes() {
        let (queue, exit, closing) = started(1_000);
        (0..9).for_each(|item| queue.offer(item, 1, 1));
        closing.cancel();
        let sent = Mutex::new(Vec::new());
        let collect = async |batch: Vec<u32>| {
            sent.lock().expect("whole").extend(batch);
            Ok(())
        };
        exit.run(|batch| batch.len() as u64, collect).await;
        assert_eq!(*sent.lock().expect("whole"), (0..9).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_hangs_holds_nothing_up_and_gets_no_more_than_there_is_room_for() {
        let (queue, exit, closing) = started(10);
        let running = tokio::spawn(exit.run(|batch| batch.len() as u64, async |_| std::future::pending().await));
        for item in 0..1_000 {
            queue.offer(item, 1, 1);
        }
        assert!(!queue.has_room());
        sleep(Duration::from_secs(60)).await;
        assert!(queue.has_room(), "what was tried often enough makes room");
        queue.offer(0, 1, 1);
        closing.cancel();
        timeout(Duration::from_secs(3), running).await.expect("the end waits for one try at most").expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_tried_again_before_it_is_given_up() {
        let (queue, exit, closing) = started(10);
        queue.offer(7, 1, 1);
        let (told, mut heard) = mpsc::unbounded_channel();
        let tries = AtomicUsize::new(0);
        let fail_first = async |batch: Vec<u32>| {
            told.send(batch).expect("somebody listens");
            if tries.fetch_add(1, Ordering::Relaxed) == 0 { Err(failure(false)) } else { Ok(()) }
        };
        let end = async {
            assert_eq!((heard.recv().await, heard.recv().await), (Some(vec![7]), Some(vec![7])));
            closing.cancel();
        };
        tokio::join!(exit.run(|batch| batch.len() as u64, fail_first), end);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_refused_for_good_is_not_tried_again_and_takes_no_more_than_a_mebibyte_with_it() {
        let (queue, exit, closing) = started(16 << 20);
        (0..8).for_each(|item| queue.offer(item, FULL_BATCH / 2, 1));
        let left = exit.left();
        closing.cancel();
        let sent = Mutex::new(Vec::new());
        let refuse_first = async |batch: Vec<u32>| {
            let mut sent = sent.lock().expect("whole");
            sent.push(batch);
            if sent.len() == 1 { Err(failure(true)) } else { Ok(()) }
        };
        exit.run(|batch| batch.len() as u64, refuse_first).await;
        assert_eq!(*sent.lock().expect("whole"), [[0, 1], [2, 3], [4, 5], [6, 7]]);
        assert_eq!(left.room.many.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_longer_is_known_to_be_left() {
        let (queue, exit, closing) = started(1_000);
        (0..3).for_each(|item| queue.offer(item, 1, 4));
        let left = exit.left();
        closing.cancel();
        let running = exit.run(|batch| 4 * batch.len() as u64, async |_| std::future::pending().await);
        timeout(Duration::from_millis(10), running).await.expect_err("it hangs");
        assert_eq!(left.room.many.load(Ordering::Relaxed), 12);
        left.give_up();
        assert_eq!(left.room.many.load(Ordering::Relaxed), 0);
    }
}

//! Accepting HTTP/1.1 connections within limits, and ending them gracefully.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::crowd::{Crowd, Place, Watched};

/// How much of this process strangers may hold.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at once. For a further one the connection that has done nothing for longest is closed; if all are busy, it waits
    /// in the operating system's backlog.
    pub connections: usize,
    /// Bytes of one request head.
    pub head: usize,
    /// Header fields of one request.
    pub fields: usize,
    /// How long a connection may take to deliver a request head, idle time before it included.
    pub idle: Duration,
    /// How long a peer may refuse to read what is sent to it.
    pub stall: Duration,
    /// How long requests under way may take to end once the server is told to stop.
    pub drain: Duration,
}

/// How long to wait before accepting again after the operating system refused, for want of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are accepted before everything else has its turn.
const MOST_IN_A_ROW: u32 = 1024;

/// How long a connection that is asked to leave may take to write what is left.
const LEAVING: Duration = Duration::from_secs(1);

/// Serves connections until `shutdown`, each with the service for whoever is at its other end; then lets requests under way end, for
/// as long as `limits.drain`.
pub async fn serve<S, B>(
    listener: TcpListener,
    limits: ConnectionLimits,
    service_for: impl Fn(SocketAddr) -> S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_header_size(limits.head).max_headers(limits.fields);
    let mut door =
        Door { listener, crowd: Arc::new(Crowd::new(limits.connections)), accepted: None, is_refused: false, admitted: 0 };
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer, place) = tokio::select! {
            // Not cut off by the runtime's budget: all callers wait at this one door, and while calls run, each time it yields a crowd
            // of ten thousand waits for another round of everything else.
            admitted = unconstrained(door.admit()) => admitted,
            // Ended connections are forgotten as they end, so the set holds no more than there are places.
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        let activity = place.activity().clone();
        let service = Watched { service: service_for(peer), activity: activity.clone() };
        let connection = http.serve_connection(TokioIo::new(Impatient::new(stream, limits.stall)), service);
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            let _place = place;
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = activity.told_to_leave() => {
                    connection.as_mut().graceful_shutdown();
                    // A head that was half sent is no request yet, and not waited for; a request that came at the last moment is.
                    loop {
                        match tokio::time::timeout(LEAVING, connection.as_mut()).await {
                            Ok(ended) => break ended,
                            Err(_) if activity.is_busy() => {}
                            Err(_) => return,
                        }
                    }
                }
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }
    drop(door);
    let drained = tokio::time::timeout(limits.drain, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time and are cut");
        connections.shutdown().await;
    }
}

/// Where connections come in.
///
/// INVARIANT: `admit` is polled in a `select!` and may be dropped at any await, so whoever was accepted stands in a field.
struct Door {
    listener: TcpListener,
    crowd: Arc<Crowd>,
    /// Accepted, and waiting for a place.
    accepted: Option<(TcpStream, SocketAddr)>,
    /// The operating system refused to accept, and was complained about.
    is_refused: bool,
    /// How many were let in.
    admitted: u32,
}

impl Door {
    /// The next connection, once there is a place for it. While there is none, connections that do nothing are asked to leave.
    async fn admit(&mut self) -> (TcpStream, SocketAddr, Place) {
        while self.accepted.is_none() {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut self.is_refused) {
                        tracing::info!("connections are accepted again");
                    }
                    // Answers are small and awaited: waiting to fill a segment only adds latency. A peer already gone is found
                    // out soon enough.
                    let _ = stream.set_nodelay(true);
                    self.accepted = Some((stream, peer));
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_refused, true) {
                        tracing::warn!(%error, "can't accept connections; trying again and again");
                    }
                    self.crowd.make_room();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.admitted += 1;
        if self.admitted.is_multiple_of(MOST_IN_A_ROW) {
            tokio::task::yield_now().await;
        }
        let place = self.crowd.place().await;
        let (stream, peer) = self.accepted.take().expect("somebody was accepted above");
        (stream, peer, place)
    }
}

/// A stream that gives up on a peer that stops reading.
struct Impatient<S> {
    stream: S,
    stall: Duration,
    since: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, stall: Duration) -> Self {
        Self { stream, stall, since: None }
    }

    /// Passes a write's progress on, unless it has made none for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.since = None;
            return written;
        }
        let stall = self.stall;
        let since = self.since.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        since.as_mut().poll(context).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_stops_reading_is_given_up() {
        let (near, _far) = tokio::io::duplex(16);
        let mut stream = Impatient::new(near, Duration::from_millis(20));
        let error = stream.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_peer_is_not() {
        let (near, mut far) = tokio::io::duplex(16);
        let reader = tokio::spawn(async move {
            let mut taken = 0;
            let mut buffer = [0; 16];
            while taken < 64 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                taken += tokio::io::AsyncReadExt::read(&mut far, &mut buffer).await.expect("the writer is there");
            }
        });
        Impatient::new(near, Duration::from_secs(5)).write_all(&[0; 64]).await.expect("each step is in time");
        reader.await.expect("the reader ends");
    }
}

//! A first look at a backend: whether a connection comes about as it does for requests, TLS and all, without a request over it.

use std::io;
use std::time::Duration;

use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tower::{Service as _, ServiceExt as _};

use super::backend::BackendConfig;
use super::connect;
use super::exchange::connecting;
use super::resolve;

/// How long a server gets to say that it does not like the certificate it was shown: in TLS 1.3 that comes after the handshake.
const SECOND_THOUGHTS: Duration = Duration::from_millis(300);

/// Opens a connection to the backend `name`, and closes it.
///
/// # Errors
/// None comes about: why, in words for the operator.
pub async fn greet(name: &str, config: &BackendConfig) -> Result<(), String> {
    let url: Uri = config.url.parse().map_err(|_| "its url is none".to_owned())?;
    let connecting = connecting(name, config, false, resolve::system()).map_err(|error| error.to_string())?;
    let connected = connecting.connector().ready_oneshot().await;
    let connected = match connected {
        Ok(mut connector) => connector.call(url).await,
        Err(error) => Err(error),
    };
    let stream = connected.map_err(|error| connect::explain(&*error))?;
    if let MaybeHttpsStream::Https(stream) = stream {
        let mut stream = TokioIo::new(stream);
        // Nobody was asked anything, so nobody has anything to say but that.
        match tokio::time::timeout(SECOND_THOUGHTS, stream.read(&mut [0; 1])).await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(connect::explain(&error)),
            _ => {}
        }
    }
    Ok(())
}

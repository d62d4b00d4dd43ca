//! Whether somebody listens where a URL leads.

use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connects to where `url` leads, and says nothing there; answers the address.
///
/// # Errors
/// Nobody is there: in words, without what may be secret in the URL.
pub async fn reach(url: &str) -> Result<SocketAddr, String> {
    let uri: Uri = url.parse().map_err(|_| "it has no URL".to_owned())?;
    let host = uri.host().ok_or("its URL names no host")?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let shown = format!("{host}:{port}");
    match timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(stream)) => stream.peer_addr().map_err(|error| format!("{shown}: {error}")),
        Ok(Err(error)) => Err(format!("nobody takes a connection at {shown}: {error}")),
        Err(_) => Err(format!("no connection to {shown} within {PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_listens_is_reached_and_whoever_does_not_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        assert_eq!(reach(&format!("http://{address}/v1")).await, Ok(address));
        drop(listener);
        let problem = reach(&format!("http://user:secret@{address}")).await.expect_err("nobody is there");
        assert!(problem.contains(&address.to_string()) && !problem.contains("secret"), "{problem}");
    }
}

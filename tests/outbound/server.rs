//! A server of the test's own, over TCP or TLS, that says byte by byte what it is told to.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request, as it came over the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query, as written.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// Answers a request, however it likes. An error ends the connection.
pub type Answer = Arc<dyn Fn(&Seen, &mut dyn Write) -> io::Result<()> + Send + Sync>;

/// A running server; it ends with the process.
pub struct Server {
    /// Where it listens, without a path.
    pub url: String,
    /// Its port.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

impl Server {
    /// One that answers over TCP.
    pub fn plain(answer: impl Fn(&Seen, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start("http", Arc::new(answer), |stream| Ok(Box::new(stream)))
    }

    /// One that answers over TLS.
    pub fn tls(config: ServerConfig, answer: impl Fn(&Seen, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let config = Arc::new(config);
        Self::start("https", Arc::new(answer), move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            Ok(Box::new(StreamOwned::new(connection, stream)))
        })
    }

    fn start(
        scheme: &str,
        answer: Answer,
        secured: impl Fn(TcpStream) -> io::Result<Box<dyn Wire>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::<State>::default();
        let (shared, secured) = (Arc::clone(&state), Arc::new(secured));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (state, answer, secured) = (Arc::clone(&shared), Arc::clone(&answer), Arc::clone(&secured));
                // Whoever hangs up ends it.
                std::thread::spawn(move || serve(&state, &answer, secured(stream)?));
            }
        });
        Self { url: format!("{scheme}://127.0.0.1:{port}"), port, state }
    }

    /// The requests that came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("whole").clone()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

fn serve(state: &State, answer: &Answer, wire: Box<dyn Wire>) -> io::Result<()> {
    let mut wire = BufReader::new(wire);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if wire.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut words = lines[0].split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
        let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        wire.read_exact(&mut body)?;
        let seen = Seen { method, target, headers, body: String::from_utf8_lossy(&body).into_owned() };
        state.seen.lock().expect("whole").push(seen.clone());
        answer(&seen, wire.get_mut())?;
        wire.get_mut().flush()?;
    }
}

/// Writes a whole response.
pub fn respond(to: &mut dyn Write, status: &str, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
    write!(to, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len())?;
    for (name, value) in headers {
        write!(to, "{name}: {value}\r\n")?;
    }
    write!(to, "\r\n{body}")
}

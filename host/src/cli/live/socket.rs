//! One connection to the admin socket in the data folder of a live host, and one question after the other.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use super::{LONGEST, PATIENCE};
use crate::app;

/// A connection to a live host.
pub struct Socket {
    path: PathBuf,
    socket: BufReader<UnixStream>,
    asked: u64,
}

impl Socket {
    /// Connects to the host that owns the data folder; `None` if there is none.
    ///
    /// # Errors
    /// If its socket is there and can't be used.
    pub fn connect(data: &Path) -> Result<Option<Self>> {
        let path = app::admin_socket_path(data);
        let socket = match UnixStream::connect(&path) {
            Ok(socket) => socket,
            // A host that was killed leaves its socket behind.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("can't connect to the host on `{}`", path.display())),
        };
        let mut live = Self { path, socket: BufReader::new(socket), asked: 0 };
        live.wait_at_most(PATIENCE)?;
        Ok(Some(live))
    }

    /// Connects to the host that owns the data folder.
    ///
    /// # Errors
    /// If there is none, or its socket can't be used.
    pub fn demand(data: &Path) -> Result<Self> {
        Self::connect(data)?.with_context(|| {
            let path = app::admin_socket_path(data);
            format!(
                "no host answers on `{}`; start one, or name the data folder of the running one with `--data DIR`",
                path.display()
            )
        })
    }

    /// How long the host may take for each answer from now on; 10 s by default.
    ///
    /// # Errors
    /// If the socket is no more.
    pub fn wait_at_most(&mut self, patience: Duration) -> Result<()> {
        let socket = self.socket.get_ref();
        let set = socket.set_read_timeout(Some(patience)).and_then(|()| socket.set_write_timeout(Some(patience)));
        set.with_context(|| format!("can't use the socket `{}`", self.path.display()))
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// If the host has no place free, does not answer in time or at all, or refuses, and then in its words.
    pub fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.asked += 1;
        let mut request = json!({ "jsonrpc": "2.0", "id": self.asked, "method": method });
        if !params.is_null() {
            request["params"] = params.clone();
        }
        let sent = self.socket.get_mut().write_all(format!("{request}\n").as_bytes());
        self.heard(sent)?;
        loop {
            let mut answer = self.line()?;
            // A host may also tell of things that nobody asked about.
            if answer["id"] != json!(self.asked) {
                continue;
            }
            return match answer.get_mut("result") {
                Some(result) => Ok(result.take()),
                None => bail!("the host refuses: {}", answer["error"]["message"].as_str().unwrap_or("it gives no reason")),
            };
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = Vec::new();
        let read = self.socket.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        self.heard(read)?;
        match line.last() {
            None => Err(self.hung_up()),
            Some(b'\n') => serde_json::from_slice(&line).context("the host's answer is no JSON; is it of another version?"),
            Some(_) if line.len() as u64 == LONGEST => bail!("the host's answer is longer than {} MiB", LONGEST >> 20),
            Some(_) => bail!("the host stopped in the middle of its answer"),
        }
    }

    /// What came of reading or writing.
    fn heard<T>(&self, result: std::io::Result<T>) -> Result<T> {
        result.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => self.hung_up(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!("the host does not answer in time"),
            _ => anyhow::Error::new(error).context("the host does not answer"),
        })
    }

    fn hung_up(&self) -> anyhow::Error {
        match self.asked {
            // One connection too many is closed at once, whichever side of it notices first.
            0 | 1 => anyhow!("the host has no place free, try again"),
            _ => anyhow!("the host ended the connection; it stops, or was stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A host that says these lines, one after each question, and then ends the connection. Its thread answers what it was asked.
    fn host(data: &Path, says: Vec<String>) -> JoinHandle<Vec<Value>> {
        let listener = UnixListener::bind(app::admin_socket_path(data)).expect("the socket can be made");
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("somebody connects");
            let mut reader = BufReader::new(socket);
            let mut asked = Vec::new();
            for said in says {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a question");
                asked.push(serde_json::from_str(&line).expect("JSON"));
                reader.get_mut().write_all(said.as_bytes()).expect("the asker listens");
            }
            asked
        })
    }

    fn answer(id: u64, result: &Value) -> String {
        format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    #[test]
    fn one_connection_carries_question_after_question_whatever_else_the_host_tells() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let told = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n".to_owned();
        let host = host(folder.path(), vec![answer(1, &json!("one")), told + &answer(2, &json!({ "two": 2 }))]);
        let mut live = Socket::connect(folder.path()).expect("it answers").expect("it is there");
        assert_eq!(live.ask("tidegate/first", &Value::Null).expect("answered"), json!("one"));
        assert_eq!(live.ask("tidegate/second", &json!({ "n": 7 })).expect("answered"), json!({ "two": 2 }));
        let ended = live.ask("tidegate/third", &Value::Null).expect_err("the host has ended the connection").to_string();
        assert!(ended.contains("ended the connection"), "{ended}");
        let asked = host.join().expect("no panic");
        assert_eq!((&asked[0]["method"], asked[0].get("params")), (&json!("tidegate/first"), None));
        assert_eq!(asked[1]["params"], json!({ "n": 7 }));
    }

    #[test]
    fn what_goes_wrong_is_told_in_words() {
        let refused = |says: &str| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let host = host(folder.path(), vec![says.to_owned()]);
            let mut live = Socket::demand(folder.path()).expect("it is there");
            let refused = live.ask("tidegate/any", &Value::Null).expect_err("it is no answer").to_string();
            host.join().expect("no panic");
            refused
        };
        let error = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32603, "message": "the disk is full" } });
        assert_eq!(refused(&format!("{error}\n")), "the host refuses: the disk is full");
        assert!(refused("what?\n").contains("no JSON"));
        assert!(refused("{\"jsonrpc\":").contains("in the middle"));
        assert!(refused("").contains("no place free"));
    }

    #[test]
    fn a_folder_without_a_live_host_is_no_error_but_where_one_is_needed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(Socket::connect(folder.path()).expect("nothing is wrong").is_none());
        // A host that was killed leaves its socket behind.
        drop(UnixListener::bind(app::admin_socket_path(folder.path())).expect("the socket can be made"));
        assert!(Socket::connect(folder.path()).expect("nothing is wrong").is_none());
        assert!(Socket::demand(folder.path()).err().expect("one is needed").to_string().contains("no host answers"));
    }
}

//! A real OCI registry (Debian's `docker-registry`) as a process of the test's own on loopback.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// The user that a registry with a lock lets in.
pub const USER: (&str, &str) = ("ali", "open sesame");

/// A bcrypt hash of that password, as `htpasswd` writes it.
const HASH: &str = "$2b$04$hEL0D09Vh056UnBcfI.YrOMXohhrodsHuNyM0FImNhmpxxoc4yp3e";

/// A running registry.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// One that lets everybody in.
    pub fn open() -> Self {
        Self::start(false)
    }

    /// One that lets [`USER`] in.
    pub fn locked() -> Self {
        Self::start(true)
    }

    fn start(is_locked: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, data, users) = (folder.path().join("config.yml"), folder.path().join("data"), folder.path().join("users"));
        std::fs::write(&users, format!("{}:{HASH}\n", USER.0)).expect("written");
        let lock = format!("auth: {{htpasswd: {{realm: tests, path: {:?}}}}}\n", users);
        let text = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {data:?}}}}}\nhttp: {{addr: \"127.0.0.1:0\", secret: s}}\n{}",
            if is_locked { &lock } else { "" }
        );
        std::fs::write(&config, text).expect("written");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("these tests need `docker-registry` (`apt-get install docker-registry`): {error}"));
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let address = lines.by_ref().find_map(|line| {
            let address =
                line.split_once("listening on ").map(|(_, rest)| rest.split(['"', ',']).next().unwrap_or(rest).to_owned());
            said.push(line);
            address
        });
        let address = address.unwrap_or_else(|| panic!("the registry did not start:\n{}", said.join("\n")));
        // Read on, or it would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _folder: folder }
    }

    /// The name of something in it.
    pub fn name(&self, artifact: &str) -> String {
        format!("oci://{}/{artifact}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The admin token: who holds it is the operator. No issuer vouches for it, and it says nothing; it is a secret in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::model::ADMIN_TOKEN_FILE;

/// What a token of our own making begins with, so that scanners and people know it where it does not belong.
const PREFIX: &str = "tga_";

/// How long a token must be, in bytes: what is shorter can be guessed.
const SHORTEST: usize = 32;

/// The longest token, in bytes.
const LONGEST: usize = 512;

/// The file that holds the admin token. It is read whenever somebody shows a token: whoever replaces it has changed the token.
#[derive(Clone, Debug)]
pub struct AdminToken {
    path: PathBuf,
}

/// Why there is no admin token.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokenError {
    /// The file can't be read.
    #[error("can't read the admin token `{}`: {source}; it has to hold {SHORTEST} random characters or more, such as those of `openssl rand -hex 32`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file can't be made.
    #[error("can't make the admin token `{}`: {source}", .path.display())]
    Unmade {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Others know it.
    #[error("the admin token `{}` may be read or changed by others (mode {mode:03o}); run `chmod 600` on it, and better replace it", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody else's, who may change it whenever they like.
    #[error("the admin token `{}` belongs to the user with the number {owner}, not to the host's own nor to root; run `chown` on it, and better replace it", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The number of its owner.
        owner: u32,
    },
    /// It can't be sent, or be guessed.
    #[error("the admin token `{}` {problem}; it has to be {SHORTEST} to {LONGEST} random letters and digits, such as those of `openssl rand -hex 32`", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

impl AdminToken {
    /// The token in `keys`, the folder of secrets; a new one is made if there is none.
    ///
    /// # Errors
    /// It can't be made, or what is there is none.
    pub fn in_folder(keys: &Path) -> Result<Self, AdminTokenError> {
        let path = keys.join(ADMIN_TOKEN_FILE);
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => make(keys, &path).map_err(|source| AdminTokenError::Unmade { path: path.clone(), source })?,
            Err(source) => return Err(AdminTokenError::Unreadable { path, source }),
        }
        Self::at(path)
    }

    /// The token in a file that somebody else looks after.
    ///
    /// # Errors
    /// There is none.
    pub fn at(path: PathBuf) -> Result<Self, AdminTokenError> {
        let token = Self { path };
        token.read()?;
        Ok(token)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `shown` is the token, as the file says now. How long it takes says nothing about the token. Blocks on the disk.
    ///
    /// # Errors
    /// There is none now, so nobody is let in.
    pub fn is(&self, shown: &str) -> Result<bool, AdminTokenError> {
        Ok(self.read()?.as_bytes().ct_eq(shown.as_bytes()).into())
    }

    fn read(&self) -> Result<Zeroizing<String>, AdminTokenError> {
        let unfit = |problem| AdminTokenError::Unfit { path: self.path.clone(), problem };
        let unreadable = |source| AdminTokenError::Unreadable { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(unreadable)?;
        // Of the file that is open: the one by that name may be another by now.
        let about = file.metadata().map_err(unreadable)?;
        let (mode, owner) = (about.mode() & 0o777, about.uid());
        // A group may read it, as secrets are mounted for.
        if mode & 0o037 != 0 {
            return Err(AdminTokenError::Exposed { path: self.path.clone(), mode });
        }
        if !may_own(owner, rustix::process::geteuid().as_raw()) {
            return Err(AdminTokenError::Foreign { path: self.path.clone(), owner });
        }
        // Room for all of it, and for one byte too many: whatever grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(LONGEST + 4));
        match file.take(LONGEST as u64 + 3).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(unfit("is no text")),
            Err(source) => return Err(unreadable(source)),
        }
        let length = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(length);
        match length {
            ..SHORTEST => Err(unfit("is too short")),
            SHORTEST..=LONGEST if text.bytes().all(is_token) => Ok(text),
            SHORTEST..=LONGEST => Err(unfit("holds what no bearer token may hold")),
            _ => Err(unfit("is too long")),
        }
    }
}

/// Whether a byte may stand in a bearer token (RFC 6750 §2.1).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// Whether a file of `owner` can hold the token of a host that runs as `user`: its own, or what root has laid there for it.
fn may_own(owner: u32, user: u32) -> bool {
    owner == user || owner == 0
}

/// Makes a new token of 256 random bits. Durable on return.
fn make(folder: &Path, path: &Path) -> io::Result<()> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
    let text = Zeroizing::new(format!("{PREFIX}{}\n", URL_SAFE_NO_PAD.encode(*bytes)));
    // Under another name first, so that what lies in its place is whole.
    let aside = folder.join(format!("{ADMIN_TOKEN_FILE}.new"));
    // What a crash left there, or somebody laid there, keeps its owner and its permissions when it is written to.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A file that holds this, with these permissions.
    fn file(text: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("changed");
        file
    }

    #[test]
    fn one_that_is_made_is_random_known_by_its_look_and_for_nobody_elses_eyes() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = AdminToken::in_folder(folder.path()).expect("made");
        let text = std::fs::read_to_string(token.path()).expect("readable");
        assert!(text.starts_with("tga_") && text.trim_end().len() == 4 + 43, "{}", text.len());
        assert_eq!(token.path().metadata().expect("there").permissions().mode() & 0o777, 0o600);
        let again = AdminToken::in_folder(folder.path()).expect("it is there");
        assert!(again.is(text.trim_end()).expect("readable"), "it is not made anew");
        let other = tempfile::tempdir().expect("a folder");
        assert!(!AdminToken::in_folder(other.path()).expect("made").is(text.trim_end()).expect("readable"));
    }

    #[test]
    fn what_lies_where_it_is_made_lends_it_neither_its_permissions_nor_a_name_elsewhere() {
        let (folder, elsewhere) = (tempfile::tempdir().expect("a folder"), file(b"precious", 0o644));
        let aside = folder.path().join("admin-token.new");
        for lay in [&(|| std::fs::copy(elsewhere.path(), &aside).map(drop)) as &dyn Fn() -> io::Result<()>, &|| {
            std::os::unix::fs::symlink(elsewhere.path(), &aside)
        }] {
            lay().expect("laid there");
            let token = AdminToken::in_folder(folder.path()).expect("made");
            assert_eq!(token.path().symlink_metadata().expect("there").mode() & 0o170_777, 0o100_600);
            assert_eq!(std::fs::read(elsewhere.path()).expect("readable"), b"precious");
            std::fs::remove_file(token.path()).expect("removed");
        }
    }

    #[test]
    fn it_is_the_hosts_own_or_roots() {
        assert!(may_own(1000, 1000) && may_own(0, 1000) && may_own(0, 0));
        assert!(!may_own(1001, 1000) && !may_own(1000, 0));
    }

    #[test]
    fn it_is_all_of_it_and_what_the_file_says_now() {
        let file = file(b"0123456789abcdef0123456789abcdef\r\n", 0o600);
        let token = AdminToken::at(file.path().to_owned()).expect("fit");
        let is = |shown: &str| token.is(shown).expect("readable");
        assert!(is("0123456789abcdef0123456789abcdef"));
        for wrong in
            ["", "0123456789abcdef0123456789abcde", "0123456789abcdef0123456789abcdef0", "0123456789abcdef0123456789abcdeF"]
        {
            assert!(!is(wrong), "{wrong}");
        }
        std::fs::write(file.path(), "another-0123456789abcdef0123456789").expect("written");
        assert!(!is("0123456789abcdef0123456789abcdef") && is("another-0123456789abcdef0123456789"));
    }

    #[test]
    fn what_is_no_token_is_told_and_not_quoted() {
        for (text, mode, words) in [
            (&b"secret"[..], 0o600, "too short"),
            (&b"secret".repeat(100)[..], 0o600, "too long"),
            (b"secret secret secret secret secret", 0o600, "holds what no"),
            (b"\xff\xfesecret-secret-secret-secret-secret", 0o600, "no text"),
            (b"secret-secret-secret-secret-secret-", 0o644, "mode 644"),
            (b"secret-secret-secret-secret-secret-", 0o660, "mode 660"),
        ] {
            let file = file(text, mode);
            let problem = AdminToken::at(file.path().to_owned()).expect_err("none").to_string();
            assert!(problem.contains(words) && !problem.contains("secret"), "{problem}");
        }
        assert!(AdminToken::at("/nowhere/token".into()).expect_err("none").to_string().contains("openssl rand"));
    }
}

//! Where a request points: a directory, and names below it.

use super::reply::Refusal;
use super::write::is_reserved;
use crate::outbound::route;

/// How deep a path may be.
const MAX_NAMES: usize = 64;
/// The longest name, in bytes: what file systems take.
const MAX_NAME: usize = 255;

/// A path within a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The directory, by the operator's name.
    pub directory: String,
    /// The names below it; none for the directory itself.
    pub names: Vec<String>,
}

impl Place {
    /// What a path points to; `None` for the list of directories. A name has one spelling, and is no way to anywhere else: not empty,
    /// not `.` or `..`, no slash in it, however it is encoded.
    pub(super) fn parse(path: &str) -> Result<Option<Self>, Refusal> {
        let path = path.strip_prefix('/').ok_or_else(|| Refusal::invalid("the path does not start with `/`"))?;
        if path.is_empty() {
            return Ok(None);
        }
        let mut names = path.split('/').map(name).collect::<Result<Vec<_>, _>>()?;
        if names.len() > MAX_NAMES {
            return Err(Refusal::invalid(&format!("the path has more than {MAX_NAMES} parts")));
        }
        let directory = names.remove(0);
        Ok(Some(Self { directory, names }))
    }

    /// The folder it lies in, and its own name.
    pub(super) fn split(&self) -> Result<(&[String], &str), Refusal> {
        let (name, above) =
            self.names.split_last().ok_or_else(|| Refusal::forbidden("the directory itself is the operator's"))?;
        Ok((above, name))
    }

    /// As a person writes it.
    pub(super) fn shown(&self) -> String {
        let mut shown = self.directory.clone();
        for name in &self.names {
            shown.push('/');
            shown.push_str(name);
        }
        shown
    }
}

fn name(encoded: &str) -> Result<String, Refusal> {
    let bytes = route::decoded(encoded.as_bytes()).unwrap_or_else(|| encoded.as_bytes().to_vec());
    let name = String::from_utf8(bytes).map_err(|_| Refusal::invalid("a name in the path is no text"))?;
    if matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']) || name.chars().any(char::is_control) {
        return Err(Refusal::invalid("a name in the path is empty, `.`, `..`, or holds a slash or a control character"));
    }
    if name.len() > MAX_NAME {
        return Err(Refusal::invalid(&format!("a name in the path is longer than {MAX_NAME} bytes")));
    }
    if is_reserved(&name) {
        return Err(Refusal::invalid("names like this are the host's, for files that are being written"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_directory_and_names() {
        let parsed = |path: &str| Place::parse(path).ok().flatten().map(|place| place.shown());
        assert_eq!(parsed("/docs").as_deref(), Some("docs"));
        assert_eq!(parsed("/docs/a.txt").as_deref(), Some("docs/a.txt"));
        assert_eq!(parsed("/docs/%C3%BC%20%25%5C;x/...").as_deref(), Some("docs/ü %\\;x/..."));
        assert!(matches!(Place::parse("/"), Ok(None)));
    }

    #[test]
    fn no_spelling_of_a_name_leads_anywhere_else() {
        let long = format!("/docs/{}", "a".repeat(256));
        let deep = "/a".repeat(65);
        for path in [
            "",
            "docs/a",
            "//",
            "/docs//a",
            "/docs/a/",
            "/docs/.",
            "/docs/..",
            "/docs/%2e%2E/a",
            "/docs/.%2e",
            "/docs/a%2fb",
            "/docs/a%2F..%2Fb",
            "/..",
            "/docs/a%00",
            "/docs/%0A",
            "/docs/%ff%fe",
            "/docs/.tidegate-0a.part",
            &long,
            &deep,
        ] {
            assert!(Place::parse(path).is_err(), "{path}");
        }
    }
}

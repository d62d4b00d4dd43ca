//! Directories asked directly. Attacks on them stand in `tests/files`, with a guest that makes them.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use http::StatusCode;

use super::*;

struct Disk {
    directories: Directories,
    folder: tempfile::TempDir,
}

fn disk() -> Disk {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = DirectoryConfig { path: folder.path().to_owned(), write: true };
    let all = BTreeMap::from([("d".to_owned(), config)]);
    let directories = Directories::new("files", &all, &BackendConfig::at("http://unused")).expect("it can be one");
    Disk { directories, folder }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl Disk {
    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &'static str) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(format!("http://files{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).expect("a request");
        let mut way = Way::default();
        let response = self.directories.answer(request, soon(), &mut way).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("it is all there").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    fn mode(&self, name: &str) -> u32 {
        self.folder.path().join(name).metadata().expect("it is there").permissions().mode() & 0o7777
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_keeps_its_mode_but_no_privilege() {
    let disk = disk();
    std::fs::write(disk.folder.path().join("a"), "old").expect("written");
    for (mode, kept) in [(0o600, 0o600), (0o755, 0o755), (0o4711, 0o711)] {
        std::fs::set_permissions(disk.folder.path().join("a"), std::fs::Permissions::from_mode(mode)).expect("it is ours");
        assert_eq!(disk.ask("PUT", "/d/a", &[], "new").await.0, StatusCode::OK);
        assert_eq!(disk.mode("a"), kept);
    }
    assert_eq!(disk.ask("PUT", "/d/b", &[], "new").await.0, StatusCode::CREATED);
    assert_eq!(disk.mode("b") & 0o111, 0, "what is new is no program");
}

#[tokio::test]
async fn a_hard_link_keeps_what_it_held_when_its_twin_is_replaced() {
    let disk = disk();
    let at = |name: &str| disk.folder.path().join(name);
    std::fs::write(at("a"), "old").expect("written");
    std::fs::hard_link(at("a"), at("twin")).expect("linked");
    disk.ask("PUT", "/d/a", &[], "new").await;
    assert_eq!(std::fs::read_to_string(at("twin")).expect("it is there"), "old");
}

#[tokio::test]
async fn a_name_that_is_no_text_is_left_out_of_listings() {
    let disk = disk();
    std::fs::write(disk.folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").expect("written");
    std::fs::write(disk.folder.path().join("a"), "").expect("written");
    let (status, listing) = disk.ask("GET", "/d?depth=1", &[], "").await;
    assert!(status == StatusCode::OK && listing.contains("\"a\"") && listing.matches("path").count() == 1, "{listing}");
    assert_eq!(disk.ask("GET", "/d/%ff", &[], "").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_listing_goes_as_deep_as_it_is_asked_to() {
    let disk = disk();
    std::fs::create_dir_all(disk.folder.path().join("a/b/c")).expect("made");
    for (depth, entries) in [(1, 1), (2, 2), (3, 3), (32, 3)] {
        let (_, listing) = disk.ask("GET", &format!("/d?depth={depth}"), &[], "").await;
        assert_eq!(listing.matches("\"path\"").count(), entries, "{listing}");
    }
    let (_, listing) = disk.ask("GET", "/d/a/b?depth=9", &[], "").await;
    assert!(listing.contains("\"path\":\"c\""), "paths start at the folder that is listed: {listing}");
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let disk = disk();
    std::fs::write(disk.folder.path().join("a"), "content").expect("written");
    assert_eq!(disk.ask("HEAD", "/d/a", &[], "").await, (StatusCode::OK, String::new()));
    assert_eq!(disk.ask("HEAD", "/d/b", &[], "").await, (StatusCode::NOT_FOUND, String::new()));
}

#[tokio::test]
async fn while_the_disk_hangs_no_more_threads_do() {
    let disk = disk();
    let most = u32::try_from(BackendConfig::at("http://unused").max_concurrent).expect("not so many");
    let _hanging = Arc::clone(&disk.directories.at_work).try_acquire_many_owned(most).expect("nothing is under way");
    let (status, said) = disk.ask("GET", "/d?depth=1", &[], "").await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && said.contains("busy"), "{status} {said}");
}

#[tokio::test]
async fn a_change_that_waits_for_another_for_too_long_did_nothing_and_is_never_made() {
    let disk = disk();
    let changing = Arc::clone(&disk.directories.inner.by_name["d"].changing);
    let other = changing.clone().lock_owned().await;
    let request = || Request::builder().method("PUT").uri("http://files/d/a").body(Full::from("late")).expect("a request");
    let mut way = Way::default();
    let response = disk.directories.answer(request(), Instant::now() + Duration::from_millis(50), &mut way).await;
    assert_eq!((response.status(), way.is_undone()), (StatusCode::SERVICE_UNAVAILABLE, true));
    drop(other);
    // In time for its turn, but its time is over then.
    let mut way = Way::default();
    let response = disk.directories.answer(request(), Instant::now(), &mut way).await;
    assert_eq!((response.status(), way.is_undone()), (StatusCode::SERVICE_UNAVAILABLE, true));
    drop(changing.lock().await);
    assert!(disk.folder.path().read_dir().expect("a folder").next().is_none(), "nothing was made");
}

#[tokio::test]
async fn a_folder_is_made_with_those_it_lies_in_and_is_new_once() {
    let disk = disk();
    let long = "n".repeat(255);
    std::fs::write(disk.folder.path().join("file"), "").expect("written");
    let (status, said) = disk.ask("PUT", "/d/file/b?folder", &[], "").await;
    assert!(status == StatusCode::CONFLICT && !said.contains("was made"), "{status} {said}");
    assert_eq!(disk.ask("PUT", &format!("/d/a/{long}?folder"), &[], "").await.0, StatusCode::CREATED);
    assert_eq!(disk.ask("PUT", &format!("/d/a/{long}?folder"), &[], "").await.0, StatusCode::OK, "it was there");
}

#[test]
fn what_cannot_be_used_is_said_with_a_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let look = |name: &str, write: bool| DirectoryConfig { path: folder.path().join(name), write }.look();
    std::fs::write(folder.path().join("file"), "").expect("written");
    assert_eq!(look("", true), Ok(()));
    assert!(look("none", false).is_err_and(|problem| problem.contains("No such file")));
    assert!(look("file", false).is_err_and(|problem| problem.contains("Not a directory")));
}

//! Reading the policy folder.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).expect("it can be written"));
    folder
}

fn texts(folder: &Path) -> Vec<String> {
    PolicyFile::read_folder(folder).unwrap_or_else(|error| panic!("{error}")).into_iter().map(|file| file.text).collect()
}

fn refusal(folder: &Path) -> String {
    PolicyFile::read_folder(folder).expect_err("something is wrong").to_string()
}

#[test]
fn a_folder_is_read_whole_or_not_at_all() {
    let files: [(&str, &[u8]); 7] = [
        ("b.cedar", b"// b"),
        ("a.cedar", b"// a"),
        ("entities.json", b"[]"),
        (".draft.cedar", b"// an editor's"),
        ("a.cedar~", b"// an editor's"),
        ("notes.md", b"# no policy"),
        ("all.cedarschema", b"// printed by the host"),
    ];
    let folder = folder(&files);
    assert_eq!(texts(folder.path()), ["// a", "// b", "[]"]);

    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).expect("it can be written");
    write("c.cedar", b"\xff\xfe");
    std::fs::create_dir(folder.path().join("d.cedar")).expect("it can be made");
    write("e.cedar", &vec![b' '; 10 << 20]);
    write("entities.json", &vec![b' '; 10 << 20]);
    let error = refusal(folder.path());
    for wanted in [
        "c.cedar` cannot be read",
        "d.cedar` is not a file",
        "e.cedar` is larger than 1024 KiB",
        "entities.json` is larger than 8192 KiB",
    ] {
        assert!(error.contains(wanted), "{error}");
    }
    let missing = refusal(&folder.path().join("none"));
    assert!(missing.contains("none` cannot be read"), "{missing}");
}

#[test]
fn links_are_followed_to_files_and_to_nothing_else() {
    let elsewhere = folder(&[("real.cedar", b"// mounted")]);
    // As mounted configuration looks: a link to a link in a hidden folder.
    let mounted = folder(&[]);
    symlink(elsewhere.path(), mounted.path().join("..data")).expect("a link");
    symlink("..data/real.cedar", mounted.path().join("walls.cedar")).expect("a link");
    assert_eq!(texts(mounted.path()), ["// mounted"]);

    for (target, wanted) in
        [("nowhere.cedar", "cannot be read"), ("/dev/zero", "is not a file"), ("walls.cedar", "cannot be read")]
    {
        let folder = folder(&[]);
        symlink(target, folder.path().join("walls.cedar")).expect("a link");
        let error = refusal(folder.path());
        assert!(error.contains(&format!("walls.cedar` {wanted}")), "{target}: {error}");
    }
}

#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let folder = folder(&[]);
    let path = folder.path().join("pipe.cedar");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    assert!(refusal(folder.path()).contains("pipe.cedar` is not a file"));
}

#[test]
fn what_only_looks_as_if_it_counted_is_refused() {
    for (name, wanted) in [
        ("walls.ceder", "did you mean `walls.cedar`?"),
        ("walls.CEDAR", "did you mean `walls.cedar`?"),
        ("entites.json", "did you mean `entities.json`?"),
        ("Entities.json", "did you mean `entities.json`?"),
    ] {
        let folder = folder(&[(name, b"")]);
        let error = refusal(folder.path());
        assert!(error.contains(wanted), "{error}");
    }
    let folder = folder(&[]);
    std::fs::create_dir(folder.path().join("more")).expect("it can be made");
    assert!(texts(folder.path()).is_empty(), "other folders are nobody's business");
    std::fs::write(folder.path().join("more/walls.cedar"), "").expect("it can be written");
    assert!(refusal(folder.path()).contains("more` holds policies, but folders within the policy folder are not read"));
}

#[test]
fn a_file_that_is_half_written_does_not_parse() {
    let whole = r#"@id("wall") forbid (principal, action, resource) when { principal.subject == "x" };"#;
    for length in (1..whole.len()).step_by(5) {
        let half = file("walls.cedar", &whole[..length]);
        let error = Fixture::load().compile(&[half]).map(|_| "accepted").expect_err(&whole[..length]).to_string();
        assert!(error.contains("walls.cedar:1:"), "{error}");
    }
}

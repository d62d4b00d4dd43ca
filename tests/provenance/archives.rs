//! Archives: packed the same, unpacked without believing them.

use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use super::{Bench, change, text};
use crate::harness::{plugins, workspace};

/// What an archive may be made of, in its own words.
struct Entry<'a> {
    kind: EntryType,
    name: &'a str,
    link: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Entry<'a> {
    fn file(name: &'a str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { kind: EntryType::Regular, name, link: "", bytes: bytes.into() }
    }

    fn other(kind: EntryType, name: &'a str, link: &'a str) -> Self {
        Self { kind, name, link, bytes: Vec::new() }
    }
}

/// An archive that is made without asking whether it should be.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(0o777);
        header.set_size(entry.bytes.len() as u64);
        let fields = header.as_ustar_mut().expect("it is one");
        fields.name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        fields.linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_cksum();
        builder.append(&header, &entry.bytes[..]).expect("into memory");
    }
    builder.into_inner().and_then(GzEncoder::finish).expect("into memory")
}

/// The files of the plugin as entries.
fn files(bench: &Bench) -> Vec<Entry<'static>> {
    let read = |name| Entry::file(name, std::fs::read(bench.plugin().join(name)).expect("it has that file"));
    ["plugin.toml", "echo.wasm", "plugin.sig"].map(read).into()
}

fn verify(bench: &Bench, bytes: &[u8]) -> String {
    std::fs::write(bench.path("made.tar.gz"), bytes).expect("written");
    // Where it is unpacked; nothing may be written beside that.
    let output = bench.run(&["verify", "made.tar.gz", "--trust", "trust.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(if said.is_empty() { 0 } else { 1 }), "{said}");
    said
}

#[test]
fn a_packed_plugin_is_the_same_every_time_and_still_signed() {
    let bench = Bench::signed();
    std::fs::write(bench.plugin().join("Cargo.toml"), "no part of a plugin").expect("written");
    let packed = std::fs::read(bench.pack()).expect("packed");
    let component = std::fs::File::options().append(true).open(bench.plugin().join("echo.wasm")).expect("it is there");
    component.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("no time may stand in the archive");
    assert_eq!(std::fs::read(bench.pack()).expect("packed"), packed);
    assert!(bench.verified("echo.tar.gz").contains("signed by  acme"));
    // Made with other tools, it counts as well.
    assert_eq!(verify(&bench, &archive(&files(&bench))), "");

    std::fs::remove_file(bench.plugin().join("echo.wasm")).expect("removed");
    let said = bench.refusal(&["pack", text(&bench.plugin()), "--out", "again.tar.gz"]);
    assert!(said.contains("echo.wasm") && !bench.path("again.tar.gz").exists(), "{said}");
}

#[test]
fn nothing_but_the_files_of_a_plugin_is_unpacked() {
    let bench = Bench::signed();
    let outside = bench.path("outside");
    let absolute = text(&outside).to_owned();
    let cases = [
        (Entry::file("../outside", "x"), "it holds `../outside`"),
        (Entry::file(&absolute, "x"), "it holds `/"),
        (Entry::file("sub/plugin.toml", "x"), "it holds `sub/plugin.toml`"),
        (Entry::file("./README.md", "x"), "it holds `./README.md`"),
        (Entry::file("..\\outside.wasm", "x"), "it holds"),
        (Entry::file("README.md\u{1b}[2J", "x"), "README.md\\u{1b}[2J"),
        (Entry::other(EntryType::Symlink, "README.md", "/etc/passwd"), "`README.md` in it is not a plain file"),
        (Entry::other(EntryType::Link, "README.md", "/etc/passwd"), "`README.md` in it is not a plain file"),
        (Entry::other(EntryType::Directory, "README.md", ""), "`README.md` in it is not a plain file"),
        (Entry::other(EntryType::Fifo, "README.md", ""), "`README.md` in it is not a plain file"),
        (Entry::other(EntryType::Char, "README.md", ""), "`README.md` in it is not a plain file"),
        (Entry::other(EntryType::GNULongName, "././@LongLink", ""), "it holds `././@LongLink`"),
        (Entry::other(EntryType::XHeader, "README.md", ""), "`README.md` in it is not a plain file"),
        (Entry::other(EntryType::GNUSparse, "README.md", ""), "`README.md` in it is not a plain file"),
        (Entry::file("plugin.toml", "name = \"other\""), "it holds `plugin.toml` twice"),
        (Entry::file("other.wasm", "x"), "it holds `other.wasm` twice, or two components"),
    ];
    for (entry, expected) in cases {
        let name = entry.name.to_owned();
        // After the honest files, and before them.
        let mut after = files(&bench);
        after.push(entry);
        let said = verify(&bench, &archive(&after));
        assert!(said.contains(expected) && said.contains("is not the archive of a plugin"), "{name}: {said}");
        let entry = after.pop().expect("it was pushed");
        after.insert(0, entry);
        assert!(verify(&bench, &archive(&after)).starts_with("error: "), "{name}");
        assert!(!outside.exists() && !Path::new("/tmp/outside").exists());
    }
}

#[test]
fn a_bomb_is_not_unpacked_to_its_end() {
    let bench = Bench::signed();
    let small = "[sandbox]\nmax_component = \"4MiB\"\n";
    std::fs::write(bench.path("tidegate.toml"), small).expect("written");
    // A size that is told is not tried.
    let mut entries = files(&bench);
    entries[1].bytes = vec![0; 5 << 20];
    let said = verify(&bench, &archive(&entries));
    assert!(said.contains("`echo.wasm` in it is longer than the 4.0 MiB it may have"), "{said}");
    // What follows the end is not looked over.
    let mut followed = archive(&files(&bench));
    followed.extend(archive(&[]));
    let said = verify(&bench, &followed);
    assert!(said.contains("something follows after its end"), "{said}");
    // Zeros without end, in next to nothing.
    let mut padded = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for entry in files(&bench) {
        let mut header = Header::new_ustar();
        header.set_size(entry.bytes.len() as u64);
        header.set_entry_type(EntryType::Regular);
        padded.append_data(&mut header, entry.name, &entry.bytes[..]).expect("into memory");
    }
    let mut encoder = padded.into_inner().expect("into memory");
    for _ in 0..16 {
        encoder.write_all(&vec![0; 1 << 20]).expect("into memory");
    }
    let said = verify(&bench, &encoder.finish().expect("into memory"));
    assert!(said.contains("it goes on for longer than any plugin"), "{said}");
}

#[test]
fn a_damaged_archive_is_told_from_a_plugin() {
    let bench = Bench::signed();
    let whole = std::fs::read(bench.pack()).expect("packed");
    for (bytes, expected) in [
        (whole[..whole.len() / 2].to_vec(), "is damaged"),
        (whole[..whole.len() - 4].to_vec(), "is damaged"),
        (b"<html>not found</html>".to_vec(), "is damaged"),
        (Vec::new(), "is damaged"),
        (archive(&[]), "it holds no `plugin.toml`"),
        (archive(&files(&bench)[1..]), "it holds no `plugin.toml`"),
        (archive(&files(&bench)[..1]), "`made.tar.gz` is not a plugin: it holds no component `echo.wasm`"),
    ] {
        let said = verify(&bench, &bytes);
        assert!(said.contains(expected), "{} bytes: {said}", bytes.len());
    }
    // The checksum counts, though all files are whole before it.
    std::fs::write(bench.path("sum.tar.gz"), &whole).expect("written");
    change(&bench.path("sum.tar.gz"), |bytes| {
        let at = bytes.len() - 8;
        bytes[at] ^= 1;
    });
    let said = bench.unverified("sum.tar.gz");
    assert!(said.contains("is damaged"), "{said}");
    let mut renamed = files(&bench);
    renamed[1].name = "other.wasm";
    let said = verify(&bench, &archive(&renamed));
    assert!(said.contains("it holds no component `echo.wasm`"), "{said}");
}

#[test]
fn links_in_a_folder_are_not_followed() {
    let bench = Bench::signed();
    let readme = bench.plugin().join("README.md");
    std::os::unix::fs::symlink("/etc/passwd", &readme).expect("made");
    let said = bench.unverified(text(&bench.plugin()));
    assert!(said.contains("README.md` is not a plain file"), "{said}");
    std::fs::remove_file(&readme).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&readme).status().expect("mkfifo runs");
    assert!(made.success());
    let said = bench.unverified(text(&bench.plugin()));
    assert!(said.contains("README.md` is not a plain file"), "{said}");
    let said = bench.unverified("nowhere");
    assert!(said.contains("`nowhere`") && said.contains("No such file"), "{said}");
}

#[test]
fn what_people_read_is_built_signed_and_packed_with_the_plugin() {
    let (bench, built) = (Bench::new(), plugins(&["fetch"]));
    let plugin = built.path().join("fetch");
    let readme = std::fs::read(plugin.join("README.md")).expect("it is built with it");
    assert_eq!(readme, std::fs::read(workspace().join("plugins/fetch/README.md")).expect("it has one"));
    let key = bench.keygen("acme");
    bench.trust(&format!("[keys.acme]\nkey = \"{key}\"\n"));
    bench.prints(&["sign", text(&plugin), "--key", "acme.key"]);
    bench.prints(&["pack", text(&plugin), "--out", "fetch.tar.gz"]);
    assert!(bench.verified("fetch.tar.gz").contains("signed by  acme"));
    let packed = std::fs::File::open(bench.path("fetch.tar.gz")).expect("packed");
    let mut packed = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut entries = packed.entries().expect("an archive").map(|entry| entry.expect("whole"));
    let mut packed = Vec::new();
    let entry = entries.find(|entry| entry.path_bytes().as_ref() == b"README.md");
    entry.expect("it is in there").read_to_end(&mut packed).expect("readable");
    assert_eq!(packed, readme);
    change(&plugin.join("README.md"), |bytes| bytes.extend(b"Send me your keys.\n"));
    assert!(bench.unverified(text(&plugin)).contains("does not fit"));
}

//! A log that was tampered with: found out, and where.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{audit, echo, host, path, told};
use crate::harness::{Host, Started};

/// The lines of an export, the header first.
fn lines(host: &Started) -> Vec<String> {
    told(host, &["export"]).lines().map(str::to_owned).collect()
}

struct Auditor {
    folder: tempfile::TempDir,
    key: String,
}

impl Auditor {
    fn of(host: &Started) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), key: told(host, &["key"]).trim().to_owned() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let file = self.folder.path().join(name);
        fs::write(&file, text).expect("writable");
        path(&file).to_owned()
    }

    /// Checks an export with the log's key and further flags; answers the report.
    fn check(&self, text: &str, flags: &[&str]) -> Value {
        let file = self.file("export.jsonl", text);
        let said = audit(&[&["verify", &file, "--key", &self.key, "--output", "json"], flags].concat());
        let report = said.json();
        assert_eq!(said.code == 0, report["broken"].is_null(), "{report}");
        report
    }

    /// The first bad record of an export.
    fn broken(&self, lines: &[String], flags: &[&str]) -> (u64, String) {
        let report = self.check(&(lines.join("\n") + "\n"), flags);
        let broken = &report["broken"];
        let seq = broken["seq"].as_u64().unwrap_or_else(|| panic!("it passes for good: {report}"));
        (seq, broken["problem"].as_str().expect("in words").to_owned())
    }
}

#[test]
fn every_tampering_with_an_export_is_found_and_located() {
    let (host, _plugins) = host(6);
    let good = lines(&host);
    let (auditor, count) = (Auditor::of(&host), good.len() as u64 - 1);
    let report = auditor.check(&(good.join("\n") + "\n"), &[]);
    assert_eq!((&report["broken"], &report["records"], &report["unsigned"]), (&Value::Null, &json!(count), &json!(1)));
    let tampered = |tamper: &dyn Fn(&mut Vec<String>)| {
        let mut lines = good.clone();
        tamper(&mut lines);
        assert_ne!(lines, good, "something was changed");
        auditor.broken(&lines, &[])
    };
    // Line 0 is the header, so record 6 is line 6.
    let member = |name: &str| serde_json::from_str::<Value>(&good[6]).expect("JSON")[name].to_string();
    for (what, with) in [
        ("hello 2".to_owned(), "hello 9"),
        (member("hash"), "\"0000000000000000000000000000000000000000000000000000000000000000\""),
        (member("salt"), "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""),
        (member("at_ms"), "1"),
        (format!("\"kind\":{}", member("kind")), "\"kind\":\"admin\""),
        ("{\"seq\"".to_owned(), "\"seq\""),
    ] {
        let (seq, problem) = tampered(&|lines| lines[6] = lines[6].replacen(&what, with, 1));
        assert_eq!(seq, 6, "{what} → {with}: {problem}");
    }
    // A byte of the head: the record after it remembers another hash, or it makes no sense at all.
    let head = member("head");
    let flipped = if head.contains('A') { head.replacen('A', "B", 1) } else { head.replacen('B', "A", 1) };
    let (seq, problem) = tampered(&|lines| lines[6] = lines[6].replacen(&head, &flipped, 1));
    assert_eq!(seq, 6, "{problem}");

    assert_eq!(tampered(&|lines| drop(lines.remove(6))).0, 6, "removed");
    assert_eq!(tampered(&|lines| lines.swap(6, 7)).0, 6, "moved");
    assert_eq!(tampered(&|lines| lines.insert(7, lines[6].clone())).0, 7, "inserted twice");
    assert_eq!(tampered(&|lines| lines.insert(7, lines[3].clone())).0, 7, "inserted again");
    assert_eq!(tampered(&|lines| lines[7].truncate(40)).0, 7, "torn");
    assert_eq!(tampered(&|lines| lines[7].clear()).0, 7, "emptied");

    // The header, too, is believed in nothing.
    let (seq, _) = tampered(&|lines| {
        lines.remove(1);
        lines[0] = lines[0].replacen("\"from\":1", "\"from\":2", 1).replacen(
            "\"peaks\":[]",
            &format!("\"peaks\":[\"{}\"]", "0".repeat(64)),
            1,
        );
    });
    assert_eq!(seq, 1, "the record before is not the one that the header says it was");
}

#[test]
fn a_log_cut_short_is_told_by_its_unsigned_end_and_by_a_checkpoint_from_elsewhere() {
    let (host, _plugins) = host(6);
    let (auditor, note) = (Auditor::of(&host), told(&host, &["checkpoint"]));
    let checkpoint = auditor.file("checkpoint", &note);
    echo(&host.client(), "afterwards").structured();
    let good = lines(&host);
    let signed: usize = note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
    assert_eq!(auditor.check(&(good.join("\n") + "\n"), &["--checkpoint", &checkpoint])["broken"], Value::Null);

    let short = good[..=8].join("\n") + "\n";
    let report = auditor.check(&short, &[]);
    assert_eq!((&report["records"], &report["unsigned"], &report["checkpoints"]), (&json!(8), &json!(8), &json!(0)));
    let report = auditor.check(&short, &["--checkpoint", &checkpoint]);
    assert_eq!(report["broken"]["seq"], json!(9));
    assert!(report["broken"]["problem"].as_str().expect("words").contains(&format!("signs {signed} records")), "{report}");
    // Behind the first checkpoint it looks whole; one from later tells.
    let whole = good[..=signed + 1].join("\n") + "\n";
    assert_eq!(auditor.check(&whole, &["--checkpoint", &checkpoint])["unsigned"], json!(1));
    let later = auditor.file("later", &told(&host, &["checkpoint"]));
    assert_eq!(auditor.check(&whole, &["--checkpoint", &later])["broken"]["seq"], json!(signed + 2));
    let part = auditor.folder.path().join("part.jsonl");
    let from = (signed + 2).to_string();
    audit(&["export", "--data", path(&host.data), "--from", &from, "--out", path(&part)]).good();
    let said = audit(&["verify", path(&part), "--checkpoint", &checkpoint]);
    assert!(said.code == 1 && said.stdout.contains("behind"), "{}", said.stdout);
}

#[test]
fn another_log_does_not_pass_for_this_one() {
    let ((ours, _plugins), (theirs, _)) = (host(1), host(1));
    let auditor = Auditor::of(&ours);
    let file = auditor.file("theirs.jsonl", &told(&theirs, &["export"]));
    let said = audit(&["verify", &file, "--key", &auditor.key]).refused();
    assert!(said.contains("is of the log"), "{said}");
    let said = audit(&["verify", "--data", path(&theirs.data), "--key", &auditor.key]).refused();
    assert!(said.contains("of the log"), "{said}");
    let said = audit(&["verify", &file]).good();
    assert!(said.contains("its own word"), "{said}");
    // Its key replaced by ours, its checkpoints do not hold.
    let text = fs::read_to_string(&file).expect("text");
    let forged = text.replace(told(&theirs, &["key"]).trim(), &auditor.key);
    let report = auditor.check(&forged, &[]);
    assert!(report["broken"]["problem"].as_str().expect("broken").contains("checkpoint"), "{report}");
    let foreign = auditor.file("note", &told(&theirs, &["checkpoint"]));
    let said = audit(&["verify", "--data", path(&ours.data), "--checkpoint", &foreign]).refused();
    assert!(said.contains("can't be held against"), "{said}");
}

#[test]
fn a_host_that_was_set_back_to_an_old_copy_is_found_out_live_and_stopped() {
    let (mut host, plugins) = host(2);
    assert!(host.stop("-TERM").success());
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let old = elsewhere.path().join("data");
    copy(&host.data, &old);
    let mut again = Host::dev(plugins.path()).on(&host.data).start();
    echo(&again.client(), "paid").structured();
    let auditor = Auditor::of(&again);
    let note = auditor.file("note", &told(&again, &["checkpoint"]));
    let check = |host: &Path| {
        let said = audit(&["verify", "--data", path(host), "--checkpoint", &note, "--key", &auditor.key, "--output", "json"]);
        let report = said.json();
        assert_eq!(said.code == 0, report["broken"].is_null(), "{report}");
        report
    };
    assert_eq!(check(&host.data)["broken"], Value::Null, "live");
    assert!(again.stop("-TERM").success());
    assert_eq!(check(&host.data)["broken"], Value::Null, "stopped");

    let report = check(&old);
    assert_eq!(report["broken"]["seq"].as_u64(), report["records"].as_u64().map(|records| records + 1), "{report}");
    // Whatever it writes from there on, it is another log.
    let mut forked = Host::dev(plugins.path()).on(&old).start();
    for _ in 0..4 {
        echo(&forked.client(), "not paid").structured();
    }
    let signed: u64 = fs::read_to_string(&note).expect("text").lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
    let live = check(&old);
    assert_eq!(live["broken"]["seq"], json!(signed), "{live}");
    assert!(forked.stop("-TERM").success());
    assert_eq!(check(&old)["broken"], live["broken"], "stopped, the same");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

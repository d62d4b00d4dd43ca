//! Proofs of single records, and what is wrong with forged ones.

use std::fs;

use serde_json::{Value, json};

use super::{Said, audit, echo, host, path, told};
use crate::harness::{Started, tidegate};

const CARD: &str = "4111111111111111";

/// A host that was told a card number, alone and within a text; and the records of the two intents.
fn told_a_card() -> (Started, tempfile::TempDir, [String; 2]) {
    let (host, plugins) = host(3);
    let seq = |text: &str| {
        let answer = echo(&host.client(), text);
        let call = answer.body["result"]["_meta"]["dev.tidegate/call-id"].as_str().expect("an id").to_owned();
        super::ask(&host, &["show", &call])["records"][0]["seq"].to_string()
    };
    let seqs = [seq(CARD), seq(&format!("charge {CARD} please"))];
    (host, plugins, seqs)
}

/// Checks a proof in a folder of its own; with the key that the auditor knows.
fn check(proof: &str, key: &str) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("proof.json");
    fs::write(&file, proof).expect("writable");
    audit(&["verify", path(&file), "--key", key, "--output", "json"])
}

#[test]
fn a_record_is_proven_to_whoever_has_the_public_key_alone() {
    let (mut host, _plugins, [alone, within]) = told_a_card();
    let key = told(&host, &["key"]).trim().to_owned();
    let value = format!("\"{CARD}\"");
    let questions = [
        vec!["prove", "2"],
        vec!["prove", "2", "--no-body"],
        vec!["prove", &alone, "--pointer", "/text", "--value", &value],
        vec!["prove", &within, "--pointer", "text", "--value", &value],
    ];
    for is_live in [true, false] {
        let proofs = questions.each_ref().map(|question| told(&host, question));
        let reports = proofs.each_ref().map(|proof| {
            let said = check(proof, &key);
            assert_eq!(said.code, 0, "{proof}\n{}\n{}", said.stdout, said.stderr);
            said.json()
        });
        assert_eq!((&reports[0]["seq"], &reports[0]["body"]["arguments"]["text"]), (&json!(2), &json!("hello 0")));
        assert_eq!((&reports[1]["seq"], &reports[1]["body"]), (&json!(2), &Value::Null));
        for report in &reports[2..] {
            assert_eq!(report["opened"], json!({ "pointer": "/text", "value": CARD }), "{report}");
            assert!(!report["body"].to_string().contains(CARD), "{report}");
        }
        // The same in words.
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("proof"), &proofs[2]).expect("writable");
        let table = audit(&["verify", path(&folder.path().join("proof"))]).good();
        assert!(table.contains("stands in the log") && table.contains(&format!("at `/text` stood \"{CARD}\"")), "{table}");
        if is_live {
            assert!(host.stop("-TERM").success());
        }
    }
}

#[test]
fn a_forged_proof_does_not_hold() {
    let (host, _plugins, [alone, within]) = told_a_card();
    let key = told(&host, &["key"]).trim().to_owned();
    let value = format!("\"{CARD}\"");
    let good = told(&host, &["prove", &alone, "--pointer", "/text", "--value", &value]);
    let other = told(&host, &["prove", &within, "--pointer", "/text", "--value", &value]);
    let (parsed, others): (Value, Value) = (good.parse().expect("JSON"), other.parse().expect("JSON"));
    let text = |proof: &Value, name: &str| proof[name].to_string();
    let swap = |name: &str| good.replacen(&text(&parsed, name), &text(&others, name), 1);
    let forgeries = [
        ("another value", good.replacen(&format!("\"value\": \"{CARD}\""), "\"value\": \"4111111111111112\"", 1), "value"),
        ("another pointer", good.replacen("\"pointer\": \"/text\"", "\"pointer\": \"/tool\"", 1), "value"),
        ("another body", good.replacen("\"subject\":\"u1\"", "\"subject\":\"u2\"", 1), "body"),
        ("another salt", swap("salt"), "body"),
        ("another head", swap("head"), "head is that of record"),
        ("another number", good.replacen(&format!("\"seq\": {alone}"), "\"seq\": 999999", 1), "head is that of record"),
        ("no way", good.replacen(parsed["path"][0].as_str().expect("a hash"), &"0".repeat(64), 1), "root"),
        (
            "a longer log",
            good.replacen(&text(&parsed, "checkpoint"), &text(&parsed, "checkpoint").replacen("\\n", "\\n1", 1), 1),
            "checkpoint",
        ),
        ("no salt", good.replacen(&format!("\"salt\": {},", text(&parsed, "salt")), "", 1), "salt"),
        ("no checkpoint", good.replacen(&text(&parsed, "checkpoint"), "\"\"", 1), "checkpoint"),
    ];
    for (what, forged, expected) in forgeries {
        assert_ne!(forged, good, "{what}: something was changed");
        let said = check(&forged, &key);
        assert_eq!(said.code, 1, "{what} passes: {}", said.stdout);
        let problem = said.json()["broken"]["problem"].as_str().expect("in words").to_owned();
        assert!(problem.contains(expected), "{what}: {problem}");
    }
    let (stranger, _) = super::host(1);
    let said = check(&good, told(&stranger, &["key"]).trim());
    assert!(said.code == 1 && said.stdout.contains("it is of the log"), "{}", said.stdout);
}

#[test]
fn what_cannot_be_proven_is_refused_in_words() {
    let (host, _plugins, [alone, _]) = told_a_card();
    let refused = |flags: &[&str]| audit(&[&["prove", "--data", path(&host.data)], flags].concat()).refused();
    assert!(refused(&[&alone, "--pointer", "/text", "--value", "\"4000000000000000\""]).contains("not the value"));
    assert!(refused(&[&alone, "--pointer", "/nothing", "--value", "1"]).contains("nothing is redacted"));
    assert!(refused(&["2", "--pointer", "/text", "--value", "\"hello 0\""]).contains("nothing is redacted"));
    assert!(refused(&[&alone, "--pointer", "/text", "--value", "four"]).contains("no JSON"));
    assert!(refused(&["999"]).contains("no record 999"));
    let signed: Value = told(&host, &["checkpoint", "--output", "json"]).parse().expect("JSON");
    assert!(refused(&[&signed["seq"].to_string()]).contains("last checkpoint"));
    let both = tidegate(&["audit", "prove", "2", "--no-body", "--pointer", "/text", "--value", "1"]);
    assert_eq!(both.status.code(), Some(2));
}

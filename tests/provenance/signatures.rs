//! Signatures that count, and those that don't.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{Bench, change, text};
use crate::harness::{Host, sign_by_hand};

#[test]
fn a_signed_plugin_is_vouched_for_by_the_name_in_the_trust_file() {
    let bench = Bench::new();
    let key = bench.keygen("acme");
    assert!(key.starts_with("tidegate-plugin-key-1:") && key.lines().count() == 1, "{key}");
    let mode = std::fs::metadata(bench.path("acme.key")).expect("made").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    bench.trust(&format!("[keys.acme]\nkey = \"{key}\"\n"));
    let content = bench.sign("acme");
    let said = bench.verified(text(&bench.plugin()));
    assert!(said.contains(&content) && said.contains("signed by  acme"), "{said}");

    // Also by what the config of a host names.
    std::fs::write(bench.path("tidegate.toml"), "[plugins]\ntrust = \"trust.toml\"\n").expect("written");
    let json: serde_json::Value = bench.prints(&["verify", text(&bench.plugin()), "--output", "json"]).parse().expect("JSON");
    assert_eq!((&json["name"], &json["content"], &json["signers"]), (&json!("echo"), &json!(content), &json!(["acme"])));
    // Signing says nothing of the content.
    bench.keygen("other");
    assert_eq!(bench.sign("other"), content);
    let said = bench.verified(text(&bench.plugin()));
    assert!(said.contains("signed by  acme") && said.contains("is not known"), "{said}");
}

#[test]
fn an_unsigned_plugin_and_a_stranger_s_are_refused() {
    let bench = Bench::new();
    bench.trust("revoked = []\n");
    let said = bench.unverified(text(&bench.plugin()));
    assert!(said.contains("plugin `echo`") && said.contains("it is not signed"), "{said}");
    let key = bench.keygen("stranger");
    bench.sign("stranger");
    let said = bench.unverified(text(&bench.plugin()));
    assert!(said.contains("nobody who is trusted") && said.contains(&key), "{said}");
    std::fs::write(bench.path("tidegate.toml"), "[plugins]\nunsigned = \"allow\"\n").expect("written");
    let said = bench.unverified(text(&bench.plugin()));
    assert!(said.contains("would let it in all the same"), "{said}");
}

#[test]
fn a_key_that_is_revoked_expired_or_meant_for_others_does_not_count() {
    let bench = Bench::signed();
    let plugin = bench.plugin();
    let trusted = std::fs::read_to_string(bench.path("trust.toml")).expect("written");
    std::fs::write(bench.path("tidegate.toml"), "[plugins]\nunsigned = \"allow\"\n").expect("written");
    let cases = [
        (format!("revoked = [\"acme\"]\n{trusted}"), "the key `acme` ("),
        (format!("{trusted}until = 2020-01-31\n"), "the key `acme` was to be trusted until 2020-01-31"),
        (format!("{trusted}plugins = [\"invoices\"]\n"), "the key `acme` is trusted for `invoices` only"),
    ];
    for (toml, expected) in cases {
        bench.trust(&toml);
        let said = bench.unverified(text(&plugin));
        assert!(said.contains("no signature of it counts") && said.contains(expected), "{said}");
        assert!(!said.contains("would let it in"), "whatever the config says: {said}");
    }
    // A second signature that counts is enough.
    let other = bench.keygen("other");
    bench.sign("other");
    bench.trust(&format!("revoked = [\"acme\"]\n{trusted}[keys.other]\nkey = \"{other}\"\nuntil = 2999-01-01\n"));
    let said = bench.verified(text(&plugin));
    assert!(said.contains("signed by  other") && said.contains("was revoked"), "{said}");
}

#[test]
fn one_bit_of_a_file_voids_the_signature() {
    for (file, change_it) in [
        (
            "echo.wasm",
            (|bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }) as fn(&mut Vec<u8>),
        ),
        ("plugin.toml", |bytes| bytes.extend(b"# a comment\n")),
        ("README.md", |bytes| bytes[0] ^= 1),
        ("plugin.sig", |bytes| {
            let at = String::from_utf8_lossy(bytes).find("published = \"").expect("it stands there") + 13;
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        }),
        ("plugin.sig", |bytes| {
            let at = String::from_utf8_lossy(bytes).find("signature = \"").expect("it stands there") + 20;
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        }),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.plugin().join("README.md"), "# Echo\n").expect("written");
        let key = bench.keygen("acme");
        bench.trust(&format!("[keys.acme]\nkey = \"{key}\"\n"));
        bench.sign("acme");
        bench.verified(text(&bench.plugin()));
        change(&bench.plugin().join(file), change_it);
        let said = bench.unverified(text(&bench.plugin()));
        assert!(said.contains("the signature of the key `acme` does not fit"), "{file}: {said}");
    }
    let bench = Bench::signed();
    std::fs::write(bench.plugin().join("README.md"), "# Not what was signed\n").expect("written");
    let said = bench.unverified(text(&bench.plugin()));
    assert!(said.contains("does not fit"), "what is added was not signed either: {said}");
}

#[test]
fn a_component_that_tells_other_things_than_were_signed_is_refused() {
    let bench = Bench::signed();
    let signed = std::fs::read_to_string(bench.plugin().join("plugin.sig")).expect("signed");
    let published = signed.split('"').nth(3).expect("the digest of what it tells").to_owned();
    // Made elsewhere, by what is documented: it counts.
    let key = sign_by_hand(&bench.plugin(), &published);
    bench.trust(&format!("[keys.byhand]\nkey = \"{key}\"\n"));
    assert!(bench.verified(text(&bench.plugin())).contains("signed by  byhand"));

    // A description of the same length, and every file signed, but not what it tells now.
    let is_description = b"Returns the given text unchanged.";
    change(&bench.plugin().join("echo.wasm"), |bytes| {
        let at = bytes.windows(is_description.len()).position(|window| window == is_description);
        bytes[at.expect("the component tells what it does")] = b'B';
    });
    sign_by_hand(&bench.plugin(), &published);
    let said = bench.unverified(text(&bench.plugin()));
    assert!(said.contains("does not describe its tools as it did when it was signed") && said.contains(&published), "{said}");
    // Nor does a host serve it that demands signatures.
    let demand = format!("[plugins]\ntrust = \"{}\"\nrequire_signatures = true\n", bench.path("trust.toml").display());
    let config = format!("[auth.anonymous]\nsubject = \"u1\"\n{demand}");
    let said = Host::dev(bench.plugins.path()).serve().config(&config).try_start().err().expect("it must not serve that");
    assert!(said.contains("does not describe its tools as it did when it was signed"), "{said}");
}

#[test]
fn keys_are_neither_overwritten_nor_used_when_others_may_read_them() {
    let bench = Bench::new();
    bench.keygen("acme");
    let key = std::fs::read(bench.path("acme.key")).expect("made");
    let said = bench.refusal(&["keygen", "acme.key"]);
    assert!(said.contains("exists already"), "{said}");
    assert_eq!(std::fs::read(bench.path("acme.key")).expect("still there"), key);
    std::fs::set_permissions(bench.path("acme.key"), std::fs::Permissions::from_mode(0o644)).expect("changed");
    let said = bench.refusal(&["sign", text(&bench.plugin()), "--key", "acme.key"]);
    assert!(said.contains("mode 644") && said.contains("chmod 600"), "{said}");
    let said = bench.refusal(&["sign", text(&bench.plugin()), "--key", "none.key"]);
    assert!(said.contains("none.key") && said.contains("No such file"), "{said}");
}

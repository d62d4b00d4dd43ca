//! The generated texts, compared to files under review. `UPDATE_GOLDEN=1 cargo test` rewrites the files.

use super::*;

fn compare(name: &str, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden_path(name), text).expect("the golden file can be written");
    }
    // Compared by line, so that a failure shows the one that differs.
    let expected = golden(name);
    for (number, (line, wanted)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, wanted, "{name}, line {}; if the change is meant, run with UPDATE_GOLDEN=1", number + 1);
    }
    assert_eq!(text.len(), expected.len(), "{name} has another length; if the change is meant, run with UPDATE_GOLDEN=1");
}

#[test]
fn schema_and_permits_are_the_reviewed_ones() {
    let policies = Fixture::load().compile(&[]).expect("the fixture compiles");
    compare("generated.cedarschema", policies.schema_text());
    compare("generated.cedar", policies.generated_text());
    let invisible =
        policies.invisible().iter().map(|hidden| format!("{} {} {}\n", hidden.tool, mangle::quoted(&hidden.path), hidden.reason));
    compare("invisible.txt", &invisible.collect::<String>());
}

#[test]
fn the_order_of_plugins_and_files_changes_nothing() {
    let fixture = Fixture::load();
    let files = [
        file("a.cedar", "@id(\"a\") forbid (principal, action, resource) when { principal.subject == \"x\" };"),
        file("b.cedar", "@id(\"b\") forbid (principal, action, resource) when { principal.subject == \"y\" };"),
    ];
    let subjects = fixture.subjects();
    let reversed: Vec<_> = subjects.iter().rev().copied().collect();
    let one = Policies::compile(&subjects, &files, GeneratedPermits::On).expect("it compiles");
    let files = [files[1].clone(), files[0].clone()];
    let other = Policies::compile(&reversed, &files, GeneratedPermits::On).expect("it compiles");
    assert_eq!(one.schema_text(), other.schema_text());
    assert_eq!(one.hash(), other.hash());
}

#[test]
fn the_hash_changes_with_every_text() {
    let fixture = Fixture::load();
    let wall = "@id(\"a\") forbid (principal, action, resource) when { principal.subject == \"x\" };";
    let hash = |files: &[PolicyFile]| fixture.compile(files).expect("it compiles").hash();
    let hashes = [
        hash(&[]),
        hash(&[file("a.cedar", wall)]),
        hash(&[file("a.cedar", &format!("// a comment\n{wall}"))]),
        Policies::compile(&fixture.subjects(), &[], GeneratedPermits::Off).expect("it compiles").hash(),
        Policies::compile(&fixture.subjects()[1..], &[], GeneratedPermits::On).expect("it compiles").hash(),
    ];
    for (at, one) in hashes.iter().enumerate() {
        assert!(!hashes[at + 1..].contains(one));
    }
    // The folder's place in the file system is not part of it.
    assert_eq!(hash(&[file("a.cedar", wall)]), hash(&[file("/etc/tidegate/a.cedar", wall)]));
}

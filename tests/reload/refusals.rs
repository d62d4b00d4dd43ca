//! Plugins that can't be served: refused in words and in time, while what was in force goes on.

use std::time::{Duration, Instant};

use super::World;
use crate::harness::{Version, guest, save};

/// How long a refusal may take: what describes itself without end is given up on.
const SOON: Duration = Duration::from_secs(40);

impl World {
    /// Reloads, which has to be refused in these words while version 1 goes on; then puts things right.
    fn refuses(&self, words: &[&str]) {
        let begun = Instant::now();
        let (code, said) = self.reload();
        assert_eq!(code, 1, "it was not refused: {said}");
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
        for word in words {
            assert!(said.contains(word), "`{word}` is not in:\n{said}");
        }
        assert_eq!(self.version(), Version::new(1).answer());
        assert_eq!(self.plugin()["state"], "refused");
        Version::new(1).put(self.plugins.path());
        let (code, said) = self.reload();
        assert!(code == 0 && said.contains("nothing is new"), "{said}");
        assert_eq!(self.plugin()["state"], "current");
    }

    /// Puts another component in the place of the one in force.
    fn component(&self, wasm: &[u8]) {
        save(&self.plugins.path().join("versions/versions.wasm"), wasm);
    }

    /// Puts one of the hostile guests beside the plugin in force, reloads, and takes it away again.
    fn refuses_guest(&self, name: &str, words: &[&str]) {
        let folder = self.plugins.path().join(name);
        std::fs::create_dir(&folder).expect("writable");
        for file in ["plugin.toml".to_owned(), format!("{name}.wasm")] {
            std::fs::copy(guest(name).join(&file), folder.join(&file)).expect("it is built");
        }
        let begun = Instant::now();
        let (code, said) = self.reload();
        assert!(code == 1 && begun.elapsed() < SOON, "it was not refused in time: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        std::fs::remove_dir_all(&folder).expect("it is there");
        self.refused_is_over();
    }

    fn refused_is_over(&self) {
        assert_eq!(self.version(), Version::new(1).answer());
        assert_eq!(self.reload().0, 0);
        assert_eq!(self.plugin()["state"], "current");
    }
}

#[test]
fn components_that_are_broken_are_kept_out_while_the_old_one_serves() {
    let world = World::new("");
    let whole = Version::new(2).wasm();
    world.component(&whole[..whole.len() / 2]);
    world.refuses(&["plugin `versions`", "versions.wasm", "not valid"]);
    world.component(b"");
    world.refuses(&["versions.wasm", "not a WebAssembly component"]);
    world.component(&wat::parse_str("(module)").expect("a module"));
    world.refuses(&["core WebAssembly module", "wasm32-wasip2"]);
    world.component(&wat::parse_str("(component)").expect("a component"));
    world.refuses(&["does not export `tidegate:plugin/tools@0.1.1`"]);
    std::fs::remove_file(world.plugins.path().join("versions/versions.wasm")).expect("it is there");
    world.refuses(&["there is no component at", "tidegate plugin build"]);
}

#[test]
fn a_component_with_a_flipped_bit_is_refused_or_is_another_version_but_never_harm() {
    let world = World::new("");
    let whole = Version::new(2).wasm();
    // Code, types and names all over the file; what stays valid by chance is a version like any other.
    let mut refused = 0;
    for part in 1..12 {
        let mut flipped = whole.clone();
        flipped[whole.len() * part / 12] ^= 0x20;
        world.component(&flipped);
        let (code, said) = world.reload();
        assert!(code == 0 || said.contains("plugin `versions`"), "{said}");
        refused += code;
    }
    Version::new(1).put(world.plugins.path());
    assert_eq!(world.reload().0, 0);
    assert_eq!(world.version(), Version::new(1).answer());
    assert!(refused > 0, "some bit matters");
}

#[test]
fn manifests_that_do_not_fit_are_refused_with_file_and_line() {
    let world = World::new("");
    Version::new(2).manifest("contract = \"0.1\"", "contract = \"0.9\"").put(world.plugins.path());
    world.refuses(&["plugin.toml:4:1", "contract `0.9`", "this host speaks `0.1`"]);
    Version::new(2).manifest("deadline", "deadlin").put(world.plugins.path());
    world.refuses(&["plugin.toml:", "did you mean `deadline`?"]);
    Version::new(2).manifest("which_version_0000", "which_version_0001").put(world.plugins.path());
    world.refuses(&["declares the tool `which_version_0001`", "the component has a `which_version_0000`"]);
    Version::new(2).manifest("memory = \"8MiB\"", "memory = \"8MiB\"\nbackends = [\"billing\"]").put(world.plugins.path());
    world.refuses(&["backend `billing` is not defined"]);
    let many: String =
        (0..300).map(|n| format!("[[tool]]\nname = \"t{n}\"\neffect = \"read\"\nscopes = [\"use:t\"]\n")).collect();
    Version::new(2).manifest("rows = \"none\"\n", &format!("rows = \"none\"\n{many}")).put(world.plugins.path());
    world.refuses(&["declares 301 tools"]);
}

#[test]
fn guests_that_describe_themselves_without_end_or_bounds_are_given_up_on() {
    let world = World::new("");
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", world.host.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
    };
    world.refuses_guest("crowd", &["plugin `crowd`", "more than the 256"]);
    let before = memory();
    world.refuses_guest("crowd", &["plugin `crowd`"]);
    assert!(memory() < before + 100, "from {before} MiB to {} MiB", memory());
    world.refuses_guest("stuck", &["plugin `stuck`: `describe` failed"]);
}

#[test]
fn policies_that_do_not_fit_the_new_plugins_keep_them_out() {
    let policies = tempfile::tempdir().expect("a temporary folder");
    let wall = "@id(\"nobody\")\nforbid (principal, action == Tidegate::Action::\"which_version_0000\", resource)\n\
        when { principal.subject == \"nobody\" };\n";
    std::fs::write(policies.path().join("walls.cedar"), wall).expect("writable");
    let world = World::new(&format!("[policies]\npath = \"{}\"\n", policies.path().display()));
    // The tool that the policy speaks of takes another name.
    Version { tool: 5, ..Version::new(2) }.put(world.plugins.path());
    world.refuses(&["walls.cedar:2", "which_version_0000"]);
    // Together with a policy that fits, it is taken.
    Version { tool: 5, ..Version::new(2) }.put(world.plugins.path());
    save(&policies.path().join("walls.cedar"), b"// no walls\n");
    world.until("the policy", || world.reload().0 == 0);
    assert_eq!(world.client.tools(), ["which_version_0005"]);
}

#[test]
fn policies_count_at_once_whatever_became_of_the_plugin_folder() {
    let policies = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(policies.path().join("walls.cedar"), "// no walls\n").expect("writable");
    let world = World::new(&format!("[policies]\npath = \"{}\"\n", policies.path().display()));
    world.component(b"broken");
    assert_eq!(world.reload().0, 1);
    let wall = "@id(\"wall\")\nforbid (principal, action == Tidegate::Action::\"which_version_0000\", resource);\n";
    save(&policies.path().join("walls.cedar"), wall.as_bytes());
    world.until("the wall", || {
        let answer = world.client.call("which_version_0000", serde_json::json!({}));
        answer.body["result"]["isError"] == serde_json::json!(true)
    });
    assert_eq!(world.plugin()["state"], "refused", "that the plugins are broken is still told");
}

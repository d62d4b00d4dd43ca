//! Every command in the README works as written, and every config, source and policy that it and the guide show is real.

use std::path::Path;

use crate::harness::{Host, command, plugins, tidegate, workspace};

/// The fenced blocks of the README in one language, in order.
fn blocks(language: &str) -> Vec<String> {
    blocks_of("README.md", language)
}

/// The same of any document.
fn blocks_of(document: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
    let fenced = text.split("\n```").skip(1).step_by(2);
    let of_language = fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n').map(str::to_owned));
    of_language.collect()
}

/// The arguments of a README command line that runs this very binary, however the README names it.
fn own_arguments(line: &str) -> Option<Vec<String>> {
    let rest = line.strip_prefix("target/release/tidegate ").or_else(|| line.strip_prefix("cargo run --release -- "))?;
    let mut words = Vec::new();
    for (index, part) in rest.split('\'').enumerate() {
        // Odd parts stood in quotes.
        if index % 2 == 1 { words.push(part.to_owned()) } else { words.extend(part.split_whitespace().map(str::to_owned)) }
    }
    Some(words)
}

/// Runs one README command in `folder`.
fn run(folder: &Path, arguments: &[String]) -> String {
    let output = command().current_dir(folder).args(arguments).output().expect("tidegate runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`tidegate {}`: {said}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn no_command_in_the_readme_goes_untested() {
    let commands: Vec<String> =
        blocks("sh").iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let verb = own_arguments(&command)
            .map(|words| words.iter().take_while(|word| word.as_str() != "--out").take(2).cloned().collect::<Vec<_>>().join(" "));
        let tested = match verb.as_deref() {
            Some("dev") => "the_demo_in_the_readme_works_word_by_word",
            Some(verb) if verb.starts_with("call ") || verb.starts_with("audit ") => "the_demo_in_the_readme_works_word_by_word",
            Some("top") => "the_demo_in_the_readme_works_word_by_word",
            Some(verb) if verb.starts_with("bench ") => "the_demo_in_the_readme_works_word_by_word",
            Some("policy explain" | "policy status") => "the_demo_in_the_readme_works_word_by_word",
            Some(verb) if verb.starts_with("plugin ") || verb.starts_with("new ") => {
                "the_plugin_in_the_readme_builds_and_answers"
            }
            // This very run.
            None if command == "cargo test --workspace" => "everything",
            _ => panic!("`{command}` stands in the README, but no test runs it"),
        };
        assert!(!tested.is_empty());
    }
}

#[test]
fn the_demo_in_the_readme_works_word_by_word() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The demo as the README starts it: every plugin built, the backend started, all in one data folder.
    let mut host = Host::dev(&workspace().join("plugins")).on(&folder.path().join("data")).start();
    let lines: Vec<_> =
        blocks("sh").iter().flat_map(|block| block.lines().filter_map(own_arguments).collect::<Vec<_>>()).collect();
    let calls: Vec<_> = lines.iter().filter(|words| words[0] == "call").collect();
    let answers: Vec<_> =
        calls.iter().map(|words| run(workspace(), &[words.as_slice(), &["--url".into(), host.mcp.clone()]].concat())).collect();
    assert!(answers[0].contains("hello") && answers[1].contains("open"), "{answers:?}");
    assert_eq!(answers[2], answers[3], "the second payment is answered from the ledger");
    for words in lines.iter().filter(|words| words[0] == "policy") {
        let built = ["--plugins".into(), plugins(&["echo", "invoices"]).keep().display().to_string()];
        let further = if words[1] == "status" { ["--data".into(), host.data.display().to_string()] } else { built };
        let said = run(workspace(), &[words.as_slice(), &further].concat());
        assert!(said.contains("user_id = 'u1'") || said.contains("generation"), "`{}`: {said}", words.join(" "));
    }
    for words in lines.iter().filter(|words| words[0] == "bench") {
        let said = run(workspace(), &[words.as_slice(), &["--url".into(), host.mcp.clone()]].concat());
        assert!(said.contains("successes/s"), "`{}`: {said}", words.join(" "));
    }
    let data = ["--data".to_owned(), host.data.display().to_string()];
    for words in lines.iter().filter(|words| words[0] == "top") {
        let said = run(workspace(), &[words.as_slice(), &data].concat());
        assert!(said.contains("pay_invoice") && said.contains("u1"), "`{}`: {said}", words.join(" "));
    }
    for is_live in [true, false] {
        for words in lines.iter().filter(|words| words[0] == "audit") {
            let said = run(workspace(), &[words.as_slice(), &data].concat());
            assert!(said.contains("pay_invoice") || said.contains("unbroken"), "`{}`: {said}", words.join(" "));
        }
        assert!(!is_live || host.stop("-INT").success());
    }
}

#[test]
fn the_plugin_in_the_readme_builds_and_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for words in blocks("sh").iter().flat_map(|block| block.lines().filter_map(own_arguments).collect::<Vec<_>>()) {
        if words[0] == "plugin" || words[0] == "new" {
            let said = run(folder.path(), &words);
            assert!(said.contains("greet"), "{said}");
        }
    }
    // What the README shows is what there is.
    let find = |language: &str, mark: &str| {
        blocks(language).into_iter().find(|block| block.contains(mark)).expect("shown in the README")
    };
    let read = |name: &str| std::fs::read_to_string(folder.path().join("greet").join(name)).expect("it was made");
    assert!(read("src/lib.rs").starts_with(&find("rust", "struct Greet")));
    assert_eq!(read("plugin.toml").trim_end(), find("toml", "[[tool]]").trim_end());
    let host = Host::dev(&folder.path().join("target/plugins")).start();
    let answer = host.client().call("greet", serde_json::json!({"name": "Ada"}));
    assert_eq!(answer.structured()["greeting"], "Hello, Ada!");
}

#[test]
fn the_config_in_the_readme_starts_a_host() {
    let config = blocks("toml").into_iter().find(|block| block.contains("[admission]")).expect("shown in the README");
    let plugins = plugins(&["echo"]);
    // Paths and ports are the reader's; here they are the test's.
    let host = Host::dev(plugins.path()).config(&config).trusting(&[]).start();
    let stranger = host.client().call("echo", serde_json::json!({"text": "hello"}));
    assert_eq!(stranger.status, 401, "{stranger:?}");
    assert!(stranger.challenge().contains("use:echo"), "{}", stranger.challenge());
}

#[test]
fn the_commands_in_the_guide_to_the_log_work_on_a_live_host_and_on_a_stopped_one() {
    let plugins = plugins(&["echo"]);
    let mut host = Host::dev(plugins.path()).start();
    host.client().call("echo", serde_json::json!({"text": "hello"})).structured();
    let commands: Vec<_> =
        blocks_of("docs/audit.md", "sh").iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for is_live in [true, false] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for command in &commands {
            let (words, file) = command.split_once(" > ").map_or((command.as_str(), None), |(words, file)| (words, Some(file)));
            let words: Vec<_> = words.split_whitespace().collect();
            assert_eq!(words[..2], ["tidegate", "audit"], "{command}");
            let output = crate::harness::command()
                .current_dir(folder.path())
                .env("TIDEGATE_DATA", &host.data)
                .args(&words[1..])
                .output()
                .expect("tidegate runs");
            assert!(output.status.success(), "`{command}`: {}", String::from_utf8_lossy(&output.stderr));
            if let Some(file) = file {
                std::fs::write(folder.path().join(file), &output.stdout).expect("writable");
            }
        }
        assert!(!is_live || host.stop("-INT").success());
    }
}

#[test]
fn the_loads_in_the_guide_lose_and_double_nothing() {
    let host = Host::dev(&workspace().join("plugins")).start();
    let commands: Vec<_> =
        blocks_of("docs/load.md", "sh").iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let command = command.replacen("tidegate ", "target/release/tidegate ", 1);
        let words = own_arguments(&command).expect("it runs this program");
        run(workspace(), &[words.as_slice(), &["--url".into(), host.mcp.clone()]].concat());
    }
}

#[test]
fn the_policies_groups_and_cases_in_the_guide_hold() {
    const GUIDE: &str = "docs/policies.md";
    let (folder, plugins) = (tempfile::tempdir().expect("a temporary folder"), plugins(&["echo", "invoices"]));
    let find = |language: &str, mark: &str| {
        blocks_of(GUIDE, language).into_iter().find(|block| block.contains(mark)).expect("shown in the guide")
    };
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("written");
    // Cedar has one kind of comment, and the guide's stand behind its lines.
    write("guide.cedar", find("cedar", "@mode"));
    write("entities.json", find("json", "Tidegate::Group"));
    write("guide.test.toml", find("toml", "[[case]]"));
    let (policies, plugins) = (folder.path().display().to_string(), plugins.path().display().to_string());
    for verb in ["check", "test"] {
        let output = tidegate(&["policy", verb, "--policies", &policies, "--plugins", &plugins]);
        assert!(output.status.success(), "policy {verb}: {output:?}");
    }
    let scopes = std::fs::read_to_string(workspace().join(GUIDE)).expect("there is a guide");
    for scope in scopes.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(scope, _)| scope) {
        if scope.contains(':') && !scope.starts_with("tidegate") {
            let output =
                tidegate(&["policy", "explain", "--as", "u1", "--scope", scope, "--tool", "echo", "--plugins", &plugins]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("is not a scope"), "{scope}: {said}");
        }
    }
}

#[test]
fn every_verb_explains_itself() {
    let help = tidegate(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for verb in ["dev", "serve", "run", "call", "plugin", "policy", "audit", "bench", "top"] {
        assert!(text.contains(&format!("  {verb}")), "{text}");
        assert!(tidegate(&[verb, "--help"]).status.success());
    }
}

//! Reading `plugin.toml`: strict, and every rule that one manifest alone can break.

use std::collections::BTreeSet;
use std::path::Path;

use crate::model::{DocumentError, Effect, MAX_TOOLS, Manifest, POLL_TOOL, Rows, RowsOutput, ToolManifest, document};

/// The contract version this host speaks.
pub const CONTRACT: &str = "0.1";

/// Reads and checks a manifest.
///
/// # Errors
/// Broken TOML or an unknown key, with its place; or the first rule of the manifest that is broken, with the line that breaks it.
pub fn parse(file: &Path, text: &str) -> Result<Manifest, DocumentError> {
    let mut manifest: Manifest = document::parse(file, text)?;
    if let Some(broken) = check(&manifest).into_iter().next() {
        return Err(broken.placed(file, text));
    }
    for tool in &mut manifest.tools {
        // A key names an effect and is stored only as a hash, also when it comes as an argument of the tool's own.
        tool.redact.extend(tool.key_from.clone());
    }
    Ok(manifest)
}

/// Everything that is wrong with a manifest.
pub fn problems(file: &Path, text: &str) -> Vec<DocumentError> {
    match document::parse(file, text) {
        Ok(manifest) => check(&manifest).into_iter().map(|broken| broken.placed(file, text)).collect(),
        Err(error) => vec![error],
    }
}

/// Whether a plugin may have this name: 1 to 64 of `a-z`, `0-9`, `-`, `_`, starting with a letter.
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    name.len() <= 64 && name.chars().all(is_plain) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

struct Broken {
    mention: String,
    problem: String,
    /// Whether it is about a tool: plugins are often called as one of theirs.
    of_tool: bool,
}

impl Broken {
    fn placed(self, file: &Path, text: &str) -> DocumentError {
        let Self { mention, problem, of_tool } = self;
        let tools = text.lines().position(|line| line.trim_start().starts_with("[[tool]]")).filter(|_| of_tool).unwrap_or(0);
        // The rule knows the word it is about; the first line that holds it is where the author will look.
        let find = |from| {
            let lines = text.lines().enumerate().skip(from);
            lines.filter_map(|(line, content)| Some((line + 1, content.find(&mention)? + 1))).next()
        };
        let (line, column) = find(tools).or_else(|| find(0)).unwrap_or((1, 1));
        DocumentError { file: file.to_owned(), line, column, problem }
    }
}

fn broken(mention: impl Into<String>, problem: impl Into<String>) -> Result<(), Broken> {
    Err(Broken { mention: mention.into(), problem: problem.into(), of_tool: false })
}

/// What breaks the rules: of each part of the manifest the first thing.
fn check(manifest: &Manifest) -> Vec<Broken> {
    let mut seen = BTreeSet::new();
    let tools = manifest.tools.iter().map(|tool| {
        if !seen.insert(&tool.name) {
            broken(tool.name.as_str(), format!("the tool `{}` is declared twice", tool.name))?;
        }
        check_tool(tool)?;
        check_rows(tool, manifest)
    });
    let tools = tools.map(|checked: Result<(), Broken>| checked.map_err(|broken| Broken { of_tool: true, ..broken }));
    let checked =
        [check_name(manifest), check_version(manifest), check_contract(manifest), check_tools(manifest)].into_iter().chain(tools);
    checked.filter_map(Result::err).collect()
}

fn check_name(manifest: &Manifest) -> Result<(), Broken> {
    let name = &manifest.name;
    if is_name(name) {
        return Ok(());
    }
    broken("name", format!("`{name}` is not a plugin name (1 to 64 of `a-z`, `0-9`, `-`, `_`, starting with a letter)"))
}

/// It is shown wherever somebody decides what runs, so it must be nothing that reads as something else there.
fn check_version(manifest: &Manifest) -> Result<(), Broken> {
    let version = &manifest.version;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
    if version.len() <= 64 && version.chars().all(is_plain) && version.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let shown: String = version.chars().take(64).flat_map(char::escape_default).collect();
    broken("version", format!("`{shown}` is no version (1 to 64 of letters, digits, `.`, `-`, `+`, `_`), such as `1.4.0`"))
}

fn check_contract(manifest: &Manifest) -> Result<(), Broken> {
    if manifest.contract == CONTRACT {
        return Ok(());
    }
    broken(
        "contract",
        format!(
            "the plugin is built for contract `{}`; this host speaks `{CONTRACT}`: rebuild it with a matching SDK",
            manifest.contract
        ),
    )
}

fn check_tools(manifest: &Manifest) -> Result<(), Broken> {
    if let Some(tool) = manifest.tools.get(MAX_TOOLS) {
        let count = manifest.tools.len();
        return broken(tool.name.as_str(), format!("the plugin declares {count} tools, more than the {MAX_TOOLS} it may have"));
    }
    if manifest.tools.is_empty() { broken("name", "the plugin declares no tool; add a `[[tool]]`") } else { Ok(()) }
}

fn check_tool(tool: &ToolManifest) -> Result<(), Broken> {
    let name = &tool.name;
    let at_tool = |problem: String| broken(name.as_str(), format!("tool `{name}`: {problem}"));
    if name.as_str() == POLL_TOOL {
        at_tool(
            "the host has a tool of this name, which gives the answers of calls that were not waited for; choose another".into(),
        )?;
    }
    if tool.scopes.is_empty() {
        at_tool("it needs at least one scope, such as `read:things`; a tool nobody has to be granted is open to all".into())?;
    }
    if tool.fuel == 0 {
        at_tool("`fuel` is 0, so no call could ever run".into())?;
    }
    if tool.deadline.duration().is_zero() {
        at_tool("`deadline` is zero, so no call could ever run".into())?;
    }
    for pointer in tool.redact.iter().chain(&tool.key_from) {
        if !pointer.starts_with('/') {
            at_tool(format!("`{pointer}` is not a JSON pointer; it starts with `/`, such as `/card_number` (RFC 6901)"))?;
        }
    }
    Ok(())
}

/// What a tool says of its rows must be something that can be enforced: rows that look guarded but are not would be worse than none.
fn check_rows(tool: &ToolManifest, manifest: &Manifest) -> Result<(), Broken> {
    let name = &tool.name;
    let is_declared = |resource: &str| manifest.resources.iter().any(|declared| declared.name == resource);
    let conditional = tool.scopes.iter().find(|scope| !scope.conditions().is_empty());
    if let Some(scope) = tool.scopes.iter().find(|scope| !scope.conditions().is_empty() && !is_declared(scope.resource())) {
        let resource = scope.resource();
        broken(
            scope.to_string(),
            format!(
                "tool `{name}`: `{scope}` has conditions on rows of `{resource}`; declare their attributes in a `[[resource]]` of that name"
            ),
        )?;
    }
    let elsewhere =
        |rows: &RowsOutput| tool.scopes.iter().find(|scope| !scope.conditions().is_empty() && scope.resource() != rows.resource);
    match (&tool.rows, conditional) {
        (None, Some(scope)) => broken(
            name.as_str(),
            format!(
                "tool `{name}`: with `{scope}` it must say where the rows of its result are: `rows = {{ pointer = \"/items\", resource = \"{}\" }}`, or `rows = \"none\"` if it returns none",
                scope.resource()
            ),
        ),
        (Some(Rows::None), Some(scope)) if tool.effect == Effect::Read => broken(
            scope.to_string(),
            format!(
                "tool `{name}`: it only reads and says that its result holds no rows, so the conditions of `{scope}` could never be enforced"
            ),
        ),
        (Some(Rows::At(rows)), _) if tool.effect == Effect::Read && elsewhere(rows).is_some() => broken(
            rows.resource.as_str(),
            format!(
                "tool `{name}`: it only reads, and its rows are `{}`, so the conditions of `{}` could never be enforced",
                rows.resource,
                elsewhere(rows).map_or_else(String::new, ToString::to_string)
            ),
        ),
        (Some(Rows::At(_)), _) if !tool.asks.is_empty() => broken(
            "asks",
            format!(
                "tool `{name}`: the rows of its result are decided one by one, and what it asks its caller could tell of rows that are not the caller's; drop `asks`, or ask in a tool without rows"
            ),
        ),
        (Some(Rows::At(rows)), _) => check_pointed(tool, rows, is_declared(&rows.resource)),
        (None | Some(Rows::None), _) => Ok(()),
    }
}

fn check_pointed(tool: &ToolManifest, rows: &RowsOutput, is_declared: bool) -> Result<(), Broken> {
    let (name, RowsOutput { pointer, resource }) = (&tool.name, rows);
    if !pointer.is_empty() && !pointer.starts_with('/') {
        broken(
            pointer,
            format!(
                "tool `{name}`: `{pointer}` is not a JSON pointer; it starts with `/`, or is empty for the whole result (RFC 6901)"
            ),
        )?;
    }
    if !is_declared {
        broken(resource, format!("tool `{name}`: its rows are `{resource}`, for which there is no `[[resource]]`"))?;
    }
    if !tool.scopes.iter().any(|scope| scope.resource() == resource) {
        broken(
            resource,
            format!("tool `{name}`: its rows are `{resource}`, but none of its scopes speaks of them; add `read:{resource}`"),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"demo\"\nversion = \"0.1.0\"\ncontract = \"0.1\"\n\
        [[tool]]\nname = \"look\"\neffect = \"read\"\nscopes = [\"read:things\"]\n";

    fn problem(text: &str) -> String {
        parse(Path::new("plugin.toml"), text).expect_err("the manifest is broken").to_string()
    }

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = parse(Path::new("plugin.toml"), GOOD).expect("a good manifest");
        assert_eq!(manifest.tools[0].name.as_str(), "look");
    }

    #[test]
    fn no_plugin_may_have_the_hosts_own_tool() {
        let text = GOOD.replace("\"look\"", &format!("\"{POLL_TOOL}\""));
        assert!(
            problem(&text).contains("plugin.toml:5:9: tool `get_call_result`: the host has a tool of this name"),
            "{}",
            problem(&text)
        );
    }

    #[test]
    fn an_unknown_key_of_a_tool_is_refused_with_a_suggestion() {
        let text = GOOD.replace("effect =", "efect =");
        assert!(problem(&text).contains("plugin.toml:6:1: unknown field `efect`"), "{}", problem(&text));
        assert!(problem(&text).contains("did you mean `effect`?"), "{}", problem(&text));
    }

    #[test]
    fn another_contract_version_is_refused_with_both_versions() {
        let text = GOOD.replace("contract = \"0.1\"", "contract = \"0.9\"");
        assert!(problem(&text).contains("plugin.toml:3:1: ") && problem(&text).contains("`0.9`"), "{}", problem(&text));
    }

    #[test]
    fn a_version_that_reads_as_something_else_is_refused_and_shown_escaped() {
        for version in ["", "1\\u001b[2K", "1 is in force", "sha256:00", ".1", &"1".repeat(65), "1\\u202e"] {
            let told = problem(&GOOD.replace("\"0.1.0\"", &format!("\"{version}\"")));
            assert!(told.contains("plugin.toml:2:1: ") && told.contains("is no version"), "{told}");
            assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told}");
        }
        assert!(parse(Path::new("plugin.toml"), &GOOD.replace("\"0.1.0\"", "\"2.0.0-rc.1+build_7\"")).is_ok());
    }

    #[test]
    fn everything_that_is_wrong_is_told_and_what_is_wrong_with_a_tool_is_told_there() {
        let text = GOOD.replace("\"0.1\"\n[[", "\"0.9\"\n[[").replace("\"look\"", "\"demo\"") + "fuel = 0\n";
        let told: Vec<_> = problems(Path::new("plugin.toml"), &text).iter().map(|problem| problem.line).collect();
        assert_eq!(told, [3, 5]);
    }

    #[test]
    fn a_tool_without_scopes_or_declared_twice_is_refused() {
        assert!(problem(&GOOD.replace("[\"read:things\"]", "[]")).contains("at least one scope"));
        let twice = format!("{GOOD}[[tool]]\nname = \"look\"\neffect = \"read\"\nscopes = [\"read:things\"]\n");
        assert!(problem(&twice).contains("declared twice"));
    }

    #[test]
    fn conditions_and_rows_that_could_not_be_enforced_are_refused() {
        const ROWS: &str = "rows = { pointer = \"/things\", resource = \"things\" }\n";
        const RESOURCE: &str = "[[resource]]\nname = \"things\"\ntype = \"Thing\"\nattributes = { a = \"Long\" }\n";
        let conditional = GOOD.replace("read:things", "read:things.where(a=1)");
        let whole = |tool: &str| format!("{tool}{RESOURCE}");
        assert!(parse(Path::new("plugin.toml"), &whole(&format!("{conditional}{ROWS}"))).is_ok());
        assert!(problem(&format!("{conditional}{ROWS}")).contains("declare their attributes"));
        assert!(problem(&whole(&conditional)).contains("it must say where the rows"));
        assert!(problem(&whole(&format!("{conditional}rows = \"none\"\n"))).contains("could never be enforced"));
        let writes = conditional.replace("\"read\"", "\"write\"");
        assert!(parse(Path::new("plugin.toml"), &whole(&format!("{writes}rows = \"none\"\n"))).is_ok(), "its requests are gated");
        assert!(problem(&format!("{GOOD}{ROWS}")).contains("no `[[resource]]`"));
        assert!(problem(&whole(&format!("{GOOD}{}", ROWS.replace("/things", "things")))).contains("not a JSON pointer"));
        let two = conditional.replace("where(a=1)\"", "where(a=1)\", \"read:others.where(b=1)\"");
        let others = RESOURCE.replace("things", "others").replace("Thing", "Other").replace("a =", "b =");
        assert!(problem(&whole(&format!("{two}{ROWS}{others}"))).contains("read:others.where(b=1)` could never be enforced"));
        let other = GOOD.replace("read:things", "use:demo");
        assert!(problem(&whole(&format!("{other}{ROWS}"))).contains("none of its scopes speaks of them"));
        assert!(problem(&GOOD.replace("read:things", "read:things.were(a=1)")).contains("did you mean `.where(`?"));
    }
}

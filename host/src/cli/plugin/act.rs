//! `tidegate plugin install`, `rollback`, `remove`: what becomes of installed plugins, at a live host or on the data of a stopped one.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::changes;
use crate::app::{self, opening};
use crate::cli::audit::printable;
use crate::cli::live::Live;
use crate::cli::{Elsewhere, HostArgs, Output, print, serve};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::pipeline::installer::{Approve, Contents, Done, Ground, Installer, State};
use crate::registry::artifact::Source;
use crate::registry::installed::read_digest;
use crate::server::operator;
use crate::server::operator::installed::{self, Install, Remove, Rollback};
use crate::store::{Store, StoreError};

/// How long a live host may take: it fetches and compiles the plugin, and waits for whoever installs another one.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long to wait for another process that has the data folder open.
const TURN: Duration = PATIENCE;

/// How often to look whether it has it no longer, or has become a live host.
const LOOK: Duration = Duration::from_millis(50);

/// Whose plugins, and how to print what becomes of them.
#[derive(Debug, Clone, Args)]
pub struct At {
    #[command(flatten)]
    pub host: HostArgs,
    #[command(flatten)]
    pub elsewhere: Elsewhere,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tidegate plugin install`
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// The plugin: a folder, a `.tar.gz`, an `https://` URL of one, or `oci://host/repository:tag`.
    pub source: String,
    /// Approve what widens: whatever is printed, or only the contents with this digest, in the place of those with the other, or of none.
    #[arg(long, value_name = "[sha256:BEFORE..]sha256:AFTER", num_args = 0..=1, default_missing_value = SHOWN, value_parser = approve)]
    pub approve: Option<Approve>,
    #[command(flatten)]
    pub at: At,
}

/// `tidegate plugin rollback`
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// The plugin's name.
    pub name: String,
    /// A version that is kept, by its name or digest; else what was in force before.
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    #[command(flatten)]
    pub at: At,
}

/// `tidegate plugin remove`
#[derive(Debug, Clone, Args)]
pub struct RemoveArgs {
    /// The plugin's name.
    pub name: String,
    #[command(flatten)]
    pub at: At,
}

/// What `--approve` without a digest stands for.
const SHOWN: &str = "shown";

fn approve(text: &str) -> Result<Approve, String> {
    if text == SHOWN {
        return Ok(Approve::Shown);
    }
    let (before, after) = text.split_once("..").map_or((None, text), |(before, after)| (Some(before), after));
    let read =
        |digest: &str| read_digest(digest).map_err(|problem| format!("{problem}; the plugin's place comes before `--approve`"));
    Ok(Approve::Contents { after: read(after)?, before: before.map(read).transpose()? })
}

/// `tidegate plugin install`
pub fn install(args: &InstallArgs) -> Result<ExitCode> {
    let source = match args.source.parse()? {
        Source::Path(path) if args.at.elsewhere.admin_url.is_some() && !path.is_absolute() => {
            bail!("the host looks for the plugin itself, on its own machine; name the folder there by its whole path")
        }
        // The host stands in another folder.
        Source::Path(path) => Source::Path(std::path::absolute(&path).with_context(|| format!("`{}` is no path", args.source))?),
        elsewhere => elsewhere,
    };
    let question = Install { source: source.to_string(), approve: args.approve };
    let done = ask(&args.at, installed::INSTALL, &json!(question))?;
    tell(&done, args.at.output, Some(args))
}

/// `tidegate plugin rollback`
pub fn roll_back(args: &RollbackArgs) -> Result<ExitCode> {
    let question = Rollback { name: args.name.clone(), to: args.to.clone() };
    tell(&ask(&args.at, installed::ROLLBACK, &json!(question))?, args.at.output, None)
}

/// `tidegate plugin remove`
pub fn remove(args: &RemoveArgs) -> Result<ExitCode> {
    tell(&ask(&args.at, installed::REMOVE, &json!(Remove { name: args.name.clone() }))?, args.at.output, None)
}

/// Asks the live host, or does on the data of a stopped one what it would do. Waits for others who do such things.
fn ask(at: &At, method: &str, question: &Value) -> Result<Done> {
    let in_words = "the host's answer makes no sense; is it of another version?";
    if let Some(mut live) = at.elsewhere.live()? {
        live.wait_at_most(PATIENCE)?;
        return serde_json::from_value(live.ask(method, question)?).context(in_words);
    }
    let config = serve::configure(&at.host, None)?;
    let data = serve::data_dir(&config);
    let begun = Instant::now();
    let mut has_told = false;
    let answer = loop {
        if let Some(mut live) = Live::connect(&data)? {
            live.wait_at_most(PATIENCE)?;
            break live.ask(method, question)?;
        }
        match Store::open(&data, &config.store) {
            Ok(store) => break on_stopped(&config, &data, store, method, question)?,
            // Another one that installs, or a host that starts or stops.
            Err(error @ StoreError::InUse { .. }) if begun.elapsed() < TURN => {
                if !std::mem::replace(&mut has_told, true) {
                    eprintln!("waiting: {error}");
                }
                thread::sleep(LOOK);
            }
            Err(error) => return Err(error.into()),
        }
    };
    serde_json::from_value(answer).context(in_words)
}

fn on_stopped(config: &Config, data: &Path, store: Store, method: &str, question: &Value) -> Result<Value> {
    let (ledger, _) = Ledger::open(store, &data.join(app::KEYS), &config.ledger)?;
    let runtime = serve::runtime()?;
    let work = async {
        let sandbox = opening::sandbox(config, data, &ledger)?;
        let (loader, sources) = (opening::loader(config, data, &sandbox, false), opening::sources(config, data));
        let rules = opening::install_rules(config);
        let installer = Installer { ledger: &ledger, sources: &sources, rules: &rules, ground: Ground::Stopped(&loader) };
        let by = operator::user(rustix::process::geteuid().as_raw());
        Ok::<_, anyhow::Error>(installed::answer(&installer, &by, method, question.clone()).await?)
    };
    let done = runtime.block_on(work);
    let closed = runtime.block_on(ledger.close());
    let done = done?;
    closed?;
    Ok(done)
}

/// Tells what came of it; fails if something has to be approved first.
fn tell(done: &Done, output: Output, asked_for: Option<&InstallArgs>) -> Result<ExitCode> {
    let code = if done.state == State::Unapproved { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    for other in &done.left_out {
        eprintln!("the host would not start yet: {}", printable(other));
    }
    if !done.left_out.is_empty() {
        eprintln!("the policies were not checked, as they may speak of what can't be loaded");
    }
    if output == Output::Json {
        print::json(done)?;
        return Ok(code);
    }
    let name = |contents: &Contents| format!("{} (sha256:{})", printable(&contents.version), contents.sha256);
    let plugin = &done.plugin;
    let headline = match (done.state, &done.before, &done.after) {
        (State::Unchanged, _, Some(after)) => format!("{plugin} {} is in force already", name(after)),
        (State::Done, None, Some(after)) => format!("{plugin} {} is in force", name(after)),
        (State::Done, Some(before), Some(after)) if before == after => {
            let signers = done.signed_by.as_deref().map_or_else(|| "nobody".to_owned(), printable);
            format!("{plugin} {} stays in force, signed by {signers}", name(after))
        }
        (State::Done, Some(before), Some(after)) => {
            format!("{plugin} {} is in force, in the place of {}", name(after), name(before))
        }
        (State::Unapproved, None, Some(after)) => format!("{plugin} {} is new", name(after)),
        (State::Unapproved, Some(before), Some(after)) => {
            format!("{plugin} {} would take the place of {}", name(after), name(before))
        }
        (_, Some(before), None) => format!("{plugin} {} is removed, with all that was kept of it", name(before)),
        (_, None, None) => plugin.clone(),
    };
    print::text(&headline)?;
    if !done.changes.is_empty() {
        print::text(&format_args!("\n{}", changes::table(&done.changes)))?;
    }
    if let (State::Unapproved, Some(after), Some(args)) = (done.state, &done.after, asked_for) {
        let asked = done.unapproved.iter().filter(|change| change.needs_approval()).count();
        let have = if asked == 1 { "has" } else { "have" };
        let command = approving(args, done.before.as_ref(), after);
        eprintln!(
            "nothing was installed: {asked} of these changes {have} to be approved first. If they are all right:\n  {command}"
        );
    }
    Ok(code)
}

/// The command that approves what was shown, of the same host.
fn approving(args: &InstallArgs, before: Option<&Contents>, after: &Contents) -> String {
    let before = before.map_or(String::new(), |before| format!("sha256:{}..", before.sha256));
    let mut words = vec![args.source.clone(), "--approve".into(), format!("{before}sha256:{}", after.sha256)];
    let mut flag = |name: &str, value: Option<String>| words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    let text = |path: &PathBuf| path.display().to_string();
    let HostArgs { config, data, plugins, policies, backend } = &args.at.host;
    flag("--config", config.as_ref().map(text));
    flag("--data", data.as_ref().map(text));
    flag("--plugins", plugins.as_ref().map(text));
    flag("--policies", policies.as_ref().map(text));
    backend.iter().for_each(|(name, url)| flag("--backend", Some(format!("{name}={url}"))));
    let Elsewhere { admin_url, admin_token_file, admin_ca } = &args.at.elsewhere;
    flag("--admin-url", admin_url.clone());
    flag("--admin-token-file", admin_token_file.as_ref().map(text));
    flag("--admin-ca", admin_ca.as_ref().map(text));
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    format!("tidegate plugin install {}", words.join(" "))
}

/// A word as a shell takes it. One with a NUL in it is no argument that anybody could have given.
fn quoted(word: &str) -> Cow<'_, str> {
    shlex::try_quote(word).unwrap_or(Cow::Borrowed(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_a_shell_as_they_are() {
        for word in ["./invoices-0.2.0", "oci://host:5000/a/b:1", "it's; rm -rf $HOME `x`", "", "two words", "a\\b\n"] {
            let told = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(word))).output();
            assert_eq!(told.expect("sh runs").stdout, word.as_bytes(), "{word}");
        }
    }

    #[test]
    fn an_approval_names_what_is_meant_and_what_it_was_compared_with() {
        let digest = |byte: u8| crate::model::Digest([byte; 32]);
        let text = |byte: u8| format!("sha256:{}", digest(byte));
        assert_eq!(approve(&text(1)), Ok(Approve::Contents { after: digest(1), before: None }));
        let both = format!("{}..{}", text(1), text(2));
        assert_eq!(approve(&both), Ok(Approve::Contents { after: digest(2), before: Some(digest(1)) }));
        assert_eq!(approve(SHOWN), Ok(Approve::Shown));
        assert!(approve("./invoices").expect_err("a place").contains("comes before `--approve`"));
    }
}

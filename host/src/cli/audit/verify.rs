//! `tidegate audit verify`: a host's log, an export or a proof, held against what it must be.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::source::{Source, with_source};
use super::table::printable;
use super::{VerifyArgs, progress, time};
use crate::cli::{Output, print};
use crate::ledger::{ExportLine, Ledger, Proof, PublicKey, Verification, verify_export, verify_whole};
use crate::server::operator::audit::{self, Place};

/// The longest first line, and the longest proof, in bytes.
const LONGEST: u64 = 64 << 20;

/// What an export begins with.
const EXPORT: &[u8] = b"{\"tidegate_export\":";

/// `tidegate audit verify`
pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let key = args.key.as_deref().map(key).transpose()?;
    let note = args.checkpoint.as_deref().map(read_note).transpose()?;
    let (key, note) = (key.as_ref(), note.as_deref());
    match &args.file {
        Some(path) if path == Path::new("-") => of_file(args, io::stdin().lock(), key, note),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("can't read `{}`", path.display()))?;
            let bar = progress::bytes(file.metadata().map_or(0, |metadata| metadata.len()));
            let ended = of_file(args, BufReader::new(bar.wrap_read(file)), key, note);
            bar.finish_and_clear();
            ended
        }
        None => {
            let (verified, own) = with_source(&args.log, |source| match source {
                Source::Stopped(ledger) => of_store(ledger, key, note),
                live => of_live(live, key, note),
            })?;
            report(args, &verified, &own)
        }
    }
}

/// The log in the store of a stopped host, and all that is stored beside it.
fn of_store(ledger: &Ledger, key: Option<&PublicKey>, note: Option<&str>) -> Result<(Verification, PublicKey)> {
    let own = ledger.public_key();
    if let Some(key) = key.filter(|key| *key != own) {
        bail!("the log is `{}`, not `{}`", own.name(), key.name());
    }
    let note = note.map(|note| own.check(note)).transpose();
    let note = note.map_err(|problem| anyhow!("the checkpoint can't be held against the log: {problem}"))?;
    let bar = progress::records(ledger.tip()?.seq);
    let verified = ledger.verify(note.as_ref(), |seq| bar.set_position(seq))?;
    bar.finish_and_clear();
    Ok((verified, own.clone()))
}

/// The log of a live host: what it hands out is checked here, like an export.
fn of_live(source: &mut Source<'_>, key: Option<&PublicKey>, note: Option<&str>) -> Result<(Verification, PublicKey)> {
    let header: String = source.ask(audit::HEADER, &Place { from: 0 })?;
    let last = source.extent()?.last;
    let first = serde_json::from_str::<Value>(&header)?["from"].as_u64().unwrap_or(1);
    let bar = progress::records(last);
    let feed = Feed { source, next: first, last, is_gone: false, page: Cursor::new(header.into_bytes()), bar: bar.clone() };
    let verified = verify_whole(BufReader::new(feed), key, note);
    bar.finish_and_clear();
    Ok(verified?)
}

/// The records of a live host, as the text of an export.
struct Feed<'f, 's> {
    source: &'f mut Source<'s>,
    next: u64,
    /// Where to stop, which is where the log ended when this began.
    last: u64,
    /// A body was not there.
    is_gone: bool,
    page: Cursor<Vec<u8>>,
    bar: ProgressBar,
}

impl Feed<'_, '_> {
    fn fetch(&mut self) -> Result<()> {
        if self.next > self.last && std::mem::take(&mut self.is_gone) {
            // What accounts for it may have been written since.
            self.last = self.source.extent()?.last;
        }
        let mut page = Vec::new();
        if self.next <= self.last {
            for line in self.source.lines(self.next)? {
                let parsed: ExportLine = serde_json::from_str(&line).context("a record's line makes no sense")?;
                if parsed.seq > self.last {
                    break;
                }
                self.next = parsed.seq + 1;
                self.is_gone |= parsed.gone().is_some();
                page.push(b'\n');
                page.extend(line.into_bytes());
            }
        }
        self.bar.set_position(self.next - 1);
        self.page = Cursor::new(page);
        Ok(())
    }
}

impl Read for Feed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.page.position() == self.page.get_ref().len() as u64 {
            self.fetch().map_err(|error| io::Error::other(format!("{error:#}")))?;
        }
        self.page.read(buffer)
    }
}

/// An export or a proof, whichever it is.
fn of_file(args: &VerifyArgs, mut input: impl BufRead, key: Option<&PublicKey>, note: Option<&str>) -> Result<ExitCode> {
    let mut start = Vec::new();
    input.by_ref().take(LONGEST).read_until(b'\n', &mut start).context("it can't be read")?;
    if start.starts_with(EXPORT) {
        let (verified, own) = verify_export(Cursor::new(start).chain(input), key, note)?;
        return report(args, &verified, &own);
    }
    input.take(LONGEST).read_to_end(&mut start).context("it can't be read")?;
    let neither = "it is neither an export (`tidegate audit export`) nor a proof (`tidegate audit prove`)";
    let proof: Proof = serde_json::from_slice(&start).context(neither)?;
    if note.is_some() {
        bail!("a proof has a checkpoint of its own; `--checkpoint` is for whole logs and exports");
    }
    of_proof(args, &proof, key)
}

fn of_proof(args: &VerifyArgs, proof: &Proof, key: Option<&PublicKey>) -> Result<ExitCode> {
    let proven = match proof.check(key) {
        Ok(proven) => proven,
        Err(problem) => {
            match args.log.output {
                Output::Json => print::json(&json!({ "broken": { "seq": proof.seq(), "problem": problem } }))?,
                Output::Table => {
                    print::text(&format_args!("the proof of record {} does not hold: {}", proof.seq(), printable(&problem)))?;
                }
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let head = &proven.record.head;
    let body: Option<Value> = proven.record.body.as_deref().map(|body| serde_json::from_slice(body).unwrap_or_default());
    match args.log.output {
        Output::Json => {
            let opened = proven.opened.as_ref().map(|(pointer, value)| json!({ "pointer": pointer, "value": value }));
            print::json(&json!({
                "seq": head.seq, "at_ms": head.at.as_millis(), "kind": head.kind.as_str(), "call": head.call,
                "hash": proven.record.hash, "size": proven.size, "key": proven.key.to_string(), "body": body, "opened": opened,
                "broken": null,
            }))?;
        }
        Output::Table => {
            let (kind, at) = (head.kind.as_str(), time::show_exactly(head.at.as_millis()));
            print::text(&format_args!("record {} stands in the log, signed with {} records", head.seq, proven.size))?;
            print::text(&format_args!("{kind}, {at}{}", head.call.map(|call| format!(", {call}")).unwrap_or_default()))?;
            if let Some(body) = body {
                for line in serde_json::to_string_pretty(&body)?.lines() {
                    print::text(&printable(line))?;
                }
            }
            if let Some((pointer, value)) = &proven.opened {
                print::text(&format_args!("at `{}` stood {}", printable(pointer), printable(&value.to_string())))?;
            }
            print::text(&said_of_key(args, &proven.key))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn report(args: &VerifyArgs, verified: &Verification, key: &PublicKey) -> Result<ExitCode> {
    match (args.log.output, &verified.broken) {
        (Output::Json, broken) => print::json(&json!({
            "records": verified.records, "tip": verified.tip.hash, "open_calls": verified.open_calls,
            "erased_bodies": verified.erased_bodies, "pruned_bodies": verified.pruned_bodies,
            "checkpoints": verified.checkpoints, "unsigned": verified.unsigned, "key": key.to_string(),
            "broken": broken.as_ref().map(|broken| json!({ "seq": broken.seq, "problem": broken.problem })),
        }))?,
        (Output::Table, None) => print::text(&describe(args, verified, key))?,
        (Output::Table, Some(broken)) => {
            print::text(&format_args!("broken at record {}: {}", broken.seq, printable(&broken.problem)))?;
        }
    }
    Ok(if verified.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(args: &VerifyArgs, verified: &Verification, key: &PublicKey) -> String {
    let mut lines = vec![format!("{} records, unbroken; tip {}", verified.records, verified.tip.hash)];
    lines.push(match (verified.checkpoints, verified.unsigned) {
        (0, _) => "no checkpoint signs them".to_owned(),
        // The last record is a checkpoint, and nothing signs itself.
        (count, 0 | 1) => format!("signed to the end, by {count} checkpoints"),
        (count, unsigned) => format!("signed by {count} checkpoints, but for the last {unsigned}"),
    });
    if verified.open_calls > 0 {
        lines.push(format!("{} calls have an intent and no outcome yet", verified.open_calls));
    }
    let (erased, pruned) = (verified.erased_bodies, verified.pruned_bodies);
    if erased + pruned > 0 {
        lines.push(format!("{erased} bodies were erased and {pruned} pruned; the log accounts for each"));
    }
    lines.push(said_of_key(args, key));
    lines.join("\n")
}

fn said_of_key(args: &VerifyArgs, key: &PublicKey) -> String {
    let believed = if args.key.is_none() { " (its own word; name the one you know with `--key`)" } else { "" };
    format!("key {key}{believed}")
}

/// The key itself, or what stands in the file of this name.
fn key(text: &str) -> Result<PublicKey> {
    let problem = match text.parse() {
        Ok(key) => return Ok(key),
        Err(problem) => problem,
    };
    if !Path::new(text).is_file() {
        bail!("{problem}, nor a file with one");
    }
    let said = fs::read_to_string(text).with_context(|| format!("can't read `{text}`"))?;
    said.parse().map_err(|problem: String| anyhow!(problem).context(format!("no key is in `{text}`")))
}

fn read_note(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read the checkpoint `{}`", path.display()))
}

//! `tidegate policy replay`: what other policies would have meant for the calls that were recorded.
//!
//! Rows are not decided again: what a backend returned is not in the log, or only in part. Neither are answers that were given again
//! by key: the call that they are of is, and under which policies it was delivered again made no difference to what ran.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ReplayArgs;
use super::again::{Again, decide_again};
use super::workspace::{Workspace, WorkspaceArgs};
use crate::cli::audit::{printable, with_ledger};
use crate::cli::{AuditArgs, Output, WhichHost, print};
use crate::ledger::{Kind, Ledger, PastDecision, PastOutcome};
use crate::model::{CallId, Timestamp};
use crate::registry::Generation;

/// The most call ids that are listed of each group.
const CALLS: usize = 100;
/// Records read at a time.
const PAGE: usize = 512;
/// What is said about rows, whatever came of the calls.
const ROWS: &str =
    "not decided again: what backends returned is not in the log, so rows may come out differently where calls do not";
/// The exit code if nothing comes out differently, as far as can be told, and not all can.
const UNDECIDED: u8 = 2;
/// The same in a table.
const CALLS_SHOWN: usize = 3;

/// Calls that are told of together: alike in all that is in the key.
#[derive(Default, Serialize)]
struct Group {
    /// How many calls were decided again, one by one.
    count: u64,
    /// How many more were counted with one of them instead of being recorded one by one.
    repeats: u64,
    /// The calls, up to [`CALLS`].
    calls: Vec<CallId>,
}

/// A decision that comes out differently.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Flip {
    change: &'static str,
    tool: String,
    issuer: String,
    subject: String,
    /// The policies that decided then.
    before: Vec<String>,
    /// The policies that would decide, or what stands in the way.
    after: Vec<String>,
}

/// What came of the whole.
#[derive(Default)]
struct Report {
    decided: u64,
    unchanged: u64,
    repeats: u64,
    erased: u64,
    /// Answers that were given again by key.
    given_again: u64,
    flips: BTreeMap<Flip, Group>,
    undecided: BTreeMap<(String, String), Group>,
    /// The last decision of each caller, tool and outcome: repeats are counted with it.
    last: BTreeMap<(String, String, String, &'static str), Told>,
}

/// Where a decision was told of.
#[derive(Clone)]
enum Told {
    Unchanged,
    Flip(Flip),
    Undecided(String, String),
}

/// `tidegate policy replay`: exits with 0 if every decision was made again and none comes out differently, with 1 if one does, and
/// with 2 if none does as far as can be told.
pub fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(&WorkspaceArgs {
        config: args.config.clone(),
        policies: Some(args.candidate.clone()),
        plugins: args.plugins.clone(),
    })?;
    let generation = workspace.load()??;
    let log = AuditArgs {
        host: WhichHost { config: args.config.clone(), data: args.data.clone(), ..WhichHost::default() },
        output: args.output,
    };
    let since = u64::try_from(args.since.as_millis()).unwrap_or(u64::MAX);
    let since = Timestamp(Timestamp::now().as_millis().saturating_sub(since));
    let report = with_ledger(&log, |ledger| {
        let mut report = Report::default();
        report.erased = ledger.decisions(since, |past| report.add(&generation, &past))?;
        report.given_again = given_again(ledger, since)?;
        Ok(report)
    })?;
    match args.output {
        Output::Json => print::json(&report.json(&generation))?,
        Output::Table => report.print()?,
    }
    Ok(match (report.flips.is_empty(), report.undecided.is_empty() && report.erased == 0) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
        (true, false) => UNDECIDED.into(),
    })
}

/// How many answers were given again by key since then.
fn given_again(ledger: &Ledger, since: Timestamp) -> Result<u64> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        code: Option<Cow<'a, str>>,
        repeated: Option<Repeated>,
    }
    #[derive(Deserialize)]
    struct Repeated {
        count: u64,
    }
    let (mut next, mut total) = (1, 0);
    loop {
        let page = ledger.records(next, PAGE)?;
        let Some(last) = page.last() else { return Ok(total) };
        next = last.head.seq + 1;
        let rejections = page.iter().filter(|record| record.head.kind == Kind::Rejection && record.head.at >= since);
        for body in rejections.filter_map(|record| record.body.as_deref()) {
            let body: Body<'_> = serde_json::from_slice(body).context("a record of the log makes no sense")?;
            if body.code.as_deref() == Some("replayed") {
                // A record of repeats stands for those after the first, which has a record of its own.
                total += body.repeated.map_or(1, |repeated| repeated.count);
            }
        }
    }
}

impl Report {
    fn add(&mut self, generation: &Generation, past: &PastDecision) {
        let (issuer, subject) = (past.principal.issuer.clone(), past.principal.subject.clone());
        let kind = (issuer.clone(), subject.clone(), past.tool.clone(), word(past.outcome));
        if let Some(count) = past.repeated {
            return self.add_repeats(&kind, past, count);
        }
        let told = match decide_again(generation, past) {
            None => return,
            Some(Again::Unknown(why)) => Told::Undecided(past.tool.clone(), why),
            Some(Again::Decided { allowed, .. }) if allowed == (past.outcome == PastOutcome::Allowed) => Told::Unchanged,
            Some(Again::Decided { allowed, reasons }) => Told::Flip(Flip {
                change: if allowed { "deny -> allow" } else { "allow -> deny" },
                tool: past.tool.clone(),
                issuer,
                subject,
                before: match past.outcome {
                    PastOutcome::InsufficientScope => vec!["missing scopes".to_owned()],
                    _ => past.policies.clone(),
                },
                after: reasons,
            }),
        };
        match &told {
            Told::Unchanged => self.unchanged += 1,
            Told::Flip(flip) => self.flips.entry(flip.clone()).or_default().add(past.call),
            Told::Undecided(tool, why) => self.undecided.entry((tool.clone(), why.clone())).or_default().add(past.call),
        }
        self.decided += u64::from(!matches!(told, Told::Undecided(..)));
        self.last.insert(kind, told);
    }

    /// Counts repeats with the decision that stands for them.
    fn add_repeats(&mut self, kind: &(String, String, String, &'static str), past: &PastDecision, count: u64) {
        self.repeats += count;
        match self.last.get(kind) {
            Some(Told::Unchanged) => {}
            Some(Told::Flip(flip)) => self.flips.entry(flip.clone()).or_default().repeats += count,
            Some(Told::Undecided(tool, why)) => {
                self.undecided.entry((tool.clone(), why.clone())).or_default().repeats += count;
            }
            None if past.outcome == PastOutcome::UnknownTool => {}
            None => {
                let why = "they were only counted, and the call that stands for them lies before the period".to_owned();
                self.undecided.entry((past.tool.clone(), why)).or_default().repeats += count;
            }
        }
    }

    fn json(&self, generation: &Generation) -> serde_json::Value {
        let flips = self.flips.iter().map(|(flip, group)| merged(json!(flip), group));
        let undecided = self.undecided.iter().map(|((tool, why), group)| merged(json!({ "tool": tool, "why": why }), group));
        json!({
            "candidate": generation.policies.hash(), "decided": self.decided, "unchanged": self.unchanged,
            "repeats": self.repeats, "erased": self.erased, "given_again": self.given_again, "rows": ROWS,
            "flips": flips.collect::<Vec<_>>(), "undecided": undecided.collect::<Vec<_>>(),
        })
    }

    fn print(&self) -> Result<()> {
        if !self.flips.is_empty() {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["change", "tool", "subject", "calls", "before", "after", "for example"]);
            for (flip, group) in &self.flips {
                table.add_row([
                    flip.change.to_owned(),
                    printable(&flip.tool),
                    printable(&flip.subject),
                    group.size(),
                    printable(&flip.before.join(" ")),
                    printable(&flip.after.join(" ")),
                    group.examples(),
                ]);
            }
            print::text(&format_args!("{table}\n"))?;
        }
        for ((tool, why), group) in &self.undecided {
            let (tool, why) = (printable(tool), printable(why));
            print::text(&format_args!("not decided again: {} of `{tool}`: {why} ({})", group.size(), group.examples()))?;
        }
        let flipped: u64 = self.flips.values().map(|group| group.count).sum();
        print::text(&format_args!(
            "{} decisions made again: {flipped} come out differently, {} as they were",
            self.decided, self.unchanged
        ))?;
        if self.repeats > 0 {
            print::text(&format_args!(
                "{} more calls were refused like one that is recorded; they are counted with it (+), not decided one by one",
                self.repeats
            ))?;
        }
        if self.erased > 0 {
            print::text(&format_args!("{} records have lost their body and can't be decided again", self.erased))?;
        }
        if self.given_again > 0 {
            print::text(&format_args!(
                "{} answers were given again by key: left out, for the calls that they answer are decided themselves",
                self.given_again
            ))?;
        }
        print::text(&format_args!("rows are {ROWS}"))?;
        Ok(())
    }
}

impl Group {
    fn add(&mut self, call: CallId) {
        self.count += 1;
        if self.calls.len() < CALLS {
            self.calls.push(call);
        }
    }

    fn size(&self) -> String {
        if self.repeats == 0 { self.count.to_string() } else { format!("{} +{}", self.count, self.repeats) }
    }

    fn examples(&self) -> String {
        let shown: Vec<_> = self.calls.iter().take(CALLS_SHOWN).map(ToString::to_string).collect();
        let more = if self.count > CALLS_SHOWN as u64 { " …" } else { "" };
        format!("{}{more}", shown.join(" "))
    }
}

fn word(outcome: PastOutcome) -> &'static str {
    match outcome {
        PastOutcome::Allowed => "allowed",
        PastOutcome::Denied => "denied",
        PastOutcome::InsufficientScope => "insufficient_scope",
        PastOutcome::UnknownTool => "unknown_tool",
    }
}

/// One object with the members of both.
fn merged(mut one: serde_json::Value, group: &Group) -> serde_json::Value {
    if let (Some(one), serde_json::Value::Object(group)) = (one.as_object_mut(), json!(group)) {
        one.extend(group);
    }
    one
}

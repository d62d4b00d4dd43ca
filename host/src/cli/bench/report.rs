//! What a run came to: for people a table, for programs JSON.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::BenchArgs;
use super::effects::Compared;
use super::run::{Run, Spans};
use super::tally::Tally;

/// What a run came to. Latencies are in milliseconds; those at the top are of first answers.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Calls that began.
    pub calls: u64,
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that were pending for a time, whatever came of them.
    pub pending: u64,
    /// Calls that were told to come again later, whatever came of them.
    pub overloaded: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that were never answered or never ended, and effects that callers were told of and the backend was not.
    pub lost: u64,
    /// Keys with two effects, and effects that nobody was told of.
    pub doubled: u64,
    /// Calls that had no time left to come again.
    pub refused: u64,
    /// Overloaded calls that succeeded in the end.
    pub retried_ok: u64,
    /// Those of them that did so when they came again for the first time.
    pub retried_ok_at_once: u64,
    /// Calls that ended with the answer of an earlier attempt.
    pub replayed: u64,
    /// Calls that were repeated after they had succeeded.
    pub repeated: u64,
    /// Calls that succeeded per second, while calls began.
    pub rps: f64,
    /// Calls that succeeded per second, until the last one ended.
    pub rps_overall: f64,
    #[serde(flatten)]
    latency: Latency,
    /// From the beginning of each call to its first answer.
    pub first_answer: Latency,
    /// From the beginning of each call that succeeded to its result.
    pub resolved: Latency,
    /// How many failed of what.
    pub errors_by_code: BTreeMap<String, u64>,
    /// How many were lost for what.
    pub lost_by_reason: BTreeMap<&'static str, u64>,
    /// For how long calls began.
    pub issued_seconds: f64,
    /// How long calls went on ending after that.
    pub drained_seconds: f64,
    /// Calls that began late because no caller was free.
    pub late: u64,
    /// Calls that were due and did not begin because no caller was free.
    pub not_begun: u64,
    /// The backend's own count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effects: Option<Compared>,
    /// The same by tool.
    pub tools: Vec<ToolReport>,
    /// What the generator itself took.
    pub generator: Generator,
    /// What was asked for.
    pub parameters: Value,
}

/// What the calls of one tool came to.
#[derive(Debug, Serialize)]
pub struct ToolReport {
    /// The tool.
    pub tool: String,
    /// Whether its calls had keys.
    pub keyed: bool,
    /// Calls that began.
    pub calls: u64,
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that were pending.
    pub pending: u64,
    /// Calls that were told to come again later.
    pub overloaded: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that were lost.
    pub lost: u64,
    /// Keys with two effects.
    pub doubled: u64,
    /// From the beginning of each call to its first answer.
    pub first_answer: Latency,
    /// From the beginning of each call that succeeded to its result.
    pub resolved: Latency,
}

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    mean_ms: f64,
}

/// What the generator took of the machine that it may share with the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Generator {
    /// The most memory it held, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// CPU time, in seconds.
    pub cpu_seconds: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |micros: u64| micros as f64 / 1e3;
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        Self {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(histogram.max()),
            mean_ms: histogram.mean().round() / 1e3,
        }
    }
}

impl ToolReport {
    fn new(tool: &str, keyed: bool, tally: &Tally) -> Self {
        Self {
            tool: tool.to_owned(),
            keyed,
            calls: tally.ended,
            ok: tally.ok,
            pending: tally.pending,
            overloaded: tally.overloaded,
            errors: tally.errors.values().sum(),
            lost: tally.lost.values().sum(),
            doubled: tally.doubled,
            first_answer: Latency::of(&tally.first),
            resolved: Latency::of(&tally.resolved),
        }
    }
}

impl Report {
    /// What `run` came to; `compare` sets the backend's own count beside it, if there is one.
    pub fn new(args: &BenchArgs, run: &Run, spans: Spans, compare: impl FnOnce(&Tally) -> Option<Compared>) -> Self {
        let tallies = run.tallies();
        let mut all = Tally::new();
        for tally in &tallies {
            all.add(tally);
        }
        let tools = run.plan.tools.iter().zip(&tallies).map(|(tool, tally)| ToolReport::new(&tool.name, tool.is_keyed, tally));
        let effects = compare(&all);
        let (excess, missing) = effects.map_or((0, 0), |effects| (effects.excess, effects.missing));
        Self {
            calls: all.ended,
            ok: all.ok,
            pending: all.pending,
            overloaded: all.overloaded,
            errors: all.errors.values().sum(),
            lost: all.lost.values().sum::<u64>() + missing,
            doubled: all.doubled + excess,
            refused: all.refused,
            retried_ok: all.retried_ok,
            retried_ok_at_once: all.retried_ok_at_once,
            replayed: all.replayed,
            repeated: run.repeated.load(Ordering::Relaxed),
            rps: per_second(all.ok_in_time, spans.issued),
            rps_overall: per_second(all.ok, spans.whole),
            latency: Latency::of(&all.first),
            first_answer: Latency::of(&all.first),
            resolved: Latency::of(&all.resolved),
            issued_seconds: seconds(spans.issued),
            drained_seconds: seconds(spans.whole.saturating_sub(spans.issued)),
            late: run.schedule().late(),
            not_begun: run.schedule().not_begun(),
            effects,
            tools: tools.collect(),
            generator: Generator::measured(),
            parameters: parameters(args),
            errors_by_code: all.errors,
            lost_by_reason: all.lost,
        }
    }

    /// Whether every call was answered once, and took effect once.
    pub const fn is_sound(&self) -> bool {
        self.lost == 0 && self.doubled == 0
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} calls in {:.1} s, and {:.1} s until the last one ended: {:.0} successes/s ({:.0} over all)\n\n",
            self.calls, self.issued_seconds, self.drained_seconds, self.rps, self.rps_overall
        );
        let mut outcomes = table(&["outcome", "calls", ""]);
        let mut row = |what: &str, calls: u64, note: String| {
            outcomes.add_row([what.to_owned(), calls.to_string(), note]);
        };
        row("ok", self.ok, noted(&[("with the answer of an earlier attempt", self.replayed)]));
        row("errors", self.errors, counts(self.errors_by_code.iter().map(|(code, count)| (code.as_str(), *count))));
        row("refused", self.refused, noted(&[("no time was left to come again", self.refused)]));
        row("lost", self.lost, counts(self.lost_by_reason.iter().map(|(why, count)| (*why, *count))));
        row("doubled", self.doubled, noted(&[("repeated to see", self.repeated)]));
        row("pending for a time", self.pending, String::new());
        let at_once = [("succeeded later", self.retried_ok), ("at the first retry", self.retried_ok_at_once)];
        row("overloaded for a time", self.overloaded, noted(&at_once));
        if self.late + self.not_begun > 0 {
            row("late", self.late, "no caller was free when they were due".to_owned());
            row("not begun", self.not_begun, "no caller was free at all".to_owned());
        }
        if let Some(effects) = &self.effects {
            let Compared { counted, ok, maybe, .. } = effects;
            row("effects", *counted, format!("counted by the backend; {ok} were told of, {maybe} may have been"));
        }
        text += &format!("{outcomes}\n\n");
        let mut latencies = table(&["milliseconds", "p50", "p90", "p99", "p99.9", "max", "mean"]);
        let mut row = |what: String, latency: &Latency| {
            let Latency { p50_ms, p90_ms, p99_ms, p999_ms, max_ms, mean_ms } = latency;
            let figures = [p50_ms, p90_ms, p99_ms, p999_ms, max_ms, mean_ms].map(|ms| format!("{ms:.1}"));
            latencies.add_row(std::iter::once(what).chain(figures));
        };
        row("first answer".to_owned(), &self.first_answer);
        row("result".to_owned(), &self.resolved);
        if self.tools.len() > 1 {
            for tool in &self.tools {
                row(format!("  {} ({}), first answer", tool.tool, tool.calls), &tool.first_answer);
                row("    result".to_owned(), &tool.resolved);
            }
        }
        text += &format!("{latencies}\n\n");
        let memory = self.generator.peak_rss_bytes.map(|bytes| format!(", {} MiB of memory", bytes >> 20)).unwrap_or_default();
        text + &format!("the generator itself took {:.1} s of CPU time{memory}", self.generator.cpu_seconds)
    }
}

impl Generator {
    fn measured() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu_seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        Self { peak_rss_bytes: peak.map(|kib| kib << 10), cpu_seconds: (cpu_seconds * 1e3).round() / 1e3 }
    }
}

fn parameters(args: &BenchArgs) -> Value {
    let span = |span: Duration| humantime::format_duration(span).to_string();
    json!({
        "url": args.url, "tool": args.tool, "args": args.args, "concurrency": args.concurrency, "duration": span(args.duration),
        "rate": args.rate, "think": span(args.think), "principals": args.principals, "key": format!("{:?}", args.key).to_lowercase(),
        "write": args.write, "repeat": args.repeat, "tasks": args.tasks, "legacy": args.legacy, "timeout": span(args.timeout),
        "patience": span(args.patience), "drain": span(args.drain), "effects": args.effects,
    })
}

fn per_second(count: u64, span: Duration) -> f64 {
    (count as f64 / span.as_secs_f64().max(0.001) * 10.0).round() / 10.0
}

fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e3).round() / 1e3
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    table
}

/// What is not nothing, in words.
fn noted(notes: &[(&str, u64)]) -> String {
    let notes: Vec<_> = notes.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect();
    notes.join(", ")
}

fn counts<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    counts.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}

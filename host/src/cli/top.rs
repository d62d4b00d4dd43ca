//! `tidegate top`: who runs, who waits and who burns at a live host, as it goes on.

mod screen;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::live::Live;
use super::{Output, WhichHost, print};
use crate::admission::{Load, Snapshot};
use crate::server::operator;
use view::{Column, View};

/// `tidegate top`
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    #[command(flatten)]
    host: WhichHost,
    /// How often to look.
    #[arg(long, default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// What comes first.
    #[arg(long, value_enum, default_value_t = Column::Fuel)]
    sort: Column,
    /// Print one snapshot after the other until interrupted; as JSON, each is one line.
    #[arg(long)]
    watch: bool,
    /// Print one snapshot, for programs or people. Without it, a terminal shows the host live.
    #[arg(long, value_enum)]
    output: Option<Output>,
}

/// `tidegate top`
pub fn run(args: &TopArgs) -> Result<ExitCode> {
    let mut live = args.host.demand()?;
    if args.output.is_none() && !args.watch && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        let view = View::new(snapshot(&mut live)?, args.sort);
        screen::show(live, &args.host, args.interval, view)?;
        return Ok(ExitCode::SUCCESS);
    }
    while print::part(&format!("{}\n", look(&mut live, args)?))? && args.watch {
        std::thread::sleep(args.interval);
    }
    Ok(ExitCode::SUCCESS)
}

/// One look, as text.
fn look(live: &mut Live, args: &TopArgs) -> Result<String> {
    match args.output {
        // One snapshot a line, for programs that read line by line.
        Some(Output::Json) if args.watch => Ok(ask(live)?.to_string()),
        Some(Output::Json) => Ok(format!("{:#}", ask(live)?)),
        _ => Ok(text(&View::new(snapshot(live)?, args.sort))),
    }
}

/// The gate of the host at this moment, as it tells it.
fn ask(live: &mut Live) -> Result<Value> {
    live.ask(operator::ADMISSION, &Value::Null)
}

/// The same, understood.
fn snapshot(live: &mut Live) -> Result<Snapshot> {
    serde_json::from_value(ask(live)?).context("the host's answer makes no sense; is it of another version?")
}

/// A snapshot for people, where there is no terminal.
fn text(view: &View) -> String {
    let mut text = format!("{}\n", view.totals().join("\n"));
    for (title, loads) in [("tool", &view.snapshot.tools), ("principal", &view.snapshot.principals)] {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(std::iter::once(title).chain(Column::ALL.iter().skip(1).map(|column| column.title())));
        for load in view.sorted(loads) {
            table.add_row(row(load));
        }
        text += &format!("\n{table}\n");
    }
    text.trim_end().to_owned()
}

/// A load in all columns.
fn row(load: &Load) -> [String; Column::ALL.len()] {
    Column::ALL.map(|column| column.show(load))
}

fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&interval) => Ok(interval),
        Ok(_) => Err("write a time from 100ms to 1h".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

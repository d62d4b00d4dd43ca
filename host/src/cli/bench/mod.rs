//! `tidegate bench`: a load generator for any MCP endpoint, which counts what was lost and what was done twice.

mod answer;
mod args;
mod caller;
mod client;
mod dialect;
mod effects;
mod endpoint;
mod life;
mod plan;
mod report;
mod run;
mod schedule;
mod survey;
mod tally;
mod template;
mod tokens;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;

pub use args::BenchArgs;
use client::{Client, OPENING};
use effects::{Compared, Counter};
use endpoint::Endpoint;
use plan::Plan;
use report::Report;
use run::Run;
use schedule::Schedule;
use tokens::{Mint, Principal};

use super::{Output, print};
use crate::app;
use crate::model::CallId;
use crate::server::dev_token::DEV_TOKEN_PATH;

/// What it ends with if it could not begin.
const NOT_BEGUN: u8 = 2;

/// Files that are open beside the connections of callers, at most.
const OTHER_FILES: u64 = 64;

/// `tidegate bench`
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or((cores / 2).max(1), usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.context("can't start the async runtime")?;
    let files = app::files::raise_limit();
    if files.is_some_and(|files| files < u64::from(args.concurrency) + OTHER_FILES) {
        eprintln!(
            "only {} files may be open here, so not every caller can have a connection; raise the limit (`ulimit -n`)",
            files.unwrap_or_default()
        );
    }
    let report = runtime.block_on(async {
        let (run, mut counter) = prepare(args).await.map_err(NotBegun)?;
        let before = match &mut counter {
            Some(counter) => counter.count().await.map_err(NotBegun)?,
            None => 0,
        };
        let begin = || Schedule::new(args.duration, args.rate, args.drain);
        let spans = run.drive(args.concurrency as usize, begin).await?;
        let counted = match &mut counter {
            Some(counter) => Some(counter.count().await?.saturating_sub(before)),
            None => None,
        };
        anyhow::Ok(Report::new(args, &run, spans, |calls| counted.map(|counted| Compared::new(counted, calls))))
    });
    // Connections and tasks that are left have nothing to say.
    runtime.shutdown_background();
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let is_begun = !error.is::<NotBegun>();
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(if is_begun { 1 } else { NOT_BEGUN }));
        }
    };
    match args.output {
        Output::Json => print::json(&report)?,
        Output::Table => print::text(&report.text())?,
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why nothing was called.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct NotBegun(anyhow::Error);

async fn prepare(args: &BenchArgs) -> Result<(Arc<Run>, Option<Counter>)> {
    let wanted = plan::wanted(args)?;
    let endpoint = Endpoint::of(&args.url)?;
    let counter = args.effects.as_deref().map(Counter::at).transpose()?;
    let opening = Arc::new(Semaphore::new(OPENING));
    let mint = args.principals.map(|_| Arc::new(Mint::beside(&endpoint, DEV_TOKEN_PATH, opening.clone())));
    let principals = match (&mint, args.principals) {
        (Some(mint), Some(count)) => mint.principals(count.min(args.concurrency) as usize, &args.subject_prefix).await?,
        _ => vec![Arc::new(Principal::bearing(args.token.as_deref())?)],
    };
    let mut client = Client::new(endpoint.clone(), opening.clone());
    let token = principals[0].authorization().await;
    let survey = survey::survey(&mut client, token.as_ref(), args.tasks, args.legacy, args.timeout).await;
    let survey = survey.with_context(|| format!("can't load `{}`", args.url))?;
    let plan = Plan::new(args, endpoint, survey.dialect, wanted, &survey.tools)?;
    let name = CallId::random().to_string().replace("call_", "bench-");
    Ok((Arc::new(Run::new(plan, name, principals, mint, opening)), counter))
}

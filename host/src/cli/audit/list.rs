//! `tidegate audit list` and `tail`: records in their order.

use std::time::Duration;

use anyhow::{Result, bail};

use super::TailArgs;
use super::source::{Source, with_source};
use super::table::{Frame, Listing};
use crate::cli::AuditArgs;

/// How often a live host is asked for further records.
const POLL: Duration = Duration::from_millis(200);

/// `tidegate audit list`
pub fn list(args: &AuditArgs) -> Result<()> {
    with_source(args, |source| {
        let mut listing = Listing::new(args.output, Frame::Array);
        // What is written meanwhile would make a list of a busy host one without end.
        let last = source.extent()?.last;
        print(source, &mut listing, 1, last)?;
        listing.end()
    })
}

/// `tidegate audit tail`
pub fn tail(args: &TailArgs) -> Result<()> {
    with_source(&args.log, |source| {
        if args.follow && !matches!(source, Source::Live(_)) {
            bail!("no host is live on this data folder, so nothing is written that could be followed; leave out `--follow`");
        }
        let mut listing = Listing::new(args.log.output, Frame::Lines);
        let last = source.extent()?.last;
        let mut next = print(source, &mut listing, last.saturating_sub(args.lines) + 1, last)?;
        while let Some(from) = next.filter(|_| args.follow) {
            let records = source.records(from)?;
            next = listing.page(&records)?.then(|| records.last().map_or(from, |read| read.line.seq + 1));
            if records.is_empty() {
                std::thread::sleep(POLL);
            }
        }
        listing.end()
    })
}

/// Prints the records from `from` to `last`; answers where to go on, unless nobody reads any more.
fn print(source: &mut Source<'_>, listing: &mut Listing, from: u64, last: u64) -> Result<Option<u64>> {
    let mut next = from;
    while next <= last {
        let mut records = source.records(next)?;
        records.retain(|read| read.line.seq <= last);
        let Some(end) = records.last() else { break };
        next = end.line.seq + 1;
        if !listing.page(&records)? {
            return Ok(None);
        }
    }
    Ok(Some(next))
}

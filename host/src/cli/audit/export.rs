//! `tidegate audit export`: the log as lines of JSON, for whoever keeps it or looks into it elsewhere.

use std::collections::HashMap;
use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use super::source::{Read, Source, read, with_source};
use super::{ExportArgs, progress, resume};
use crate::ledger::{Kind, PublicKey, Record, cloudevents, ocsf};
use crate::server::operator::audit::{self, Place, Signed};

/// Intents that are remembered until their outcomes come; of further ones, each is looked up.
const INTENTS: usize = 4096;

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The records themselves, which `audit verify` can check.
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework, one a line.
    Ocsf,
    /// CloudEvents, one a line.
    Cloudevents,
}

/// `tidegate audit export`
pub fn run(args: &ExportArgs) -> Result<()> {
    with_source(&args.log, |source| {
        let key: PublicKey = source.extent()?.key.parse().map_err(anyhow::Error::msg)?;
        let unfinished = args.out.as_deref().map(|path| resume::open(path, args.format, &key)).transpose()?;
        if let (Some(from), Some(begun)) = (args.from, unfinished.as_ref().and_then(|out| out.begun))
            && from != begun
        {
            bail!(
                "the file is an export from record {begun} on, not from record {from}; name another file, or leave out `--from`"
            );
        }
        // Where to end comes first: what is written meanwhile is the next export's.
        let last = match args.to {
            Some(to) => to.min(source.extent()?.last),
            None => source.ask::<Signed>(audit::CHECKPOINT, &())?.seq,
        };
        let mut export = Export { format: args.format, key, intents: HashMap::new(), is_gone: false, signed: None };
        let (first, written) = match unfinished {
            Some(out) => {
                let first = export.place(source, &out, args.from)?;
                let mut file = BufWriter::new(out.file);
                let is_new = out.ends.is_none() && out.begun.is_none();
                let done = export.write(source, &mut file, args, is_new, first, last);
                // Whatever became of it, what is whole stays, to be gone on with.
                let file = file.into_inner().map_err(io::IntoInnerError::into_error).context(CANT_WRITE);
                let written = done?;
                file?.sync_all().context(CANT_WRITE)?;
                (first, Some(written))
            }
            None => {
                let first = export.first(source, args.from)?;
                let mut stdout = BufWriter::new(io::stdout().lock());
                let done = export.write(source, &mut stdout, args, true, first, last).and_then(|end| {
                    stdout.flush().context(CANT_WRITE)?;
                    Ok(end)
                });
                // A reader that has seen enough (`| head`) is no error.
                let has_left = |error: &anyhow::Error| {
                    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
                };
                match done {
                    Err(error) if has_left(&error) => (first, None),
                    done => (first, Some(done?)),
                }
            }
        };
        if let Some(end) = written {
            eprintln!("{}", export.said(args, first, end));
        }
        Ok(())
    })
}

const CANT_WRITE: &str = "the export can't be written";

/// An export under way.
struct Export {
    format: Format,
    key: PublicKey,
    /// Intents whose outcome has not come yet.
    intents: HashMap<u64, Record>,
    /// A body was not there.
    is_gone: bool,
    /// The last checkpoint that was written.
    signed: Option<u64>,
}

impl Export {
    /// Where to go on in a file: behind what it holds.
    fn place(&self, source: &mut Source<'_>, out: &resume::Out, from: Option<u64>) -> Result<u64> {
        let Some(end) = &out.ends else { return out.begun.map_or_else(|| self.first(source, from), Ok) };
        let records = source.records(end.seq)?;
        let same = records.first().is_some_and(|found| {
            let hash = &found.line.hash;
            found.line.seq == end.seq && end.hash.as_ref().is_none_or(|end| end == hash)
        });
        if !same {
            bail!("the file ends with record {}, but the log has another one there, or none; name another file", end.seq);
        }
        Ok(end.seq + 1)
    }

    /// The first record of a new export.
    fn first(&self, source: &mut Source<'_>, from: Option<u64>) -> Result<u64> {
        let from = from.unwrap_or(1);
        let found = source.lines(from)?.first().map(|line| read(line)).transpose()?;
        found.map(|read| read.line.seq).with_context(|| format!("the log ends before record {from}"))
    }

    /// Writes the records from `first` to `last`, and what they need to be checked; answers the last one written.
    fn write(
        &mut self,
        source: &mut Source<'_>,
        out: &mut impl Write,
        args: &ExportArgs,
        is_new: bool,
        first: u64,
        mut last: u64,
    ) -> Result<u64> {
        if is_new && self.format == Format::Jsonl {
            let header: String = source.ask(audit::HEADER, &Place { from: first })?;
            writeln!(out, "{header}").context(CANT_WRITE)?;
        }
        let bar = progress::records((last + 1).saturating_sub(first));
        let mut next = first;
        loop {
            while next <= last {
                let lines = source.lines(next)?;
                if lines.is_empty() {
                    bail!("record {next} is not in the log any more");
                }
                for line in lines {
                    let read = read(&line)?;
                    let seq = read.line.seq;
                    if seq > last {
                        break;
                    }
                    if seq != next {
                        bail!("record {next} is not in the log any more");
                    }
                    let line = self.told(source, line, &read)?;
                    writeln!(out, "{line}").context(CANT_WRITE)?;
                    self.is_gone |= read.line.gone().is_some();
                    if read.record.head.kind == Kind::Checkpoint {
                        self.signed = Some(seq);
                    }
                    next = seq + 1;
                }
                bar.set_position(next - first);
            }
            // What accounts for a body that is gone may have been written since this began.
            if args.to.is_some() || !std::mem::take(&mut self.is_gone) {
                break;
            }
            last = source.ask::<Signed>(audit::CHECKPOINT, &())?.seq;
        }
        bar.finish_and_clear();
        Ok(next - 1)
    }

    /// A record in the format of this export.
    fn told(&mut self, source: &mut Source<'_>, line: String, read: &Read) -> Result<String> {
        let event = match self.format {
            Format::Jsonl => return Ok(line),
            Format::Ocsf => ocsf::event,
            Format::Cloudevents => cloudevents::event,
        };
        let intent = self.intent_of(source, &read.record)?;
        if read.record.head.kind == Kind::Intent && self.intents.len() < INTENTS {
            self.intents.insert(read.line.seq, read.record.clone());
        }
        Ok(event(self.key.name(), &read.record, intent.as_ref()).to_string())
    }

    /// The intent that an outcome ends.
    fn intent_of(&mut self, source: &mut Source<'_>, record: &Record) -> Result<Option<Record>> {
        let body = record.body.as_deref().filter(|_| record.head.kind == Kind::Outcome);
        let told: Option<Value> = body.and_then(|body| serde_json::from_slice(body).ok());
        let Some(seq) = told.and_then(|told| told["intent"].as_u64()) else { return Ok(None) };
        if let Some(intent) = self.intents.remove(&seq) {
            return Ok(Some(intent));
        }
        let found = source.lines(seq)?.first().map(|line| read(line)).transpose()?;
        Ok(found.filter(|found| found.line.seq == seq).map(|found| found.record))
    }

    /// What has become of it, for people.
    fn said(&self, args: &ExportArgs, first: u64, end: u64) -> String {
        if end < first {
            return format!("nothing new: all is exported up to record {end}");
        }
        let mut said = format!("exported records {first} to {end}");
        if args.format == Format::Jsonl {
            said += &match self.signed {
                // Nothing signs itself.
                Some(signed) if signed == end => format!("; check them with the key {}", self.key),
                Some(signed) => format!("; those behind record {signed}, {} of them, are not signed", end - signed),
                None => "; no checkpoint is among them, so they are not signed".to_owned(),
            };
        }
        said
    }
}

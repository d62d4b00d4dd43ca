//! `tidegate audit prove`, `key` and `checkpoint`: what others need to check the log without trusting whoever keeps it.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::ProveArgs;
use super::source::with_source;
use crate::cli::{AuditArgs, Output, print};
use crate::ledger::PublicKey;
use crate::server::operator::audit::{self, Prove, Signed};

/// `tidegate audit prove`: a proof is JSON, however listings are printed.
pub fn prove(args: &ProveArgs) -> Result<()> {
    let reveal = match (&args.pointer, &args.value) {
        (Some(pointer), Some(value)) => {
            // As in a manifest.
            let pointer = if pointer.starts_with('/') { pointer.clone() } else { format!("/{pointer}") };
            Some((pointer, parse(value)?))
        }
        _ => None,
    };
    let question = Prove { seq: args.seq, with_body: !args.no_body, reveal };
    let proof: String = with_source(&args.log, |source| source.ask(audit::PROVE, &question))?;
    print::text(&proof)
}

fn parse(text: &str) -> Result<Value> {
    let mut said = String::new();
    if text == "-" {
        std::io::stdin().lock().read_to_string(&mut said).context("can't read the value from stdin")?;
    } else {
        said.push_str(text);
    }
    serde_json::from_str(&said).context("the value is no JSON; a text stands in double quotes, such as '\"4111 1111\"'")
}

/// `tidegate audit key`
pub fn key(args: &AuditArgs) -> Result<()> {
    let key = with_source(args, |source| source.extent())?.key;
    match args.output {
        Output::Json => {
            let name = key.parse::<PublicKey>().map_err(anyhow::Error::msg)?.name().to_owned();
            print::json(&json!({ "key": key, "log": name }))
        }
        Output::Table => print::text(&key),
    }
}

/// `tidegate audit checkpoint`
pub fn checkpoint(args: &AuditArgs) -> Result<()> {
    let signed: Signed = with_source(args, |source| source.ask(audit::CHECKPOINT, &()))?;
    match args.output {
        Output::Json => print::json(&signed),
        Output::Table => print::text(&signed.note.trim_end()),
    }
}

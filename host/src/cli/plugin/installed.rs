//! `tidegate plugin list` without a folder: what is installed, and what of it is in force.

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::cli::audit::{printable, time};
use crate::cli::{Output, WhichHost, print, serve};
use crate::pipeline::installer::Listed;
use crate::registry::installed::Shelf;
use crate::server::operator::installed::LIST;

/// How many digits of a digest are shown; enough to name it by.
const DIGITS: usize = 12;

/// Lists what is installed at a live host, or in the data folder of a stopped one.
///
/// # Errors
/// It can't be read.
pub fn list(host: &WhichHost, output: Output) -> Result<()> {
    // What is installed on this machine is one file, replaced whole: it can be read whether a host lives or not.
    let listed: Vec<Listed> = match host.elsewhere.live()? {
        Some(mut live) => serde_json::from_value(live.ask(LIST, &Value::Null)?).context("the host's answer makes no sense")?,
        None => Listed::all(Shelf::of(&serve::data_dir(&host.configure()?)).read()?),
    };
    if output == Output::Json {
        return print::json(&listed);
    }
    if listed.is_empty() {
        eprintln!("no plugin is installed; `tidegate plugin list DIR` lists those in a folder");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "plugin",
        "version",
        "sha256",
        "in force since",
        "signed by",
        "installed by",
        "from",
    ]);
    for Listed { name, active, version } in &listed {
        table.add_row([
            name.clone(),
            printable(&version.version),
            version.digest.to_string()[..DIGITS].to_owned(),
            if *active { time::show(version.active_ms.as_millis()) } else { "kept".to_owned() },
            version.signed_by.as_deref().map_or_else(String::new, printable),
            printable(&version.by),
            printable(&version.source),
        ]);
    }
    print::text(&table)
}

//! `tidegate audit backup` and `tidegate audit restore`: everything a host keeps, into a folder and back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use super::source::with_ledger;
use crate::cli::{AuditArgs, Output, print, serve};
use crate::ledger::{self, Backup};
use crate::model::Bytes;
use crate::server::operator;

/// How long a host may take for a backup: as long as copying all it has.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where to put a backup.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The folder for the backup, new or empty, outside the data folder.
    dir: PathBuf,
    #[command(flatten)]
    log: AuditArgs,
}

/// Which backup to restore.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The folder with the backup.
    dir: PathBuf,
    #[command(flatten)]
    log: AuditArgs,
}

/// `tidegate audit backup`
pub fn backup(args: &BackupArgs) -> Result<()> {
    // Seen from elsewhere, only a whole path says where it is.
    if args.log.host.elsewhere.admin_url.is_some() && !args.dir.is_absolute() {
        bail!("the host writes the backup itself, on its own machine; name the folder there by its whole path");
    }
    let dir = std::path::absolute(&args.dir).with_context(|| format!("`{}` is no path", args.dir.display()))?;
    let taken: Backup = match args.log.host.live()? {
        Some(mut live) => {
            live.wait_at_most(PATIENCE)?;
            let answer = live.ask(operator::BACKUP, &json!({ "dir": dir }))?;
            serde_json::from_value(answer).context("the host's answer makes no sense; is it of another version?")?
        }
        None => {
            let by = operator::user(rustix::process::geteuid().as_raw());
            with_ledger(&args.log, |ledger| Ok(ledger.backup(&dir, &by)?))?
        }
    };
    report(&taken, args.log.output, "backed up into", &dir)
}

/// `tidegate audit restore`
pub fn restore(args: &RestoreArgs) -> Result<()> {
    if args.log.host.elsewhere.admin_url.is_some() {
        bail!("a backup is restored where it lies; name the new data folder with `--data DIR`");
    }
    let config = args.log.host.configure()?;
    let data = serve::data_dir(&config);
    let restored = ledger::restore(&args.dir, &data, &config.store)?;
    report(&restored, args.log.output, "restored into", &data)
}

fn report(backup: &Backup, output: Output, what: &str, dir: &Path) -> Result<()> {
    match output {
        Output::Json => print::json(backup),
        Output::Table => print::text(&format_args!(
            "{} records, {} files, {}, {what} `{}` in {:?}; tip {}",
            backup.seq,
            backup.files,
            Bytes(backup.bytes),
            dir.display(),
            Duration::from_millis(backup.took_ms),
            backup.tip,
        )),
    }
}

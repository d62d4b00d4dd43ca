//! How two versions of a plugin differ, as people read it: what widens first.

use std::fmt::Write as _;

use crate::cli::audit::printable;
use crate::model::{Change, Weight};

/// The changes, one below the other, under what they amount to.
pub fn table(changes: &[Change]) -> String {
    let mut text = String::new();
    let headings = [
        (Weight::Widens, "WIDENS: it could do what it could not, or is held to less"),
        (Weight::Rewords, "REWORDS: models and people would be told something else"),
        (Weight::Narrows, "narrows"),
        (Weight::Alters, "alters"),
    ];
    for (weight, heading) in headings {
        let of_weight: Vec<&Change> = changes.iter().filter(|change| change.weight == weight).collect();
        if of_weight.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{heading}");
        for change in of_weight {
            write(&mut text, change);
        }
    }
    text.trim_end().to_owned()
}

/// One change: what it is about, then what is gone and what has come.
fn write(text: &mut String, change: &Change) {
    let about = match &change.tool {
        Some(tool) => format!("{tool}: {}", change.aspect.as_str()),
        None => change.aspect.as_str().to_owned(),
    };
    let at = change.at.as_deref().filter(|at| !at.is_empty()).map_or_else(String::new, |at| format!(" at {}", printable(at)));
    let _ = writeln!(text, "  {}{at}", printable(&about));
    for (sign, said) in [('-', &change.before), ('+', &change.after)] {
        if let Some(said) = said {
            // What is not seen on a terminal is spelled out: that is where instructions to models are hidden.
            let _ = writeln!(text, "    {sign} {}", printable(said));
        }
    }
}

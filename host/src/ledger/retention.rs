//! How long what is written down can be read: by the class of risk that a tool's manifest declares.
//!
//! The defaults weigh two duties against each other: to store personal data no longer than its purpose needs (GDPR Art. 5(1)(e)),
//! and to keep the logs of high-risk AI systems for at least six months (EU AI Act, Regulation 2024/1689, Art. 19(1) and 26(6)).

use serde::Deserialize;

use super::chain::Kind;
use crate::model::Span;

/// Six months at their longest: July to December.
const SIX_MONTHS: u64 = 184;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// `[ledger.retention]`: how long bodies of records are kept. Heads stay until nothing before a signed checkpoint can be read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Calls of tools with `risk = "low"`. Default 30 days: long enough to look into an incident, no longer.
    pub low: Span,
    /// Calls of tools with `risk = "medium"`, which is what a manifest means that says nothing. Default 90 days.
    pub medium: Span,
    /// Calls of tools with `risk = "high"`. Default 400 days, a year and an audit; less than 184 days is refused.
    pub high: Span,
    /// Calls that did not run. Default 90 days.
    pub rejections: Span,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let days = |days: u64| Span::seconds(days * 24 * 60 * 60);
        Self { low: days(30), medium: days(90), high: days(400), rejections: days(90) }
    }
}

impl RetentionConfig {
    /// That it is nothing the law forbids, or that can't be meant.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        if self.of(Class::High) < SIX_MONTHS * DAY_MS {
            return Err(format!(
                "`[ledger.retention] high` is less than six months ({SIX_MONTHS} days), the least for the logs of high-risk systems \
                 (EU AI Act, Art. 26(6)); raise it, or give the tools another `risk`"
            ));
        }
        let short = [Class::Low, Class::Medium, Class::Rejection].into_iter().find(|class| self.of(*class) < 60_000);
        short.map_or(Ok(()), |class| {
            Err(format!("`[ledger.retention] {}` is less than a minute: nothing could ever be read", class.as_str()))
        })
    }

    /// How long bodies of a class are kept, in milliseconds.
    pub(super) fn of(&self, class: Class) -> u64 {
        let span = match class {
            Class::Low => self.low,
            Class::Medium => self.medium,
            Class::High => self.high,
            Class::Rejection => self.rejections,
        };
        u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX)
    }

    /// The class that is kept longest.
    pub(super) fn longest(&self) -> Class {
        Class::ALL.into_iter().max_by_key(|class| self.of(*class)).unwrap_or(Class::High)
    }
}

/// What is kept for the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Low,
    Medium,
    High,
    Rejection,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Rejection];

    /// The class of a record of a call.
    pub fn of(kind: Kind, risk: Option<&str>) -> Self {
        match (kind, risk) {
            (Kind::Rejection, _) => Self::Rejection,
            (_, Some("low")) => Self::Low,
            (_, Some("medium")) => Self::Medium,
            // What is not known is kept longest.
            _ => Self::High,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Rejection => "rejections",
        }
    }
}

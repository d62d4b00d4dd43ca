//! Sizes and durations as people write them in manifests and configs: the unit stands in the value.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A size in bytes, written with its unit: `"32MiB"`, `"64KiB"`, `"512B"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `count` mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` kibibytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// The size as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", bytesize::ByteSize(self.0).display().iec())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(serde::de::Error::custom(format!("`{text}` has no unit; write for example \"{text}B\" or \"32MiB\"")));
        }
        text.parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is not a size; write for example \"32MiB\"")))
    }
}

/// A duration, written with its unit: `"10s"`, `"250ms"`, `"24h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// `count` seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// `count` milliseconds.
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// The same as a standard duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is not a duration; write for example \"10s\" or \"250ms\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Limits {
        memory: Bytes,
        deadline: Span,
    }

    #[test]
    fn sizes_and_durations_carry_their_unit() {
        let limits: Limits = toml::from_str("memory = \"32MiB\"\ndeadline = \"250ms\"").expect("both are well formed");
        assert_eq!((limits.memory, limits.deadline), (Bytes::mib(32), Span::millis(250)));
    }

    #[test]
    fn a_size_without_a_unit_is_refused_with_an_example() {
        let error = toml::from_str::<Limits>("memory = \"32\"\ndeadline = \"1s\"").expect_err("no unit");
        assert!(error.message().contains("32MiB"), "{error}");
    }
}

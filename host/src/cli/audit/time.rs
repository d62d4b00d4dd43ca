//! Times on the command line, and in tables.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time, or how long ago it was, in milliseconds since 1970.
///
/// # Errors
/// It is neither.
pub fn parse(text: &str) -> Result<u64, String> {
    let problem = || format!("`{text}` is no time; write for example `2026-08-01T12:00:00Z`, or `2h` for two hours ago");
    let at = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago).ok_or_else(problem)?,
        Err(_) => instant(text).ok_or_else(problem)?,
    };
    let since_epoch = at.duration_since(UNIX_EPOCH).map_err(|_| problem())?;
    u64::try_from(since_epoch.as_millis()).map_err(|_| problem())
}

/// RFC 3339, its offset included.
fn instant(text: &str) -> Option<SystemTime> {
    let utc = |text: &str| humantime::parse_rfc3339_weak(text).ok();
    let Some((local, offset)) = text.split_at_checked(text.len().saturating_sub("+00:00".len())) else { return utc(text) };
    let (ahead, (hours, minutes)) = match (offset.get(..1), offset.get(1..).and_then(|offset| offset.split_once(':'))) {
        (Some("+"), Some(parts)) => (true, parts),
        (Some("-"), Some(parts)) => (false, parts),
        _ => return utc(text),
    };
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let offset = Duration::from_secs((hours * 60 + minutes) * 60);
    if ahead { utc(local)?.checked_sub(offset) } else { utc(local)?.checked_add(offset) }
}

/// A time as people read it, to the second.
pub fn show(at_ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}

/// The same to the millisecond.
pub fn show_exactly(at_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_as_how_long_ago() {
        let noon = parse("2026-08-01T12:00:00Z").expect("a time");
        assert_eq!(show_exactly(noon), "2026-08-01T12:00:00.000Z");
        for same in ["2026-08-01T14:00:00+02:00", "2026-08-01T06:30:00-05:30", "2026-08-01 12:00:00"] {
            assert_eq!(parse(same), Ok(noon), "{same}");
        }
        let now = parse("0s").expect("now");
        let earlier = parse("2h").expect("two hours ago");
        assert!((7_200_000..7_210_000).contains(&(now - earlier)), "{now} {earlier}");
        for none in ["yesterday", "", "5", "2026-13-01T00:00:00Z", "2026-08-01T12:00:00+2:00"] {
            assert!(parse(none).is_err(), "{none}");
        }
    }
}

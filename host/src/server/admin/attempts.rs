//! Failed attempts at the admin token: how many each address has left.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many attempts may fail in one [`WINDOW`].
const MOST: u32 = 10;

/// How long failures are remembered, from the first one on.
const WINDOW: Duration = Duration::from_secs(60);

/// The most addresses that are told apart; any further ones share what is left to one.
const ADDRESSES: usize = 4096;

/// The failures of late.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

/// The failures of one address.
struct Failures {
    since: Instant,
    count: u32,
}

impl Attempts {
    /// Somebody at `peer` failed.
    ///
    /// # Errors
    /// That was one time too many: how long until it is not.
    pub fn failed(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, failures| failures.since + WINDOW > now);
        let address = Self::known(&failures, peer);
        let failures = failures.entry(address).or_insert(Failures { since: now, count: 0 });
        if failures.count >= MOST {
            return Err((failures.since + WINDOW).saturating_duration_since(now));
        }
        failures.count += 1;
        Ok(())
    }

    /// As which address somebody counts: of IPv6 everybody has a whole network.
    fn known(failures: &HashMap<IpAddr, Failures>, peer: IpAddr) -> IpAddr {
        let address = match peer.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        };
        match failures.len() < ADDRESSES || failures.contains_key(&address) {
            true => address,
            false => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn whoever_fails_too_often_is_told_to_wait_and_nobody_else_is() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(attempts.failed(address(1), now), Ok(()));
        }
        assert_eq!(attempts.failed(address(1), now + WINDOW / 2), Err(WINDOW / 2));
        assert_eq!(attempts.failed(address(2), now + WINDOW / 2), Ok(()));
        for _ in 0..MOST {
            assert_eq!(attempts.failed(address(1), now + WINDOW), Ok(()), "what was is forgotten");
        }
        assert_eq!(attempts.failed(address(1), now + WINDOW), Err(WINDOW));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_what_it_maps() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        for n in 0..MOST {
            assert_eq!(attempts.failed(parse(&format!("2001:db8::{n}")), now), Ok(()));
            assert_eq!(attempts.failed(parse("::ffff:10.0.0.1"), now), Ok(()));
        }
        assert!(attempts.failed(parse("2001:db8::ffff"), now).is_err() && attempts.failed(parse("2001:db8:0:1::1"), now).is_ok());
        assert!(attempts.failed(address(1), now).is_err());
    }

    #[test]
    fn more_addresses_than_are_told_apart_take_no_more_memory() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let many = u32::try_from(ADDRESSES).expect("few enough") + MOST;
        for n in 0..many {
            assert_eq!(attempts.failed(address(n), now), Ok(()));
        }
        assert_eq!(attempts.0.lock().expect("no panic").len(), ADDRESSES + 1);
        assert!(attempts.failed(address(many), now).is_err(), "the newcomers have used up what they share");
        assert!(attempts.failed(address(0), now).is_ok(), "one failure is not too many");
    }
}

//! When those who were turned away may come back: each at a time at which there will be room for one more.

use std::time::Duration;

/// The farthest appointment, in seconds.
const HORIZON: usize = 300;
/// Parts of a second that are booked apart.
const PHASES: usize = 10;
/// The part of the queue that may be booked for one part of one second.
const BURST: f64 = 0.25;

/// Appointments, by the second.
///
/// Callers are told whole seconds, so each comes back in the same part of a second in which it was turned away; a crowd that came
/// within a moment comes back within a moment. So it is not enough that no second is overbooked: no part of one may be either.
#[derive(Debug)]
pub(super) struct Calendar {
    seconds: Vec<Second>,
}

#[derive(Clone, Debug, Default)]
struct Second {
    /// Which one, since the clock began; the place in the calendar is used again once it is over.
    number: u64,
    booked: u32,
    phases: [u32; PHASES],
}

/// How many calls there will be room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Calls that leave the queue in a second.
    pub per_second: f64,
    /// Calls that the queue takes.
    pub queue: usize,
    /// When it makes sense to come back at the earliest.
    pub earliest: Duration,
}

impl Calendar {
    /// Nobody has an appointment.
    pub fn new() -> Self {
        Self { seconds: vec![Second::default(); HORIZON + 1] }
    }

    /// Makes an appointment: in so many whole seconds, at least one.
    pub fn book(&mut self, room: Room, now: u64) -> Duration {
        let (second, phase) = (now / 1_000_000_000, (now % 1_000_000_000) as usize * PHASES / 1_000_000_000);
        let in_second = room.per_second.max(1.0);
        let in_phase = (in_second / PHASES as f64).max(room.queue as f64 * BURST).max(1.0);
        let earliest = room.earliest.as_secs_f64().ceil().clamp(1.0, HORIZON as f64) as u64;
        let wait = (earliest..HORIZON as u64)
            .find(|wait| {
                let booked = self.second(second + wait);
                f64::from(booked.booked) < in_second && f64::from(booked.phases[phase]) < in_phase
            })
            .unwrap_or(HORIZON as u64);
        let booked = self.second(second + wait);
        booked.booked += 1;
        booked.phases[phase] += 1;
        Duration::from_secs(wait)
    }

    fn second(&mut self, number: u64) -> &mut Second {
        let place = (number % self.seconds.len() as u64) as usize;
        let second = &mut self.seconds[place];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { per_second: 100.0, queue: 200, earliest: Duration::from_secs(3) };

    #[test]
    fn no_second_is_overbooked_and_none_is_left_empty_before_the_last() {
        let mut calendar = Calendar::new();
        let mut visits = [0_u32; 20];
        for caller in 0..1_000_u64 {
            let now = caller * 1_000_000;
            let wait = calendar.book(ROOM, now).as_secs();
            visits[(now / 1_000_000_000 + wait) as usize] += 1;
        }
        assert_eq!(visits[..13], [[0; 3].as_slice(), &[100; 10]].concat());
    }

    #[test]
    fn a_crowd_of_one_moment_does_not_come_back_in_one_moment() {
        let mut calendar = Calendar::new();
        let crowd = Room { per_second: 1_000.0, ..ROOM };
        let waits: Vec<_> = (0..1_000).map(|_| calendar.book(crowd, 0).as_secs()).collect();
        for second in 3..13 {
            assert_eq!(waits.iter().filter(|wait| **wait == second).count(), 100, "a tenth of a second's worth");
        }
    }

    #[test]
    fn seconds_that_are_over_are_booked_anew_and_the_farthest_takes_the_rest() {
        let mut calendar = Calendar::new();
        let narrow = Room { per_second: 1.0, queue: 1, earliest: Duration::ZERO };
        for _ in 0..2 * HORIZON {
            calendar.book(narrow, 0);
        }
        assert_eq!(calendar.book(narrow, 0), Duration::from_secs(HORIZON as u64));
        assert_eq!(calendar.book(narrow, 1_000 * 1_000_000_000), Duration::from_secs(1));
    }
}

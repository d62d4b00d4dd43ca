//! What is known of the changes that a call asked for, from the attempts at its requests.

use std::collections::BTreeMap;

use crate::model::{Sent, SentError};

/// What is known of one request that asked for a change. Ordered by how little that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// It did nothing: it never left, or was refused with 429 before anything was done (RFC 6585 §4).
    Nothing,
    /// The backend says that it did it.
    Confirmed,
    /// The backend says that it did not, or not wholly.
    Denied,
    /// The backend says that it did it, but its answer broke off, and with the key it can be asked for again.
    CutOff,
    /// Nobody says anything: no status came, or only one that a gateway gives in the backend's place.
    Unknown,
}

/// One request that asked for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The backend it went to.
    pub backend: &'a str,
    /// What is known of it.
    pub word: Word,
}

/// The requests of a call that asked for a change, in order.
pub fn changes(sent: &[Sent]) -> Vec<Change<'_>> {
    let mut requests: BTreeMap<u32, Vec<&Sent>> = BTreeMap::new();
    for attempt in sent.iter().filter(|sent| sent.is_unsafe()) {
        requests.entry(attempt.request).or_default().push(attempt);
    }
    requests.values().map(|attempts| Change { backend: &attempts[0].backend, word: word(attempts) }).collect()
}

/// What the attempts at one request tell. More than one left only under a key that the backend honours.
fn word(attempts: &[&Sent]) -> Word {
    let acted: Vec<&&Sent> = attempts.iter().filter(|sent| sent.left && sent.status != Some(429)).collect();
    let Some((last, before)) = acted.split_last() else { return Word::Nothing };
    let keyed = last.keyed;
    let is_cut_off = matches!(last.error, Some(SentError::BrokenOff | SentError::TimedOut));
    match last.status {
        Some(200..300) if keyed && is_cut_off => Word::CutOff,
        Some(200..300) => Word::Confirmed,
        None | Some(502 | 504) => Word::Unknown,
        // With the key it can be asked again whether that was all.
        Some(503) if keyed => Word::Unknown,
        // A later refusal may be about the attempt alone: the first one still under way.
        Some(_) if before.iter().any(|sent| matches!(sent.status, None | Some(502 | 504))) => Word::Unknown,
        Some(_) => Word::Denied,
    }
}

/// Whether a call that ended well did so in spite of a backend: the last attempt to ask one of them for something failed.
pub fn has_failed_backend(sent: &[Sent]) -> bool {
    // What is asked for again counts as made up for, whether by another attempt or by another request.
    let last: BTreeMap<_, &Sent> = sent.iter().map(|sent| ((&sent.backend, &sent.method, &sent.path), sent)).collect();
    last.values().any(|sent| sent.is_failed())
}

/// Whether a change was asked for that its backend does not say it made.
pub fn has_unconfirmed_change(sent: &[Sent]) -> bool {
    changes(sent).iter().any(|change| !matches!(change.word, Word::Confirmed | Word::CutOff))
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;

    /// An attempt that left, with this status or none.
    pub fn sent(method: &str, status: Option<u16>) -> Sent {
        Sent {
            backend: "billing".into(),
            method: method.into(),
            path: "/".into(),
            request: 1,
            attempt: 1,
            keyed: true,
            left: true,
            status,
            error: status.is_none().then_some(SentError::TimedOut),
            latency: Duration::ZERO,
            bytes_out: 0,
            bytes_in: 0,
        }
    }

    /// One that did not leave.
    pub fn unsent(method: &str) -> Sent {
        Sent { left: false, error: Some(SentError::BreakerOpen), ..sent(method, None) }
    }

    fn word_of(attempts: &[Sent], keyed: bool) -> Word {
        let attempts: Vec<_> = attempts.iter().map(|attempt| Sent { keyed, ..attempt.clone() }).collect();
        let changes = changes(&attempts);
        assert_eq!(changes.len(), 1);
        changes[0].word
    }

    #[test]
    fn what_is_known_of_a_change_depends_on_all_attempts_at_it() {
        let post = |status| sent("POST", status);
        let cases = [
            (vec![unsent("POST")], Word::Nothing),
            (vec![post(Some(429))], Word::Nothing),
            (vec![post(Some(201))], Word::Confirmed),
            (vec![post(Some(409))], Word::Denied),
            (vec![post(Some(500))], Word::Denied),
            (vec![post(None)], Word::Unknown),
            (vec![post(Some(502))], Word::Unknown),
            (vec![post(Some(504))], Word::Unknown),
            (vec![post(None), post(Some(200))], Word::Confirmed),
            (vec![post(None), post(Some(409))], Word::Unknown),
            (vec![post(None), unsent("POST")], Word::Unknown),
            (vec![post(None), post(Some(429))], Word::Unknown),
            (vec![unsent("POST"), post(Some(409))], Word::Denied),
            (vec![post(Some(503)), post(Some(409))], Word::Denied),
        ];
        for (attempts, word) in cases {
            assert_eq!(word_of(&attempts, true), word, "{attempts:?}");
        }
        assert_eq!((word_of(&[post(Some(503))], true), word_of(&[post(Some(503))], false)), (Word::Unknown, Word::Denied));
        assert_eq!(changes(&[sent("GET", None)]), []);
        let cut_off = [Sent { error: Some(SentError::BrokenOff), ..post(Some(201)) }];
        assert_eq!((word_of(&cut_off, true), word_of(&cut_off, false)), (Word::CutOff, Word::Confirmed));
    }

    #[test]
    fn requests_are_told_apart_by_their_number() {
        let attempts = [sent("POST", None), Sent { request: 2, ..sent("PUT", Some(200)) }];
        let words: Vec<_> = changes(&attempts).into_iter().map(|change| change.word).collect();
        assert_eq!(words, [Word::Unknown, Word::Confirmed]);
    }

    #[test]
    fn a_backend_that_made_up_for_its_failure_has_not_failed() {
        let other = || Sent { backend: "ledger".into(), ..sent("GET", Some(200)) };
        assert!(!has_failed_backend(&[]));
        assert!(!has_failed_backend(&[sent("GET", None), sent("GET", Some(404))]));
        assert!(has_failed_backend(&[sent("GET", Some(200)), sent("GET", Some(503)), other()]));
        assert!(has_failed_backend(&[sent("GET", Some(429))]) && has_failed_backend(&[unsent("GET")]));
        let cut = Sent { error: Some(SentError::BrokenOff), ..sent("GET", Some(200)) };
        assert!(has_failed_backend(&[cut]));
        let elsewhere = Sent { path: "/other".into(), ..sent("GET", Some(200)) };
        assert!(has_failed_backend(&[sent("GET", None), elsewhere]), "something else makes up for nothing");
    }

    #[test]
    fn a_change_counts_as_made_if_its_backend_says_so_and_not_otherwise() {
        assert!(!has_unconfirmed_change(&[sent("POST", Some(201)), sent("GET", None)]));
        for refused in [sent("POST", Some(500)), sent("POST", Some(409)), sent("POST", Some(429)), unsent("POST")] {
            let later = Sent { request: 2, ..sent("GET", Some(200)) };
            assert!(has_unconfirmed_change(&[refused, later]));
        }
    }
}

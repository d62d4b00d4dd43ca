//! The pinned formats, against values computed by another implementation, and against the rules of deterministic CBOR.

use super::*;
use crate::ledger::cbor::{self, Part};
use crate::ledger::secret::Secret;

const SECRET: [u8; 32] = [1; 32];

fn head() -> Head {
    Head {
        seq: 1000,
        prev: Digest([2; 32]),
        at: Timestamp(1_800_000_000_000),
        kind: Kind::Intent,
        call: Some(CallId::from_bytes(std::array::from_fn(|n| n as u8))),
        generation: 3,
        policy: Digest([9; 32]),
        body: Digest([5; 32]),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_head_is_encoded_and_hashed_as_pinned() {
    let bytes = head().encode();
    let expected = "a9617601637365711903e864626f647958200505050505050505050505050505050505050505050505050505050505050505\
        6463616c6c50000102030405060708090a0b0c0d0e0f646b696e6466696e74656e7464707265765820\
        0202020202020202020202020202020202020202020202020202020202020202\
        6561745f6d731b000001a3185c500066706f6c6963795820\
        09090909090909090909090909090909090909090909090909090909090909096a67656e65726174696f6e03";
    assert_eq!(hex(&bytes), expected);
    assert_eq!(chain::hash(&bytes).to_string(), "0145473d62a824e67d4d3a858ab397de6c55e27b34a305319d62d50d53daed79");
}

#[test]
fn claims_fingerprints_and_outbound_keys_are_derived_as_pinned() {
    let call = write("key-1");
    let claim = call.request().claim();
    assert_eq!(claim.to_string(), "b9dbafee3cd91b2882f943f7849980c3621df958b6ca7d47e3ebcd3d29e041c6");
    let secret = Secret::of(&SECRET);
    // HMAC-SHA-256 over `{"amount_cents":4200,"invoice_id":"inv-1"}`.
    let print = secret.print(&call.arguments);
    assert_eq!(print.to_string(), "1c3cb0b5cf5ca20fa148aa14dc42794eb970c2343c47f16da284ebe909826e21");
    let outbound = secret.outbound_key(&claim, "billing", "POST", "/invoices/inv-1/pay", 0);
    assert_eq!(outbound, "4NKQutetemD5tQwucbhz2gkoUUC4OokyX7Ni8YiO7a4");
    assert_ne!(secret.outbound_key(&claim, "billing", "POST", "/invoices/inv-1/pay", 1), outbound);
}

#[test]
fn a_head_in_any_other_encoding_is_refused() {
    let bytes = head().encode();
    assert_eq!(Head::decode(&bytes).expect("its own encoding"), head());
    let generation = bytes.len() - 1;
    let mut longer = bytes.clone();
    longer.splice(generation.., [0x18, 3]);
    assert!(Head::decode(&longer).is_err(), "an integer that is not in its shortest form");
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert!(Head::decode(&trailing).is_err(), "bytes after the end");
    for cut in 0..bytes.len() {
        assert!(Head::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn what_is_sealed_opens_with_its_key_in_its_place_only() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let subjects = subjects::Subjects::open(dir.path(), true).expect("a new folder");
    let (one, other) = (subjects.key(&Digest([1; 32])).expect("writable"), subjects.key(&Digest([2; 32])).expect("writable"));
    let sealed = one.seal(&[1; 16], b"{}");
    assert_eq!(one.unseal(&[1; 16], &sealed).as_deref(), Some(&b"{}"[..]));
    assert_eq!(one.unseal(&[2; 16], &sealed), None, "another call");
    assert_eq!(other.unseal(&[1; 16], &sealed), None, "another person");
    assert_eq!(one.unseal(&[1; 16], &sealed[..10]), None);
}

#[test]
fn keys_are_found_again_by_tag_and_by_id_until_they_are_destroyed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tags: Vec<Digest> = (0..40).map(|n| Digest([7, n].repeat(16).try_into().expect("32 bytes"))).collect();
    let subjects = subjects::Subjects::open(dir.path(), true).expect("a new folder");
    let ids: Vec<_> = tags.iter().map(|tag| subjects.key(tag).expect("writable").id).collect();
    subjects.destroy(&ids[3]).expect("writable");
    subjects.destroy(&ids[3]).expect("destroying twice changes nothing");
    // What a crash in the middle of making a key leaves.
    let file = dir.path().join("subjects/07");
    let whole = std::fs::read(&file).expect("readable");
    std::fs::write(&file, [&whole[..], &[1; 30]].concat()).expect("writable");

    let subjects = subjects::Subjects::open(dir.path(), false).expect("it is there");
    for (n, (tag, id)) in tags.iter().zip(&ids).enumerate().filter(|(n, _)| *n != 3) {
        assert_eq!(subjects.by_id(id).expect("readable").expect("it is there").tag, *tag, "{n}");
        assert_eq!(subjects.key(tag).expect("readable").id, *id, "{n}");
    }
    assert!(subjects.by_id(&ids[3]).expect("readable").is_none());
    assert!(!whole.windows(16).any(|window| window == ids[3]), "nothing of it is left in the file");
    let again = subjects.key(&tags[3]).expect("writable").id;
    assert_ne!(again, ids[3]);
    assert_eq!(std::fs::read(&file).expect("readable").len(), whole.len() + 30, "the free place is taken");
    std::fs::remove_dir_all(dir.path().join("subjects")).expect("removable");
    assert!(subjects::Subjects::open(dir.path(), false).is_err(), "keys that are gone are not made anew");
}

#[tokio::test]
async fn rows_of_the_version_before_are_read() {
    let world = World::new();
    let (done, running) = (write("key-1"), write("key-2"));
    world.run(&done, &answer("paid")).await;
    let lease = world.lease(&running);
    let _intent = world.intent(&running, Some(lease)).await.expect("recorded");
    let ended = keys::ended(&done.id);
    let age = move |tx: &mut Tx<'_>| {
        // One version and two members, or one, less.
        let row = tx.get(&ended)?.expect("it is remembered");
        assert_eq!((&row[..2], &row[row.len() - 2..]), (&[0x91, 3][..], &[0, 0][..]));
        tx.put(ended, [&[0x8f, 2], &row[2..row.len() - 2]].concat())?;
        let page = tx.get(&keys::open(0))?.expect("a call is open");
        let (tag, entry) = page::pairs(&page).next().flatten().expect("its entry");
        assert_eq!((&entry[..2], entry.last()), (&[0x8b, 3][..], Some(&0)));
        let mut old = Vec::new();
        assert!(page::push(&mut old, &[tag, &[&[0x8a, 2], &entry[2..entry.len() - 1]].concat()]));
        Ok::<_, LedgerError>(tx.put(keys::open(0), old)?)
    };
    world.ledger.store().commit(age).await.expect("writable");
    let world = world.crash();
    assert!(matches!(world.claim(&done.again()), Ok(Claim::Replay(replay)) if replay.response == answer("paid")));
    assert_eq!((world.recovery.outcome_unknown, world.status(&running)), (1, Some(CallStatus::Unknown)));
}

proptest::proptest! {
    #[test]
    fn every_head_is_deterministic_cbor_and_reads_back(
        seq: u64, at: u64, generation: u64, digests: [[u8; 32]; 3], call: Option<[u8; 16]>, kind in 0_usize..5,
    ) {
        let kind = [Kind::Intent, Kind::Outcome, Kind::Rejection, Kind::Admin, Kind::Checkpoint][kind];
        let [prev, policy, body] = digests.map(Digest);
        let head = Head { seq, prev, at: Timestamp(at), kind, call: call.map(CallId::from_bytes), generation, policy, body };
        let bytes = head.encode();
        proptest::prop_assert_eq!(Head::decode(&bytes).expect("its own encoding"), head);
        proptest::prop_assert_eq!(deterministic(&mut &bytes[..]), Ok(()));
    }

    #[test]
    fn every_preimage_is_deterministic_cbor(texts in proptest::collection::vec(".{0,300}", 0..30), number: u64, bytes: Vec<u8>) {
        let mut parts: Vec<_> = texts.iter().map(|text| Part::Text(text)).collect();
        parts.extend([Part::Number(number), Part::Bytes(&bytes)]);
        proptest::prop_assert_eq!(deterministic(&mut &cbor::encode_parts(&parts)[..]), Ok(()));
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>) {
        let _ = Head::decode(&bytes);
        let _ = chain::TipRow::decode(&bytes);
        let _ = calls::EndedRow::decode(&CallId::from_bytes([0; 16]), &bytes);
        let _ = queue::QueuedRow::decode(&CallId::from_bytes([0; 16]), &bytes);
        let _ = open::on_page(&bytes);
    }
}

/// Checks one item against RFC 8949 §4.2.1: shortest lengths, definite lengths, map keys in bytewise order. Written apart from
/// the encoder on purpose.
fn deterministic(input: &mut &[u8]) -> Result<(), String> {
    item(input)?;
    if input.is_empty() { Ok(()) } else { Err("bytes after the end".to_owned()) }
}

fn item<'b>(input: &mut &'b [u8]) -> Result<&'b [u8], String> {
    let whole = *input;
    let first = take(input, 1)?[0];
    let (major, short) = (first >> 5, first & 31);
    let argument = match short {
        0..=23 => u64::from(short),
        24..=27 => {
            let size = 1 << (short - 24);
            let argument = take(input, size)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            let least = match size {
                1 => 24,
                size => 1_u64 << (size * 4),
            };
            if argument < least {
                return Err(format!("{argument} in {size} bytes"));
            }
            argument
        }
        _ => return Err("an indefinite length".to_owned()),
    };
    match major {
        0 => {}
        2 | 3 => {
            let content = take(input, argument as usize)?;
            if major == 3 {
                str::from_utf8(content).map_err(|error| error.to_string())?;
            }
        }
        4 => (0..argument).try_for_each(|_| item(input).map(drop))?,
        5 => {
            let mut last: &[u8] = &[];
            for _ in 0..argument {
                let key = item(input)?;
                if key <= last {
                    return Err("keys out of order".to_owned());
                }
                last = key;
                item(input)?;
            }
        }
        7 if first == 0xf6 => {}
        _ => return Err(format!("major type {major}")),
    }
    Ok(&whole[..whole.len() - input.len()])
}

fn take<'b>(input: &mut &'b [u8], count: usize) -> Result<&'b [u8], String> {
    let (taken, rest) = input.split_at_checked(count).ok_or("cut short")?;
    *input = rest;
    Ok(taken)
}

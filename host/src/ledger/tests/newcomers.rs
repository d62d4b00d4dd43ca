//! People who call for the first time, many at once: each gets one key, and nobody waits for ever.

use super::*;
use crate::ledger::newcomers::Newcomers;
use crate::model::Digest;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_comes_at_once_gets_a_key_each_and_the_same_when_it_comes_again() {
    let world = World::new();
    let inner = &world.ledger.inner;
    let tags: Vec<_> = (0..600_u16).map(|number| Digest(std::array::from_fn(|at| (number >> (8 * (at % 2))) as u8))).collect();
    let all = tags.iter().chain(&tags).map(|tag| Newcomers::key(inner, *tag));
    let keys: Vec<_> = futures::future::join_all(all).await.into_iter().map(|key| key.expect("writable").id).collect();
    let (first, second) = keys.split_at(tags.len());
    assert_eq!(first, second, "whoever comes twice gets one key");
    for (tag, id) in tags.iter().zip(first) {
        assert_eq!(inner.subjects.ids(tag).expect("readable"), [*id]);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_key_that_cannot_be_written_is_told_which_file_it_is() {
    let world = World::new();
    let inner = &world.ledger.inner;
    let tag = Digest([7; 32]);
    let blocked = world.dir.path().join("keys").join("subjects").join("07");
    std::fs::create_dir_all(&blocked).expect("writable");
    let told = futures::future::join(Newcomers::key(inner, tag), Newcomers::key(inner, tag)).await;
    for told in [told.0, told.1] {
        let told = told.map(|_| "a key").expect_err("a folder is in its place").to_string();
        assert!(told.contains(&blocked.display().to_string()), "{told}");
    }
    std::fs::remove_dir(&blocked).expect("writable");
    Newcomers::key(inner, tag).await.map(|_| "a key").expect("writable again");
}

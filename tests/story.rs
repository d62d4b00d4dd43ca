//! The whole life of a plugin, in each language: made from nothing, edited while it is served, signed, installed, and under load asked
//! to do more than before, let, and taken back. No call fails, none is answered by half of each version, and the log names them all.

mod author;
mod operator;
mod witnesses;

use crate::harness::{Language, PYTHON, RUST};
use author::Author;
use operator::Operator;
use witnesses::{Moment, Witnesses};

/// The plugin, and its tool.
const NAME: &str = "greeter";

/// What callers hold: what the first version asks for, and what the second asks for besides.
const SCOPES: [&str; 2] = ["use:greeter", "read:people"];

#[test]
fn a_plugin_in_rust_is_made_edited_signed_installed_widened_and_taken_back_under_load() {
    lives(&RUST);
}

#[test]
fn a_plugin_in_python_is_made_edited_signed_installed_widened_and_taken_back_under_load() {
    lives(&PYTHON);
}

fn lives(language: &Language) {
    let author = Author::begin(language);
    author.tries_it();
    let first = author.ships("Good day");
    author.asks_for_more();
    let second = author.ships("Welcome");

    let operator = Operator::trusting(&author.key);
    operator.installs(&first, &format!("sha256:{}", first.content));
    let mut host = operator.serves();
    let witnesses = Witnesses::of(&host, &operator.provider);
    let told = witnesses.watch(|calls, moment| {
        calls.wait_for(64);
        let shown = operator.is_asked_about(&second);
        assert_eq!(operator.in_force(), "0.1.0");
        calls.wait_for(64);
        moment.pass(Moment::Swap, Moment::Second, || operator.installs(&second, &shown));
        assert_eq!(operator.in_force(), "0.2.0");
        calls.wait_for(64);
        moment.pass(Moment::Return, Moment::FirstAgain, || operator.goes_back());
        assert_eq!(operator.in_force(), "0.1.0");
        calls.wait_for(64);
    });
    assert!(host.stop("-TERM").success());
    let answered = told.check(["Good day", "Welcome"]);
    println!("calls that each version answered: {answered:?}");
    operator.finds_written_down([&first, &second], answered);
}

//! What stands on the screen, and what keys do to it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::*;
use crate::admission::Snapshot;

fn load(name: &str, running: usize, fuel_per_second: u64) -> Load {
    Load {
        name: name.to_owned(),
        issuer: None,
        running,
        queued: 0,
        parked: 0,
        fuel_per_second,
        balance: None,
        parked_seconds: 0,
        rejects: 0,
        estimated_wait_ms: 0,
    }
}

/// A snapshot as a host sends it.
fn sent() -> Value {
    let greedy =
        Load { queued: 7, parked: 2, parked_seconds: 65, rejects: 3, estimated_wait_ms: 1_250, ..load("greedy", 2, 900) };
    json!({
        "host": {
            "capacity": 4_000_000_000_u64, "fuel_per_second": 3_000_000_000_u64, "slots": 64, "running": 16, "queued": 7, "parked": 2,
            "queue_fuel": 9_500_000, "memory": 512 << 20, "memory_limit": 1 << 30, "estimated_wait_ms": 1_250, "rejects": 3,
        },
        "tools": [load("echo", 12, 5), load("spin", 4, 3_000_000_000)],
        "principals": [load("ada", 1, 2_000_000), greedy, load("bob\u{1b}[2J", 9, 1_000)],
        "principals_known": 1234,
    })
}

fn snapshot() -> Snapshot {
    serde_json::from_value(sent()).expect("it is a snapshot")
}

fn drawn(view: &View) -> String {
    let mut terminal = Terminal::new(TestBackend::new(130, 20)).expect("it is only memory");
    terminal.draw(|frame| draw(frame, view)).expect("it is only memory");
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(buffer.area.width));
    lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

fn order(text: &str, names: &[&str]) -> Vec<usize> {
    names
        .iter()
        .map(|name| text.lines().position(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}")))
        .collect()
}

#[test]
fn the_host_its_tools_and_its_principals_are_on_one_screen() {
    let text = drawn(&View::new(snapshot(), Column::Fuel));
    for part in [
        "fuel 3.0G of 4.0G a second",
        "slots 16 of 64",
        "memory 512.0 MiB of 1.0 GiB",
        "queued 7 (9.5M fuel)",
        "rejects 3",
        "estimated wait 1.2s",
        "principals 1234",
        "fuel 75 %",
        "slots 25 %",
        "memory 50 %",
        "65s (2 now)",
        "q quits",
    ] {
        assert!(text.contains(part), "no `{part}`:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "a subject can't write elsewhere on the screen");
}

#[test]
fn keys_sort_scroll_pause_and_quit() {
    let mut view = View::new(snapshot(), Column::Fuel);
    assert!(order(&drawn(&view), &["spin", "echo", "principal", "ada", "bob", "greedy"]).is_sorted());
    for (key, first, last) in
        [('r', "bob", "ada"), ('n', "ada", "greedy"), ('u', "greedy", "bob"), ('p', "greedy", "bob"), ('x', "greedy", "bob")]
    {
        assert_eq!(view.press(Key::Letter(key)), Asked::Draw);
        assert!(order(&drawn(&view), &["principal", first, last]).is_sorted(), "{key}:\n{}", drawn(&view));
    }
    view.press(Key::Letter('n'));
    view.press(Key::Down);
    assert!(!drawn(&view).contains("\nada"), "one line down:\n{}", drawn(&view));
    view.press(Key::PageDown);
    assert_eq!(view.offset, 2, "the last one stays in sight");
    view.renew(Ok(Snapshot { principals: vec![load("ada", 1, 1)], ..snapshot() }));
    assert_eq!(view.offset, 0, "a list that got shorter is not scrolled past");
    view.press(Key::Letter(' '));
    assert!(drawn(&view).contains("PAUSED"));
    assert_eq!(
        (view.press(Key::Letter('z')), view.press(Key::Letter('q')), view.press(Key::Escape)),
        (Asked::Draw, Asked::Quit, Asked::Quit)
    );
}

#[test]
fn a_host_that_went_away_is_told_and_its_last_figures_stay() {
    let mut view = View::new(snapshot(), Column::Fuel);
    view.renew(Err("no host answers on `admin.sock`".to_owned()));
    let text = drawn(&view);
    assert!(text.contains("no host answers") && text.contains("greedy"), "{text}");
    view.renew(Ok(snapshot()));
    assert!(!drawn(&view).contains("no host answers"));
}

#[test]
fn a_host_without_calls_and_a_tiny_terminal_are_no_trouble() {
    let mut idle = sent();
    (idle["tools"], idle["principals"]) = (json!([]), json!([]));
    for name in ["capacity", "slots", "memory_limit"] {
        idle["host"][name] = json!(0);
    }
    let idle = serde_json::from_value(idle).expect("it is a snapshot");
    let mut view = View::new(idle, Column::Wait);
    view.press(Key::Down);
    assert!(drawn(&view).contains("principal"));
    for (width, height) in [(1, 1), (20, 3), (40, 6)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it is only memory");
        terminal.draw(|frame| draw(frame, &view)).expect("it is only memory");
    }
}

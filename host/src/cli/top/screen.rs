//! The terminal: what is drawn on it, and the keys that come from it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Gauge, Paragraph, Row, Table};

use super::view::{Asked, Column, Key, View};
use super::{row, snapshot};
use crate::admission::Load;
use crate::cli::live::{Live, WhichHost};

/// The tools that are shown at most; the principals get the rest of the screen.
const TOOLS: usize = 12;

/// The width of a column of figures.
const WIDTH: u16 = 14;

/// Shows the host until a key ends that. A host that goes away is looked for until it is back.
///
/// # Errors
/// The terminal can't be drawn on or read.
pub fn show(live: Live, host: &WhichHost, interval: Duration, mut view: View) -> Result<()> {
    let mut terminal = ratatui::try_init().context("can't draw on this terminal")?;
    let shown = watch(&mut terminal, Some(live), host, interval, &mut view);
    ratatui::try_restore().context("can't give the terminal back as it was")?;
    shown
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    mut live: Option<Live>,
    host: &WhichHost,
    interval: Duration,
    view: &mut View,
) -> Result<()> {
    let mut next = Instant::now() + interval;
    loop {
        terminal.draw(|frame| draw(frame, view)).context("can't draw on this terminal")?;
        if event::poll(next.saturating_duration_since(Instant::now())).context("can't read from this terminal")? {
            let asked = match event::read().context("can't read from this terminal")? {
                Event::Key(pressed) => key(pressed).map(|key| view.press(key)),
                _ => None,
            };
            if asked == Some(Asked::Quit) {
                return Ok(());
            }
            continue;
        }
        next = Instant::now() + interval;
        if !view.is_paused {
            let looked = match live.take() {
                Some(live) => Ok(live),
                None => host.demand(),
            };
            view.renew(
                looked
                    .and_then(|mut host| {
                        let seen = snapshot(&mut host)?;
                        live = Some(host);
                        Ok(seen)
                    })
                    .map_err(|problem| format!("{problem:#}")),
            );
        }
    }
}

fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    match pressed.code {
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Escape),
        KeyCode::Char(letter) => Some(Key::Letter(letter)),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::PageUp => Some(Key::PageUp),
        KeyCode::PageDown => Some(Key::PageDown),
        KeyCode::Home => Some(Key::Home),
        KeyCode::Esc => Some(Key::Escape),
        _ => None,
    }
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let tools = view.sorted(&view.snapshot.tools);
    let tools_height = u16::try_from(tools.len().min(TOOLS)).unwrap_or(u16::MAX) + 2;
    let heights = [
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Length(tools_height),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [totals, bars, top, rest, foot] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(Paragraph::new(view.totals().map(Line::from).to_vec()), totals);
    draw_shares(frame, bars, view.shares());
    draw_table(frame, top, "tool", &tools[..tools.len().min(TOOLS)], view.sort);
    let principals = view.sorted(&view.snapshot.principals);
    draw_table(frame, rest, "principal", &principals[view.offset.min(principals.len())..], view.sort);
    frame.render_widget(Paragraph::new(foot_of(view)), foot);
}

fn draw_shares(frame: &mut Frame<'_>, area: Rect, shares: [f64; 3]) {
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Ratio(1, 3); 3]).spacing(1).areas(area);
    for ((share, name), area) in shares.into_iter().zip(["fuel", "slots", "memory"]).zip(areas) {
        let color = match share {
            ..0.7 => Color::Green,
            ..0.9 => Color::Yellow,
            _ => Color::Red,
        };
        let gauge = Gauge::default().ratio(share).label(format!("{name} {:.0} %", share * 100.0));
        frame.render_widget(gauge.gauge_style(Style::new().fg(color).bg(Color::DarkGray)), area);
    }
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, title: &'static str, loads: &[&Load], sort: Column) {
    let header = Column::ALL.map(|column| {
        let title = if column == Column::Name { title } else { column.title() };
        let style = if column == sort { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Cell::from(Span::styled(title, style))
    });
    let widths = Column::ALL.map(|column| if column == Column::Name { Constraint::Min(20) } else { Constraint::Length(WIDTH) });
    let rows = loads.iter().map(|load| {
        let is_troubled = load.queued > 0 || load.parked > 0;
        Row::new(row(load)).style(if is_troubled { Style::new().fg(Color::Yellow) } else { Style::new() })
    });
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

fn foot_of(view: &View) -> Line<'_> {
    if let Some(problem) = &view.problem {
        return Line::styled(problem.as_str(), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
    }
    let sorts: Vec<_> = Column::ALL.iter().map(|column| format!("{} {}", column.key(), column.title())).collect();
    let pause = if view.is_paused { "space goes on (PAUSED)" } else { "space pauses" };
    Line::from(format!("q quits  {pause}  ↑↓ scroll  sort by: {}", sorts.join("  "))).style(Style::new().fg(Color::DarkGray))
}

#[cfg(test)]
mod tests;

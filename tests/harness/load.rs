//! Callers that create, pay, read and repeat, several at a time, until their host is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::Client;
use super::journal::{Gone, Journal, payment_key};

/// How long the host may take for an answer while it lives.
const PATIENCE: Duration = Duration::from_secs(60);

/// Callers at work.
pub struct Load {
    callers: Vec<JoinHandle<()>>,
    /// Says so after every answer; hung up when every caller has met a dead host.
    answers: Receiver<()>,
    is_over: Arc<AtomicBool>,
}

/// What the callers are like.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How many they are. Six unless said otherwise.
    pub callers: usize,
    /// Never ask for anything that is too long for a row. What is, is synced by itself, and with it what came before.
    pub brief: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self { callers: 6, brief: false }
    }
}

impl Load {
    /// Sets callers on a host. `number` numbers the writes of all loads with one journal.
    pub fn start(
        client: &Client,
        journal: &Arc<Journal>,
        number: &Arc<AtomicU64>,
        dice: &mut fastrand::Rng,
        habits: Habits,
    ) -> Self {
        let (say, answers) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let callers = (0..habits.callers).map(|_| {
            let caller = Caller {
                client: client.clone(),
                journal: journal.clone(),
                number: number.clone(),
                dice: dice.fork(),
                habits,
                say: say.clone(),
            };
            let is_over = is_over.clone();
            std::thread::spawn(move || caller.work(&is_over))
        });
        Self { callers: callers.collect(), answers, is_over }
    }

    /// Waits for so many answers. `Err` if the host died before.
    pub fn wait_for(&self, answers: usize) -> Result<(), Gone> {
        for _ in 0..answers {
            match self.answers.recv_timeout(PATIENCE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
                Err(RecvTimeoutError::Timeout) => panic!("the host lives and does not answer"),
            }
        }
        Ok(())
    }

    /// Ends the load; the host may be dead already.
    pub fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().expect("a caller does not panic, whatever the host does");
        }
    }
}

struct Caller {
    client: Client,
    journal: Arc<Journal>,
    number: Arc<AtomicU64>,
    dice: fastrand::Rng,
    habits: Habits,
    say: Sender<()>,
}

impl Caller {
    fn work(mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) && self.turn().is_ok() {
            // Nobody listens any more once the load was ended.
            let _ = self.say.send(());
        }
    }

    fn turn(&mut self) -> Result<(), Gone> {
        match self.dice.u8(..100) {
            0..40 => self.create(),
            40..60 => match self.journal.unpaid_invoice(&mut self.dice) {
                Some(invoice) => self.write(&payment_key(&invoice), "pay_invoice", json!({"invoice_id": invoice})),
                None => self.create(),
            },
            60..68 if !self.habits.brief => self.tell_much(),
            68..85 => match self.journal.any_invoice(&mut self.dice) {
                Some(invoice) => self.journal.read(&self.client, &invoice),
                None => self.create(),
            },
            _ => match self.journal.any_key(&mut self.dice) {
                Some(key) => self.journal.ask(&self.client, &key),
                None => self.create(),
            },
        }
    }

    fn create(&mut self) -> Result<(), Gone> {
        let key = self.new_key("create");
        let amount = self.dice.u32(1..1_000_000);
        self.write(&key, "create_invoice", json!({"user_id": "u1", "amount_cents": amount, "description": key}))
    }

    /// Arguments and answer are too long for a row, so both are kept in files.
    fn tell_much(&mut self) -> Result<(), Gone> {
        let key = self.new_key("tell");
        let length = self.dice.usize(4_000..20_000);
        let padding: String = std::iter::repeat_with(|| self.dice.alphanumeric()).take(length).collect();
        let structured = json!({"key": key, "padding": padding}).to_string();
        self.write(&key, "garbage_output", json!({"structured": structured, "content": "[]"}))
    }

    fn write(&self, key: &str, tool: &'static str, arguments: serde_json::Value) -> Result<(), Gone> {
        self.journal.plan(key, tool, arguments);
        self.journal.ask(&self.client, key)
    }

    fn new_key(&self, what: &str) -> String {
        format!("{what}-{:012}", self.number.fetch_add(1, Ordering::Relaxed))
    }
}

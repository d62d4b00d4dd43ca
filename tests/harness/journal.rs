//! What callers asked of a host that may die at any moment, and what they were told: the caller's own record, to hold the
//! host's against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Answer, Client};

/// The record of all callers of one host, across its deaths.
#[derive(Default)]
pub struct Journal(Mutex<State>);

#[derive(Default)]
struct State {
    writes: BTreeMap<String, Write>,
    /// All keys, to pick one by chance.
    keys: Vec<String>,
    /// Writes to be asked for again once the host is back.
    unsettled: BTreeSet<String>,
    /// Invoices that were created, as far as callers know.
    invoices: Vec<String>,
    /// Those that nobody has tried to pay.
    unpaid: Vec<String>,
    /// The call ids of reads that were answered.
    reads: BTreeSet<String>,
    figures: Figures,
    problems: Vec<String>,
}

/// One write: its key is what the journal files it under.
#[derive(Clone)]
pub struct Write {
    /// The tool.
    pub tool: &'static str,
    /// Its arguments.
    pub arguments: Value,
    /// The result, without `_meta`, once somebody got it.
    pub told: Option<Value>,
    /// Whether somebody got the result from the call that ran, and not as a replay.
    pub first_hand: bool,
    /// Whether somebody was told that nobody knows.
    pub unknown: bool,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Keyed writes that were asked for, without repetitions.
    pub writes: usize,
    /// Those whose callers have a result.
    pub acknowledged: usize,
    /// Reads that were answered.
    pub reads: usize,
    /// Repetitions, live and after restarts, that got the answer their callers had already.
    pub repeated: usize,
    /// Writes without an answer when the host died, and what their callers got afterwards: the answer that was on its way.
    pub found: usize,
    /// The same: they had not run, and ran now.
    pub ran_late: usize,
    /// The same: nobody knows.
    pub unknown: usize,
    /// Of these, how many had taken effect at the backend.
    pub unknown_but_done: usize,
}

impl Figures {
    /// The sums of several, as a table.
    pub fn table(figures: &[Figures]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut row = |what: &str, count: fn(&Figures) -> usize| {
            table.add_row([what.to_owned(), figures.iter().map(count).sum::<usize>().to_string()]);
        };
        row("keyed writes asked for", |figures| figures.writes);
        row("their callers have the result", |figures| figures.acknowledged);
        row("reads answered", |figures| figures.reads);
        row("repetitions answered with the same", |figures| figures.repeated);
        row("unanswered at a death: the answer was found", |figures| figures.found);
        row("unanswered or refused at a death: ran afterwards", |figures| figures.ran_late);
        row("unanswered at a death: outcome unknown", |figures| figures.unknown);
        row("of these, done at the backend", |figures| figures.unknown_but_done);
        table
    }
}

/// The host did not answer: it is gone.
#[derive(Debug)]
pub struct Gone;

impl Journal {
    /// Plans a write, so that whatever becomes of it, it is known to have been asked for.
    pub fn plan(&self, key: &str, tool: &'static str, arguments: Value) {
        let mut state = self.lock();
        state.figures.writes += 1;
        state.keys.push(key.to_owned());
        state.unsettled.insert(key.to_owned());
        state.writes.insert(key.to_owned(), Write { tool, arguments, told: None, first_hand: false, unknown: false });
    }

    /// Asks for a planned write, for the first time or again, and notes the answer.
    ///
    /// # Errors
    /// There was none.
    pub fn ask(&self, client: &Client, key: &str) -> Result<(), Gone> {
        self.ask_write(client, key).map(|answer| self.note(key, &answer, true))
    }

    /// Asks for everything that was in question when the host died, and for a few that were not: all alone, on a host that has
    /// come back.
    ///
    /// # Errors
    /// It is gone again; what is still in question stays so.
    pub fn recheck(&self, client: &Client, dice: &mut fastrand::Rng) -> Result<(), Gone> {
        let mut asked: Vec<String> = self.lock().unsettled.iter().cloned().collect();
        asked.extend((0..5).filter_map(|_| self.any_key(dice)));
        for key in asked {
            let answer = self.ask_write(client, &key)?;
            self.note(&key, &answer, false);
            self.lock().unsettled.remove(&key);
        }
        Ok(())
    }

    /// Reads an invoice.
    ///
    /// # Errors
    /// The host did not answer.
    pub fn read(&self, client: &Client, invoice: &str) -> Result<(), Gone> {
        let params = json!({"name": "get_invoice", "arguments": {"invoice_id": invoice}});
        let answer = client.try_call(params).map_err(|_| Gone)?;
        let result = &answer.body["result"];
        let mut state = self.lock();
        if error(result).as_deref() == Some("audit_unavailable") {
            return Ok(());
        }
        if result["structuredContent"]["id"] != json!(invoice) {
            state.problems.push(format!("{invoice} could not be read: {answer:?}"));
        }
        state.figures.reads += 1;
        state.reads.insert(result["_meta"]["dev.tidegate/call-id"].as_str().unwrap_or_default().to_owned());
        Ok(())
    }

    /// Any key used so far.
    pub fn any_key(&self, dice: &mut fastrand::Rng) -> Option<String> {
        dice.choice(&self.lock().keys).cloned()
    }

    /// Any invoice created so far.
    pub fn any_invoice(&self, dice: &mut fastrand::Rng) -> Option<String> {
        dice.choice(&self.lock().invoices).cloned()
    }

    /// An invoice that nobody has tried to pay; asked for again, another one.
    pub fn unpaid_invoice(&self, dice: &mut fastrand::Rng) -> Option<String> {
        let unpaid = &mut self.lock().unpaid;
        (!unpaid.is_empty()).then(|| unpaid.swap_remove(dice.usize(..unpaid.len())))
    }

    /// All writes, by key.
    pub fn writes(&self) -> BTreeMap<String, Write> {
        self.lock().writes.clone()
    }

    /// The call ids of reads that were answered.
    pub fn reads(&self) -> BTreeSet<String> {
        self.lock().reads.clone()
    }

    /// How often what happened, given the keys of what happened at the backend.
    pub fn figures(&self, done: &BTreeSet<String>) -> Figures {
        let state = self.lock();
        let acknowledged = state.writes.values().filter(|write| write.told.is_some()).count();
        let is_open = |key: &&String| state.writes.get(*key).is_some_and(|write| write.unknown && write.told.is_none());
        Figures { acknowledged, unknown_but_done: done.iter().filter(is_open).count(), ..state.figures }
    }

    /// What callers were told that they must not have been told.
    pub fn problems(&self) -> Vec<String> {
        self.lock().problems.clone()
    }

    fn ask_write(&self, client: &Client, key: &str) -> Result<Answer, Gone> {
        let Write { tool, arguments, .. } = self.lock().writes[key].clone();
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"dev.tidegate/idempotency-key": key}});
        client.try_call(params).map_err(|_| Gone)
    }

    /// Holds an answer against what was told before. `crowded`: others may be asking with the same key at this moment.
    fn note(&self, key: &str, answer: &Answer, crowded: bool) {
        let mut state = self.lock();
        let State { writes, figures, invoices, unpaid, problems, .. } = &mut *state;
        let write = writes.get_mut(key).expect("what is answered was planned");
        let mut problem = |what: &str| problems.push(format!("{key}: {what}: {:?}", answer.body));
        let mut result = answer.body["result"].clone();
        if result["isError"] != json!(false) {
            match error(&result).as_deref() {
                // The second is what a host says that has lost its disk and has not noticed yet that it is dead.
                Some("idempotency_in_flight" | "audit_unavailable") if crowded => {}
                Some("outcome_unknown") if write.told.is_some() => problem("its caller has the result, and now nobody knows"),
                Some("outcome_unknown") => {
                    figures.unknown += usize::from(!write.unknown);
                    write.unknown = true;
                }
                _ => problem("an answer that is none"),
            }
            return;
        }
        result.as_object_mut().expect("a result is an object").remove("_meta");
        // Whoever asks with a handle may be the second to come with the key: that it ran is said by nobody then.
        let replayed = answer.is_replayed() || answer.is_polled();
        match &write.told {
            Some(told) if *told != result => problem("its caller has another result already"),
            // A replay may have overtaken the answer of the call that ran; but one such answer there is at most.
            Some(_) if !replayed && (write.first_hand || !crowded) => problem("its caller has the result, and it ran again"),
            Some(_) if !replayed => write.first_hand = true,
            Some(_) => figures.repeated += 1,
            // An outcome that could not be synced may have come to stand all the same. And billing pays once per key, so what is
            // unknown may be asked of it again; to create again is to create another one.
            None if write.unknown && !replayed && write.tool != "pay_invoice" => problem("nobody knew, and it ran again"),
            None => {
                if !crowded {
                    *(if replayed { &mut figures.found } else { &mut figures.ran_late }) += 1;
                }
                if write.tool == "create_invoice" {
                    let invoice = result["structuredContent"]["id"].as_str().expect("an invoice has an id").to_owned();
                    invoices.push(invoice.clone());
                    unpaid.push(invoice);
                }
                write.told = Some(result);
                write.first_hand = !replayed;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is made whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The code of a result that is an error.
fn error(result: &Value) -> Option<String> {
    let envelope: Value = serde_json::from_str(result["content"][0]["text"].as_str()?).ok()?;
    (result["isError"] == json!(true)).then(|| envelope["error"].as_str().map(str::to_owned))?
}

/// The key of the write with these arguments, whoever looks: a caller, the host's log, the backend.
pub fn key_of(tool: &str, arguments: &Value) -> Option<String> {
    match tool {
        "create_invoice" => arguments["description"].as_str().map(str::to_owned),
        "pay_invoice" => arguments["invoice_id"].as_str().map(payment_key),
        "garbage_output" => {
            let structured: Value = serde_json::from_str(arguments["structured"].as_str()?).ok()?;
            structured["key"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// The key with which an invoice is paid: there is one for each.
pub fn payment_key(invoice: &str) -> String {
    format!("pay-{invoice}-0000000")
}

//! Tools that ask before they do anything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_plugin_sdk::{Context, Elicited, Failure, Hints, Tool};

/// Pays an invoice, if whoever called says yes to its amount as it is.
pub(crate) struct Pay;

/// What to pay.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The invoice.
    pub invoice_id: String,
}

/// What became of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Paid {
    /// Whether it was paid.
    paid: bool,
}

impl Tool for Pay {
    const NAME: &'static str = "pay";
    const DESCRIPTION: &'static str = "Pays an invoice once it is confirmed.";
    type Input = Which;
    type Output = Paid;

    fn call(Which { invoice_id }: Which, context: &Context) -> Result<Paid, Failure> {
        let invoice: Value = context.backend("billing").get(&["invoices", &invoice_id]).send()?.success()?.json()?;
        let paid = context.confirm("pay", &format!("Pay {} cents for {invoice_id}?", invoice["amount_cents"]))?;
        if paid {
            context.backend("billing").post(&["invoices", &invoice_id, "pay"]).send()?.success()?;
        }
        Ok(Paid { paid })
    }
}

/// Asks one thing after another.
pub(crate) struct Converse;

/// How.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Talk {
    /// How many forms to ask for, one after another.
    forms: usize,
    /// A page to be sent to at the end.
    #[serde(default)]
    page: Option<String>,
    /// How long to think before.
    #[serde(default)]
    after_ms: u64,
}

/// A form.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Word {
    /// What to say.
    word: String,
}

/// What was said.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Said {
    words: Vec<String>,
}

impl Tool for Converse {
    const NAME: &'static str = "converse";
    const DESCRIPTION: &'static str = "Asks for words, one after another.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = Talk;
    type Output = Said;

    fn call(Talk { forms, page, after_ms }: Talk, context: &Context) -> Result<Said, Failure> {
        std::thread::sleep(std::time::Duration::from_millis(after_ms));
        let mut words: Vec<String> = Vec::new();
        for n in 0..forms {
            // What was said before is part of the question.
            let message = format!("A word after [{}]?", words.join(" "));
            match context.elicit::<Word>(&format!("word_{n}"), &message)? {
                Elicited::Accepted(Word { word }) => words.push(word),
                Elicited::Declined => words.push("(declined)".to_owned()),
                Elicited::Cancelled => words.push("(cancelled)".to_owned()),
            }
        }
        if let Some(page) = page {
            words.push(format!("page: {}", context.open_url("page", "Look here", &page)?));
        }
        Ok(Said { words })
    }
}

//! Carelessness about backends: a request fails, and the guest does as if it had not, or falls over it.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin_sdk::http::{HttpError, Response};
use tidegate_plugin_sdk::{Content, Context, Failure, Tool};

/// Reads an invoice, carelessly.
pub(crate) struct CarelessRead;

/// Pays an invoice, carelessly.
pub(crate) struct CarelessWrite;

/// Which invoice, and how careless to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Carelessly {
    invoice_id: String,
    /// What to do about whatever billing says.
    then: Reaction,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Reaction {
    /// Report success.
    Boast,
    /// Look at the invoice, which goes well, and report success.
    LookAway,
    /// Panic if it was no success.
    Panic,
    /// Fail without a reason.
    Shrug,
}

impl Tool for CarelessRead {
    const NAME: &'static str = "careless_read";
    const DESCRIPTION: &'static str = "Reads an invoice and does not care whether that worked.";
    type Input = Carelessly;
    type Output = Content;

    fn call(Carelessly { invoice_id, then }: Carelessly, context: &Context) -> Result<Content, Failure> {
        then.to(context.backend("billing").get(&["invoices", &invoice_id]).send())
    }
}

impl Tool for CarelessWrite {
    const NAME: &'static str = "careless_write";
    const DESCRIPTION: &'static str = "Pays an invoice and does not care whether that worked.";
    type Input = Carelessly;
    type Output = Content;

    fn call(Carelessly { invoice_id, then }: Carelessly, context: &Context) -> Result<Content, Failure> {
        let answer = context.backend("billing").post(&["invoices", &invoice_id, "pay"]).send();
        if matches!(then, Reaction::LookAway) {
            return then.to(context.backend("billing").get(&["invoices", &invoice_id]).send());
        }
        then.to(answer)
    }
}

impl Reaction {
    fn to(&self, answer: Result<Response, HttpError>) -> Result<Content, Failure> {
        match self {
            Reaction::Boast | Reaction::LookAway => {}
            Reaction::Panic => drop(answer.expect("billing answers").success().expect("and is well")),
            Reaction::Shrug => return Err(Failure::failed("something went wrong")),
        }
        Ok(Content::new().text("all went well"))
    }
}

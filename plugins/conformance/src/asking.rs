//! Tools that ask whoever called before they answer (scenarios `input-required-result-*`).

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidegate_plugin_sdk::{Content, Context, Elicited, Failure, Hints, NoInput, Question, Root, Sampled, Tool};

/// The form that asks for a name.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Named {
    name: String,
}

/// The form that asks for a colour.
#[derive(Deserialize, JsonSchema)]
struct Coloured {
    color: String,
}

/// The form that asks for a confirmation.
#[derive(Deserialize, JsonSchema)]
struct Confirmed {
    ok: bool,
}

pub(crate) struct TestElicitation;

impl Tool for TestElicitation {
    const NAME: &'static str = "test_input_required_result_elicitation";
    const DESCRIPTION: &'static str = "Asks the person for their name, and greets them.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text(format!("Hello, {}!", user_name(context)?)))
    }
}

pub(crate) struct TestSampling;

impl Tool for TestSampling {
    const NAME: &'static str = "test_input_required_result_sampling";
    const DESCRIPTION: &'static str = "Asks the client's language model for the capital of France.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let sampled = context.sample("capital_question", "What is the capital of France?", 100)?;
        Ok(Content::new().text(sampled.text))
    }
}

pub(crate) struct TestListRoots;

impl Tool for TestListRoots {
    const NAME: &'static str = "test_input_required_result_list_roots";
    const DESCRIPTION: &'static str = "Asks the client for its roots, and lists them.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text(listed(&context.roots("client_roots")?)))
    }
}

/// What it has asked, the host keeps in `requestState`. That it runs to its end means that the state came back as it was.
pub(crate) struct TestRequestState;

impl Tool for TestRequestState {
    const NAME: &'static str = "test_input_required_result_request_state";
    const DESCRIPTION: &'static str = "Asks the person to confirm, and tells that the state came back.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let is_ok = confirmed(context)?;
        Ok(Content::new().text(format!("state-ok, and the person said {}.", if is_ok { "yes" } else { "no" })))
    }
}

/// The suite sends another state back, and the host refuses that before anything runs.
pub(crate) struct TestTamperedState;

impl Tool for TestTamperedState {
    const NAME: &'static str = "test_input_required_result_tampered_state";
    const DESCRIPTION: &'static str = "Asks the person to confirm, and does not get to answer if the state was changed.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let is_ok = confirmed(context)?;
        Ok(Content::new().text(format!("The state was not changed, and the person said {}.", if is_ok { "yes" } else { "no" })))
    }
}

pub(crate) struct TestMultipleInputs;

impl Tool for TestMultipleInputs {
    const NAME: &'static str = "test_input_required_result_multiple_inputs";
    const DESCRIPTION: &'static str = "Asks the person, the client's language model and the client itself at once.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let answers = context.ask(&[
            Question::form::<Named>("user_name", "What is your name?"),
            Question::sampling("greeting", "Generate a greeting", 50),
            Question::roots("client_roots"),
        ])?;
        let [Some(name), Some(greeting), Some(roots)] = &answers[..] else {
            return Err(Failure::failed("the client does not take all three questions: elicitation, sampling and roots"));
        };
        let Named { name } = filled_in(Elicited::read(name)?)?;
        let (greeting, roots) = (Sampled::read(greeting)?.text, listed(&Root::read(roots)?));
        Ok(Content::new().text(format!("To {name}: {greeting} {roots}")))
    }
}

pub(crate) struct TestMultiRound;

impl Tool for TestMultiRound {
    const NAME: &'static str = "test_input_required_result_multi_round";
    const DESCRIPTION: &'static str = "Asks the person for their name, and then for their favorite color.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let Named { name } = filled_in(context.elicit("step1", "Step 1: What is your name?")?)?;
        let Coloured { color } = filled_in(context.elicit("step2", "Step 2: What is your favorite color?")?)?;
        Ok(Content::new().text(format!("{name} likes {color}.")))
    }
}

/// Of what it asks, the host asks only what the client takes.
pub(crate) struct TestCapabilities;

impl Tool for TestCapabilities {
    const NAME: &'static str = "test_input_required_result_capabilities";
    const DESCRIPTION: &'static str =
        "Asks the person and the client's language model, as far as the client takes questions to them.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, context: &Context) -> Result<Content, Failure> {
        let questions = [
            Question::form::<Named>("user_name", "What is your name?"),
            Question::sampling("greeting", "Generate a greeting", 50),
        ];
        let answers = context.ask(&questions)?;
        let told: Vec<_> =
            questions.iter().zip(&answers).filter(|(_, answer)| answer.is_some()).map(|(it, _)| it.kind()).collect();
        Ok(Content::new().text(format!("Answered: {}.", if told.is_empty() { "nothing".to_owned() } else { told.join(", ") })))
    }
}

/// The name of the person in front of the client.
pub(crate) fn user_name(context: &Context) -> Result<String, Failure> {
    Ok(filled_in::<Named>(context.elicit("user_name", "What is your name?")?)?.name)
}

/// What the person filled in, if they did.
pub(crate) fn filled_in<T: DeserializeOwned>(answer: Elicited<T>) -> Result<T, Failure> {
    answer.accepted().ok_or_else(|| Failure::failed("the person did not want to answer"))
}

fn confirmed(context: &Context) -> Result<bool, Failure> {
    let answer = context.elicit::<Confirmed>("confirm", "Please confirm")?;
    Ok(answer.accepted().is_some_and(|confirmed| confirmed.ok))
}

fn listed(roots: &[Root]) -> String {
    let names: Vec<_> =
        roots.iter().map(|root| format!("{} ({})", root.uri, root.name.as_deref().unwrap_or("no name"))).collect();
    format!("Roots: {}.", if names.is_empty() { "none".to_owned() } else { names.join(", ") })
}

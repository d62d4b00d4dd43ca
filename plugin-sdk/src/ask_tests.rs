//! Questions and answers, against a stand-in for the host.

use serde_json::Value;

use super::*;
use crate::code;
use crate::http::Method;
use crate::testing::{Host, INPUT_REQUIRED, accepted, reply, too_slow};

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Person {
    name: String,
    age: Option<u8>,
}

#[test]
fn questions_are_the_requests_of_the_protocol() {
    let questions = [
        Question::form::<Person>("who", "Who?"),
        Question::url("pay", "Pay here.", "https://pay.example/7"),
        Question::sampling("title", "A title?", 20).with("systemPrompt", "Be brief.").with("maxTokens", 10),
        Question::roots("folders"),
    ];
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer", "minimum": 0, "maximum": 255 } },
        "required": ["name"],
    });
    let messages = json!([{ "role": "user", "content": { "type": "text", "text": "A title?" } }]);
    let expected = [
        ("elicitation", "elicitation/create", json!({ "message": "Who?", "requestedSchema": schema })),
        (
            "elicitation/url",
            "elicitation/create",
            json!({ "mode": "url", "message": "Pay here.", "url": "https://pay.example/7" }),
        ),
        ("sampling", "sampling/createMessage", json!({ "messages": messages, "maxTokens": 10, "systemPrompt": "Be brief." })),
        ("roots", "roots/list", json!({})),
    ];
    for (question, (kind, method, params)) in questions.iter().zip(&expected) {
        assert_eq!((question.kind(), question.method(), question.params()), (*kind, *method, params));
    }
}

#[test]
fn a_person_accepts_declines_or_cancels() {
    let elicited = |answer: Value| Host::new().answers("who", answer).context().elicit::<Person>("who", "Who?");
    let ada = Person { name: "Ada".to_owned(), age: None };
    assert_eq!(elicited(accepted(json!({ "name": "Ada" }))), Ok(Elicited::Accepted(ada)));
    assert_eq!(elicited(json!({ "action": "decline" })), Ok(Elicited::Declined));
    assert_eq!(elicited(json!({ "action": "cancel", "content": {} })), Ok(Elicited::Cancelled));
    for answer in [accepted(json!({ "age": 3 })), json!({ "action": "accept" }), json!({ "action": "perhaps" }), json!(7)] {
        assert_eq!(elicited(answer).expect_err("it does not fit").code, code::FAILED);
    }
}

#[test]
fn yes_is_only_what_was_said_with_a_tick() {
    for (answer, is_yes) in [
        (accepted(json!({ "confirm": true })), true),
        (accepted(json!({ "confirm": false })), false),
        (json!({ "action": "decline" }), false),
        (json!({ "action": "cancel" }), false),
    ] {
        assert_eq!(Host::new().answers("sure", answer).context().confirm("sure", "Sure?"), Ok(is_yes));
    }
    for (answer, agreed) in [(json!({ "action": "accept" }), true), (json!({ "action": "decline" }), false)] {
        assert_eq!(Host::new().answers("pay", answer).context().open_url("pay", "Pay.", "https://pay.example"), Ok(agreed));
    }
}

#[test]
fn a_model_answers_in_one_block_or_several_and_a_client_names_its_folders() {
    let sampled = |content: Value| {
        let answer = json!({ "role": "assistant", "model": "m", "stopReason": "endTurn", "content": content });
        Host::new().answers("title", answer).context().sample("title", "A title?", 20)
    };
    let text = |text: &str| json!({ "type": "text", "text": text });
    let found = Sampled { text: "Tides".to_owned(), model: "m".to_owned(), stop_reason: Some("endTurn".to_owned()) };
    assert_eq!(sampled(text("Tides")), Ok(found.clone()));
    assert_eq!(sampled(json!([text("Ti"), { "type": "image", "data": "", "mimeType": "image/png" }, text("des")])), Ok(found));
    assert!(sampled(json!([])).is_err());

    let roots = |answer: Value| Host::new().answers("folders", answer).context().roots("folders");
    let found = Root { uri: "file:///a".to_owned(), name: None };
    assert_eq!(roots(json!({ "roots": [{ "uri": "file:///a" }] })), Ok(vec![found]));
    assert!(roots(json!({})).is_err());
}

#[test]
fn a_run_ends_at_the_first_questions_without_answers_and_the_next_goes_on_from_there() {
    let host = Host::new().answers("one", accepted(json!({ "confirm": true })));
    let run = |host: &Host| {
        let context = host.context();
        let one = context.confirm("one", "One?")?;
        let answers = context.ask(&[Question::roots("two"), Question::roots("three")])?;
        Ok((one, answers.len()))
    };
    let ended: Failure = run(&host).expect_err("there is no answer");
    assert_eq!(ended.code, INPUT_REQUIRED);
    assert_eq!(ended.message, "the run ends here until there is an answer to `two` (roots), `three` (roots)");
    let host = host.answers("two", json!({ "roots": [] }));
    assert!(run(&host).expect_err("one is open").message.ends_with("an answer to `three` (roots)"));
    let host = host.answers("three", json!({ "roots": [] }));
    assert_eq!(run(&host), Ok((true, 2)));
    assert_eq!(host.asked().iter().map(Question::key).collect::<Vec<_>>(), ["one", "two", "three"].repeat(3));
}

#[test]
fn what_can_not_be_asked_has_no_answer_and_helpers_say_what_it_takes() {
    let host = Host::new().cannot_ask("elicitation").answers("title", json!({ "content": { "text": "Tides" } }));
    let context = host.context();
    let answers =
        context.ask(&[Question::form::<Person>("who", "Who?"), Question::sampling("title", "?", 9)]).expect("one is there");
    assert_eq!((&answers[0], answers[1].is_some()), (&None, true));
    let failure = context.confirm("sure", "Sure?").expect_err("nobody can be asked");
    assert_eq!(failure.code, code::FAILED);
    assert_eq!(
        failure.message,
        "the tool needs an answer from the person in front of the client (`sure`), and can't ask in this call; the same call will \
         work no better: make it through a client that speaks MCP 2026-07-28 and declares the capability `elicitation`, or do without this tool"
    );
    let waits = context.open_url("page", "Open.", "https://a.example").expect_err("another kind");
    assert_eq!(waits.code, INPUT_REQUIRED);
}

#[test]
fn nothing_is_asked_once_something_may_have_changed() {
    let host = Host::new()
        .answers("sure", accepted(json!({ "confirm": true })))
        .answers("really", accepted(json!({ "confirm": true })))
        .answer("billing", Method::Get, "/", reply(200, &json!({})))
        .answer("billing", Method::Post, "/", too_slow());
    let context = host.context();
    let asks = |key| context.ask(&[Question::form::<Confirmation>(key, "Sure?")]).expect("an answer or none")[0].is_some();
    context.backend("billing").get(&[]).send().expect("it is read");
    context.backend("mail").post(&[]).send().expect_err("there is none, so nothing was sent");
    assert!(asks("sure"));
    context.backend("billing").post(&[]).send().expect_err("nobody knows what it did");
    assert!(!asks("really"));
    assert!(asks("sure"), "what was answered before is still answered");
    assert_eq!(host.context().confirm("sure", "Sure?"), Ok(true), "it is the call that has changed something");
}

#[test]
fn what_would_end_a_run_as_a_crash_does_fails_the_test() {
    fn crash(asked: impl Fn(&Context) -> Result<Vec<Option<Value>>, Failure>) -> String {
        let host = Host::new().cannot_ask("roots").cannot_ask("sampling");
        let run = std::panic::AssertUnwindSafe(|| asked(&host.context()));
        *std::panic::catch_unwind(run).expect_err("it is no question").downcast().expect("a message")
    }
    let roots = |from: usize, to: usize| (from..to).map(|at| Question::roots(&format!("q{at}"))).collect::<Vec<_>>();
    assert!(crash(|context| context.ask(&roots(0, 9))).contains("9 questions at a time"));
    assert!(
        crash(|context| (0..5).map(|at| context.ask(&roots(at * 8, at * 8 + 8))).last().expect("five")).contains("40 questions")
    );
    let long = "x".repeat(64 << 10);
    assert!(crash(|context| context.ask(&[Question::sampling("q", &long, 1)])).contains("65536 is the most"));
    for key in ["", "a b", "ä", &"x".repeat(65)] {
        assert!(crash(|context| context.ask(&[Question::roots(key)])).contains("is no key of a question"));
    }
    let double = "the tool asks two questions under the key `q`";
    assert_eq!(crash(|context| context.ask(&[Question::roots("q"), Question::roots("q")])), double);
    assert_eq!(
        crash(|context| context.ask(&[Question::roots("q")]).and(context.ask(&[Question::sampling("q", "?", 1)]))),
        double
    );
    let context = Host::new().cannot_ask("roots").context();
    let again = || context.ask(&[Question::roots("q")]);
    assert_eq!((again(), again()), (Ok(vec![None]), Ok(vec![None])));
}

#[test]
#[should_panic(expected = "`elicit` is no kind of question; there are `elicitation`, `elicitation/url`, `sampling`, `roots`")]
fn a_kind_that_there_is_not_can_not_be_refused() {
    let _ = Host::new().cannot_ask("elicit");
}

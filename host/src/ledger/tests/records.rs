//! What is written down about a call, and what must not be.

use super::*;

#[tokio::test]
async fn intent_and_outcome_say_everything_about_a_call() {
    let world = World::new();
    let call = write("key-1").with(json!({ "invoice_id": "inv-1", "idempotency_key": "key-1" }));
    world.run(&call, &answer("paid")).await;
    let bodies = world.bodies();
    let [(Kind::Intent, intent), (Kind::Outcome, outcome)] = &bodies[..] else { panic!("{bodies:?}") };
    let claim = call.request().claim().to_string();
    let print = world.ledger.inner.secret.print(&call.arguments).to_string();
    assert_eq!(
        *intent,
        json!({
            "arguments": { "invoice_id": "inv-1" },
            "basis": { "scopes": ["write:invoices"] },
            "claim": claim,
            "client": "client-1",
            "component": Digest([7; 32]).to_string(),
            "decision": "allow",
            "effect": "write",
            "fuel_limit": 50_000_000,
            "issuer": "https://issuer.example",
            "plugin": "invoices",
            "plugin_version": "0.1.0",
            "policies": ["scope:write:invoices"],
            "print": print,
            "queued_us": 120,
            "risk": "high",
            "scopes": { "excess": ["read:reports"], "missing": [] },
            "subject": "u1",
            "tool": "pay_invoice",
            "trace_id": call.trace.trace_id(),
        })
    );
    assert_eq!(
        *outcome,
        json!({
            "answer": answer("paid").value,
            "answer_bytes": serde_json::to_vec(&answer("paid").value).expect("JSON").len(),
            "disposition": "done",
            "ended": "completed",
            "fuel": 12_345,
            "intent": 1,
            "is_error": false,
            "latency_us": 850,
            "log": { "dropped_bytes": 0, "lines": ["paying"] },
            "memory_peak": 1 << 20,
            "risk": "high",
            "sent": [{
                "backend": "billing", "bytes_in": 60, "bytes_out": 40, "latency_us": 650, "method": "POST",
                "path": "/invoices/inv-1/pay", "request": 2, "status": 201
            }],
            "sent_count": 1,
            "tool": "pay_invoice",
            "trace_id": call.trace.trace_id(),
        })
    );
    let records = world.ledger.records(1, 10).expect("readable");
    assert!(records.iter().all(|record| record.head.call == Some(call.id)
        && record.head.generation == GENERATION.number
        && record.head.policy == GENERATION.policies));
}

#[tokio::test]
async fn members_of_a_body_stand_in_canonical_order() {
    let world = World::new();
    let mut call = write("key-1").with(json!({ "a": "x", "card": "1234" }));
    call.redact = vec!["/card".to_owned()];
    call.principal.tenant = Some("t".to_owned());
    world.run(&call, &StoredResponse { value: json!({ "a": true }), is_error: true }).await;
    let denied = crate::model::Rejection::Denied(Verdict { errors: vec!["e".to_owned()], ..call.verdict.clone() });
    world.ledger.record_rejection(&rejection(&call, &denied)).await.expect("recorded");
    world.settle().await;
    for record in world.ledger.records(1, 10).expect("readable") {
        let body = record.body.expect("there");
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        let canonical = serde_json_canonicalizer::to_vec(&value).expect("canonical");
        assert_eq!(String::from_utf8(body), String::from_utf8(canonical));
    }
}

#[tokio::test]
async fn long_arguments_and_answers_are_kept_whole_or_by_digest() {
    let world = World::new();
    let long = "x".repeat(10_000);
    let mut unkeyed = read("-").with(json!({ "text": long }));
    unkeyed.principal.client = None;
    let intent = world.intent(&unkeyed, None).await.expect("recorded");
    world.end(intent, Disposition::Done, &answer(&long)).await.expect("recorded");
    let keyed = write("key-1").with(json!({ "text": long }));
    world.run(&keyed, &answer(&long)).await;
    let bodies: Vec<Value> = world.bodies().into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies[0]["arguments"]["text"], long, "arguments are kept whole");
    assert_eq!(bodies[1]["answer"], Value::Null, "a read's long answer is not");
    assert_eq!(bodies[1]["answer_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(bodies[2]["arguments"]["text"], long);
    assert_eq!(bodies[3]["answer"], answer(&long).value, "a write's is");
    world.verified();
}

#[tokio::test]
async fn a_reads_outcome_never_needs_a_file() {
    let world = World::new();
    let call = read("-");
    let intent = world.intent(&call, None).await.expect("recorded");
    let mut outcome = outcome();
    outcome.log.lines = (0..1000).map(|n| format!("{n} \u{1}\"{}", "\\".repeat(200))).collect();
    outcome.ended =
        Ended::Failed(crate::model::Failure { code: ErrorCode::Failed, message: "\u{1}".repeat(10_000), retry_after: None });
    outcome.sent = vec![Sent { path: "\u{1}".repeat(2_000), backend: "b".repeat(2_000), ..outcome.sent[0].clone() }; 100];
    let answer = answer(&"\"".repeat(900));
    let facts = OutcomeFacts { error: Some(ErrorCode::Failed), ..ended(&outcome, &answer) };
    world.ledger.record_outcome(intent, &facts).await.expect("recorded");
    world.settle().await;
    let files = std::fs::read_dir(world.dir.path().join("bodies")).expect("readable").count();
    assert_eq!(files, 1, "only the folder for unfinished ones");
    let (_, body) = world.bodies().remove(1);
    assert_eq!((&body["sent_count"], &body["error"]), (&json!(100), &json!("failed")));
    world.verified();
}

#[tokio::test]
async fn what_a_manifest_redacts_is_nowhere_in_the_folder() {
    const CANARY: &str = "4111-1111-1111-1234";
    const NUMBER: u64 = 5_500_005_555_554_321;
    let world = World::new();
    let mut call = write("CANARY-KEY-1").with(json!({
        "invoice_id": "inv-1",
        "card": { "number": CANARY, "owner": "Ada \"the\" Countess" },
        "account": NUMBER,
        "idempotency_key": "CANARY-KEY-1",
    }));
    call.redact = vec!["/card".to_owned(), "account".to_owned(), "/absent".to_owned()];
    let echo = json!({ "structured": { "number": CANARY, "account": NUMBER }, "content": [{ "type": "text", "text": json!({ "card": call.arguments["card"] }).to_string() }] });
    let answer = StoredResponse { value: echo, is_error: false };
    let mut outcome = outcome();
    outcome.log.lines = vec![format!("charging {CANARY} of account {NUMBER}")];
    outcome.sent[0].path = format!("/cards/{CANARY}");
    outcome.ended = Ended::Trapped(crate::model::Trap::Guest(format!("panicked on {CANARY}")));
    let lease = world.lease(&call);
    let intent = world.intent(&call, Some(lease)).await.expect("recorded");
    let facts = ended(&outcome, &answer);
    world.ledger.record_outcome(intent, &facts).await.expect("recorded");
    let denied = crate::model::Rejection::Denied(call.verdict.clone());
    let again = call.again();
    let facts = RejectionFacts { arguments: Some((&again.arguments, &call.redact)), ..rejection(&again, &denied) };
    world.ledger.record_rejection(&facts).await.expect("recorded");
    let world = world.reopen().await;

    assert!(
        matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.response == answer),
        "yet the replay has it"
    );
    let intent = &world.bodies()[0].1;
    assert_eq!(intent["arguments"]["invoice_id"], "inv-1");
    assert_eq!(intent["arguments"]["card"]["redacted"].as_str().map(str::len), Some(64));
    let number = NUMBER.to_string();
    for secret in [CANARY, "CANARY-KEY-1", "Countess", &number] {
        assert_eq!(search(world.dir.path(), secret.as_bytes()), Vec::<PathBuf>::new(), "{secret}");
    }
    assert!(!search(world.dir.path(), b"intent").is_empty(), "the search finds what is there");
    assert!(search(world.dir.path(), b"inv-1").is_empty(), "what is about somebody is sealed with their key");
}

/// The files under `folder` that contain `needle`.
fn search(folder: &std::path::Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(search(&path, needle));
        } else if std::fs::read(&path).expect("readable").windows(needle.len()).any(|window| window == needle) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_redacted_value_can_be_proven_but_not_compared_across_records() {
    let world = World::new();
    let mut call = write("key-1").with(json!({ "card": "4111" }));
    call.redact = vec!["/card".to_owned()];
    world.run(&call, &answer("paid")).await;
    world.run(&Call { key: "key-2".parse().expect("a key"), ..call.again() }, &answer("paid")).await;
    let bodies = world.bodies();
    assert_ne!(bodies[0].1["arguments"]["card"], bodies[2].1["arguments"]["card"]);

    let salt = [3; 32];
    let secret = &world.ledger.inner.secret;
    let (value, other) = (json!("4111"), json!("4112"));
    let (commitment, opening) = (secret.commit(&salt, "/card", &value), secret.opening(&salt, "/card", &value));
    assert!(secret::opens(&commitment, &opening, &value), "whoever is given the opening needs no secret");
    assert!(!secret::opens(&commitment, &opening, &other));
    assert!(!secret::opens(&commitment, &secret.opening(&salt, "/card", &other), &other));
}

#[tokio::test]
async fn what_looks_like_a_secret_is_stored_nowhere_even_if_no_manifest_says_so() {
    const CARD: &str = "4111 1111 1111 1111";
    const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
    let world = World::new();
    let call = write("key-1").with(json!({
        "note": format!("charge {CARD} please"), "aws": KEY, "password": "hunter22", "list": [{ "deep": CARD }], "fine": "inv-1",
    }));
    let echo = json!({ "text": format!("charged {CARD}"), "token": "t0psecret", "said": "hunter22 it was", "n": 4_111_111_111_111_111_u64 });
    world.run(&call, &StoredResponse { value: echo, is_error: false }).await;
    let bodies = world.bodies();
    let (arguments, answer) = (&bodies[0].1["arguments"], &bodies[1].1["answer"]);
    let all = format!("{arguments} {answer}");
    for secret in [CARD, KEY, "hunter22", "t0psecret", "4111111111111111"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    let note = arguments["note"].as_str().expect("a text");
    assert!(note.starts_with("charge [card ") && note.ends_with("] please"), "{note}");
    assert_eq!((&arguments["aws"]["kind"], &arguments["password"]["kind"]), (&json!("credential"), &json!("named")));
    assert_eq!((&arguments["list"][0]["deep"]["kind"], &arguments["fine"]), (&json!("card"), &json!("inv-1")));
}

pub(super) fn rejection<'a>(call: &'a Call, why: &'a crate::model::Rejection) -> RejectionFacts<'a> {
    RejectionFacts {
        call: call.id,
        trace: &call.trace,
        principal: Some(&call.principal),
        tool: call.tool.as_str(),
        arguments: None,
        delta: Some(call.delta.clone()),
        claims: BTreeMap::new(),
        generation: GENERATION,
        hidden: false,
        why: WhyNot::Rejected(why),
    }
}

#[tokio::test]
async fn repeated_rejections_of_a_caller_are_counted_not_written() {
    let world = World::new();
    let call = write("key-1");
    let denied = crate::model::Rejection::Denied(call.verdict.clone());
    for _ in 0..1000 {
        world.ledger.record_rejection(&rejection(&call.again(), &denied)).await.expect("noted");
    }
    let other = crate::model::Rejection::KeyRequired;
    world.ledger.record_rejection(&rejection(&call, &other)).await.expect("noted");
    let replayed =
        RejectionFacts { why: WhyNot::Replayed { of: call.id, verdict: &call.verdict, rows: None }, ..rejection(&call, &other) };
    world.ledger.record_rejection(&replayed).await.expect("noted");
    let world = world.reopen().await;
    let bodies = world.bodies();
    assert!(bodies.iter().all(|(kind, _)| *kind == Kind::Rejection));
    assert!(
        (4..=6).contains(&bodies.len()),
        "one at once, the counts of a second or two, and one of each other kind: {}",
        bodies.len()
    );
    let denied: u64 = bodies
        .iter()
        .filter(|(_, body)| body["code"] == "permission_denied")
        .map(|(_, body)| body["repeated"]["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(denied, 1000);
    let replay = bodies.iter().find(|(_, body)| body["code"] == "replayed").expect("it is a record of its own");
    assert_eq!(replay.1["replay_of"], call.id.to_string());
    world.verified();
}

#[tokio::test]
async fn a_caller_whose_key_can_not_be_read_takes_nobody_elses_count_along() {
    let world = World::new();
    let inner = &world.ledger.inner;
    let tag = |subject: &str| inner.secret.subject("https://issuer.example", subject);
    // Others, whose keys are in other files.
    let subjects: Vec<_> = (0..).map(|n| format!("u{n}")).filter(|subject| tag(subject).0[0] != tag("u0").0[0]).take(8).collect();
    let why = crate::model::Rejection::KeyRequired;
    for subject in std::iter::once("u0").chain(subjects.iter().map(String::as_str)) {
        let mut call = write("key-1");
        subject.clone_into(&mut call.principal.subject);
        for _ in 0..3 {
            world.ledger.record_rejection(&rejection(&call, &why)).await.expect("recorded");
        }
    }
    world.settle().await;
    // The key goes, and where the next one is to be is no file.
    let lost = inner.subjects.ids(&tag("u0")).expect("readable").remove(0);
    inner.subjects.destroy(&lost).expect("writable");
    let file = world.dir.path().join("keys/subjects").join(format!("{:02x}", tag("u0").0[0]));
    std::fs::rename(&file, file.with_extension("kept")).expect("movable");
    std::fs::create_dir(&file).expect("creatable");
    inner.write_counts(true);
    world.settle().await;
    std::fs::remove_dir(&file).expect("removable");
    std::fs::rename(file.with_extension("kept"), &file).expect("movable");
    let records = world.ledger.records(1, usize::MAX).expect("readable").into_iter().filter_map(|record| record.body);
    let bodies: Vec<Value> = records.map(|body| serde_json::from_slice(&body).expect("JSON")).collect();
    for subject in &subjects {
        let mut counts = bodies.iter().filter(|body| body["subject"] == json!(subject)).map(|body| &body["repeated"]["count"]);
        assert!(counts.any(|count| *count == json!(2)), "{subject} was turned away three times: {bodies:?}");
    }
}

#[tokio::test]
async fn anonymous_and_invented_calls_buy_no_writes() {
    let world = World::new();
    let call = write("key-1");
    let unauthenticated = crate::model::Rejection::Unauthenticated("no token".to_owned());
    let anonymous = RejectionFacts { principal: None, ..rejection(&call, &unauthenticated) };
    let invented: Vec<_> =
        (0..100).map(|n| (format!("tool_{n}"), crate::model::Rejection::UnknownTool(format!("tool_{n}")))).collect();
    for (tool, unknown) in &invented {
        world.ledger.record_rejection(&anonymous).await.expect("counted");
        world.ledger.record_rejection(&RejectionFacts { tool, ..rejection(&call, unknown) }).await.expect("noted");
    }
    assert_eq!(world.ledger.unrecorded_rejections(), 100);
    let world = world.reopen().await;
    assert!((2..=4).contains(&world.bodies().len()), "{:?}", world.bodies());
}

#[tokio::test]
async fn a_rejection_fits_into_a_row_whatever_is_in_it() {
    let world = World::new();
    let mut call = write("key-1").with(json!({ "text": "x".repeat(10_000) }));
    call.principal.subject = "\u{1}".repeat(5_000);
    call.verdict.policies = vec!["p".repeat(1_000); 100];
    call.verdict.errors = vec!["e".repeat(1_000); 100];
    let denied = crate::model::Rejection::Denied(call.verdict.clone());
    let facts = RejectionFacts { arguments: Some((&call.arguments, &[])), ..rejection(&call, &denied) };
    world.ledger.record_rejection(&facts).await.expect("recorded");
    world.settle().await;
    assert_eq!(world.bodies()[0].1["code"], "permission_denied");
}

#[tokio::test]
async fn records_can_be_read_from_anywhere() {
    let world = World::new();
    for n in 0..40 {
        world.run(&write(&format!("key-{n}")), &answer("paid")).await;
    }
    for from in [1, 2, 3, 17, 39, 80] {
        let found = world.ledger.records(from, 5).expect("readable");
        let seqs: Vec<_> = found.iter().map(|record| record.head.seq).collect();
        assert_eq!(seqs, (from..=80).take(5).collect::<Vec<_>>());
    }
    assert!(world.ledger.records(81, 5).expect("readable").is_empty());
    let tip = world.ledger.tip().expect("readable");
    assert_eq!((world.verified().records, world.verified().tip), (80, tip));
}

#[tokio::test]
async fn the_record_counts_the_rows_and_holds_what_was_delivered_while_a_replay_gets_the_whole() {
    let world = World::new();
    let call = write("key-1");
    let intent = world.intent(&call, Some(world.lease(&call))).await.expect("the intent is recorded");
    let (outcome, told, kept) = (outcome(), answer("mine"), answer("mine and THEIRS"));
    let policies = std::collections::BTreeSet::from(["rows".to_owned()]);
    let asked = RowTally { allowed: 1, ..RowTally::default() };
    let delivered = RowTally { allowed: 1, denied: 2, policies, ..RowTally::default() };
    let facts = OutcomeFacts { kept: &kept, asked: &asked, delivered: &delivered, ..ended(&outcome, &told) };
    world.ledger.record_outcome(intent, &facts).await.expect("recorded");
    let world = world.reopen().await;

    let body = &world.bodies()[1].1;
    assert_eq!(body["rows"], json!({ "allowed": 1, "denied": 2, "policies": ["rows"] }));
    assert_eq!(body["permits"], json!({ "allowed": 1, "denied": 0 }));
    assert!(!body.to_string().contains("THEIRS"), "the log holds what left the host");
    assert!(matches!(world.claim(&call.again()), Ok(Claim::Replay(replay)) if replay.response == kept));
}

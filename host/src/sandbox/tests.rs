//! The sandbox against guests written by hand: each does one thing that a guest should not be able to do to others.

mod compiled;

use std::future::poll_fn;
use std::task::Poll;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::model::{ErrorCode, Trap};

/// Around a core module with `call` and `describe`: the component a compiler would have made.
const TYPES: &str = r#"
    (type $definition' (record (field "name" string) (field "title" (option string)) (field "description" string)
      (field "input-schema" string) (field "output-schema" (option string)) (field "annotations" (option string))))
    (type $request' (record (field "tool" string) (field "arguments" string)))
    (type $output' (record (field "structured" (option string)) (field "content" string)))
    (type $failure' (record (field "code" string) (field "message" string) (field "retry-after-seconds" (option u32))))
"#;

/// Result area at 1024: `ok(output { structured: some("{}"), content: "[]" })`.
const ANSWER: &str = r#"
    (i32.store (i32.const 1028) (i32.const 1))
    (i32.store (i32.const 1032) (i32.const 16)) (i32.store (i32.const 1036) (i32.const 2))
    (i32.store (i32.const 1040) (i32.const 18)) (i32.store (i32.const 1044) (i32.const 2))
    (i32.const 1024)"#;

/// A plugin whose `call` runs `body`, as text.
fn plugin(body: &str) -> String {
    format!(
        r#"(component
  (import "tidegate:plugin/host@0.1.0" (instance $host
    (export "permits" (func (param "resource" string) (param "row" string) (result bool)))))
  {TYPES}
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 2048))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next (i32.add (global.get $next) (local.get 3)))
      (local.get $at))
    (data (i32.const 16) "{{}}[]"))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (alias export $host "permits" (func $permits))
  (core func $permits (canon lower (func $permits) (memory $mem) (realloc $realloc)))
  (core module $guest
    (import "env" "memory" (memory 1))
    (import "env" "permits" (func $permits (param i32 i32 i32 i32) (result i32)))
    (func $recurse (export "recurse") (result i32) (i32.add (i32.const 1) (call $recurse)))
    (func (export "describe") (result i32) (i32.const 512))
    (func (export "call") (param i32 i32 i32 i32) (result i32) {body}))
  (core instance $guest (instantiate $guest
    (with "env" (instance (export "memory" (memory $mem)) (export "permits" (func $permits))))))
  (alias core export $guest "describe" (core func $describe))
  (alias core export $guest "call" (core func $call))
  (func $describe (result (list $definition')) (canon lift (core func $describe) (memory $mem) (realloc $realloc)))
  (func $call (param "r" $request') (result (result $output' (error $failure')))
    (canon lift (core func $call) (memory $mem) (realloc $realloc)))
  (component $shim
    {TYPES}
    (import "definition" (type $definition-in (eq $definition')))
    (import "request" (type $request-in (eq $request')))
    (import "output" (type $output-in (eq $output')))
    (import "failure" (type $failure-in (eq $failure')))
    (import "describe" (func $describe (result (list $definition-in))))
    (import "call" (func $call (param "r" $request-in) (result (result $output-in (error $failure-in)))))
    (export $definition "definition" (type $definition'))
    (export $request "request" (type $request'))
    (export $output "output" (type $output'))
    (export $failure "failure" (type $failure'))
    (export "describe" (func $describe) (func (result (list $definition))))
    (export "call" (func $call) (func (param "r" $request) (result (result $output (error $failure))))))
  (instance $tools (instantiate $shim
    (with "definition" (type $definition')) (with "request" (type $request')) (with "output" (type $output'))
    (with "failure" (type $failure')) (with "describe" (func $describe)) (with "call" (func $call))))
  (export "tidegate:plugin/tools@0.1.0" (instance $tools)))"#
    )
}

fn sandbox(config: SandboxConfig) -> Arc<Sandbox> {
    Arc::new(Sandbox::new(&config, |_| false).expect("the limits are consistent"))
}

/// Small enough to be quick to set up.
fn small() -> SandboxConfig {
    SandboxConfig { max_instances: 8, max_memory: model::Bytes::mib(16), ..SandboxConfig::default() }
}

fn compile_bytes(sandbox: &Sandbox, wasm: &[u8]) -> Result<Program, CompileError> {
    sandbox.compile(wasm, &model::Digest(Sha256::digest(wasm).into()))
}

fn compile(sandbox: &Sandbox, text: &str) -> Result<Program, CompileError> {
    compile_bytes(sandbox, &wat::parse_str(text).expect("the guest is well formed"))
}

fn program(sandbox: &Sandbox, body: &str) -> Program {
    compile(sandbox, &plugin(body)).expect("the guest is a plugin")
}

fn invocation() -> Invocation {
    Invocation {
        tool: "any".to_owned(),
        arguments: "{}".to_owned(),
        limits: CallLimits { fuel: 50_000_000, memory: model::Bytes::mib(16), deadline: Duration::from_secs(60) },
        supply: Supply::own(),
        context: GuestContext { subject: "u1".to_owned(), trace_id: "0".repeat(32), attempt: 1, idempotency_key: None },
        host: HostFunctions {
            permits: Box::new(|_, _| false),
            row_filter: Box::new(|| None),
            ask: Box::new(|questions| Ok(vec![None; questions.len()])),
            send: Arc::new(|_, _| Box::pin(async { Err(io::ErrorKind::PermissionDenied.into()) })),
            https: false,
            progress: Box::new(|_, _, _| {}),
            log: Box::new(|_, _| {}),
            cancelled: CancellationToken::new(),
        },
        stop: CancellationToken::new(),
    }
}

/// More fuel than any test waits for.
fn endless() -> Invocation {
    let invocation = invocation();
    Invocation { limits: CallLimits { fuel: u64::MAX, ..invocation.limits }, ..invocation }
}

const SPIN: &str = "(loop $spin (br $spin)) (unreachable)";
const RECURSE: &str = "(call $recurse)";
const PERMITS: &str = "(call $permits (i32.const 16) (i32.const 2) (i32.const 16) (i32.const 2)) drop";

async fn trap_of(body: &str) -> Trap {
    let sandbox = sandbox(small());
    let execution = sandbox.execute(&program(&sandbox, body), invocation()).await;
    match execution.ended {
        Ended::Trapped(trap) => trap,
        other => panic!("it ended as {other:?}"),
    }
}

#[tokio::test]
async fn an_honest_guest_answers_and_pays_for_what_it_did() {
    let sandbox = sandbox(small());
    let program = program(&sandbox, ANSWER);
    let first = sandbox.execute(&program, invocation()).await;
    let Ended::Completed(output) = &first.ended else { panic!("it ended as {:?}", first.ended) };
    assert_eq!((output.structured.clone(), output.content.len()), (Some(serde_json::json!({})), 0));
    assert!(first.fuel > 0 && first.memory_peak >= 64 << 10);
    assert_eq!(sandbox.execute(&program, invocation()).await.fuel, first.fuel, "the same call costs the same");
}

#[tokio::test]
async fn describing_needs_no_call() {
    let sandbox = sandbox(small());
    assert_eq!(sandbox.describe(&program(&sandbox, SPIN)).await.expect("it lists no tools"), []);
}

#[tokio::test]
async fn a_spinning_guest_burns_its_fuel_and_no_more() {
    let sandbox = sandbox(small());
    let execution = sandbox.execute(&program(&sandbox, SPIN), invocation()).await;
    assert_eq!((execution.ended, execution.fuel), (Ended::Trapped(Trap::OutOfFuel), 50_000_000));
}

#[tokio::test]
async fn a_guest_with_too_much_fuel_is_ended_by_its_deadline() {
    let sandbox = sandbox(small());
    let mut slow = endless();
    slow.limits.deadline = Duration::from_millis(50);
    let execution = sandbox.execute(&program(&sandbox, SPIN), slow).await;
    assert_eq!(execution.ended, Ended::Trapped(Trap::DeadlineExceeded));
    assert!(execution.fuel >= small().slice_fuel, "{}", execution.fuel);
}

#[tokio::test]
async fn a_guest_that_allocates_without_end_is_out_of_memory_however_it_takes_it() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)";
    assert_eq!(trap_of(grow).await, Trap::OutOfMemory);
}

#[tokio::test]
async fn a_guest_that_recurses_without_end_traps_and_the_host_lives() {
    let Trap::Guest(crash) = trap_of(RECURSE).await else { panic!("recursion is the guest's own fault") };
    assert!(crash.contains("call stack exhausted") && crash.contains("recurse"), "{crash}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_out_of_bounds_is_output_invalid() {
    let sandbox = sandbox(small());
    let large = ANSWER.replace("(i32.const 1044) (i32.const 2)", "(i32.const 1044) (i32.const 8388608)");
    for body in [format!("(drop (memory.grow (i32.const 200))) {large}"), large] {
        let execution = sandbox.execute(&program(&sandbox, &body), invocation()).await;
        let Ended::Failed(failure) = execution.ended else { panic!("it ended as {:?}", execution.ended) };
        assert_eq!(failure.code, ErrorCode::OutputInvalid, "{}", failure.message);
    }
}

#[tokio::test]
async fn host_calls_are_not_free() {
    let sandbox = sandbox(small());
    let plain = sandbox.execute(&program(&sandbox, ANSWER), invocation()).await.fuel;
    let asking = sandbox.execute(&program(&sandbox, &format!("{PERMITS} {ANSWER}")), invocation()).await.fuel;
    assert!(asking >= plain + super::meter::PERMITS, "{asking} after {plain}");
    assert_eq!(trap_of(&format!("(loop $ask {PERMITS} (br $ask)) (unreachable)")).await, Trap::OutOfFuel);
}

/// Fuel that is drawn as told: first so much, then whatever `draw` answers.
fn rationed(drawn: u64, draw: impl Fn(u64) -> Fuel + Send + Sync + 'static) -> Supply {
    Supply { drawn, draw: Arc::new(draw), ..Supply::own() }
}

fn parked() -> Fuel {
    Fuel::Later(Box::pin(std::future::pending()))
}

#[tokio::test]
async fn a_guest_without_fuel_is_parked_holds_no_slot_and_is_ended_by_its_deadline() {
    let sandbox = sandbox(SandboxConfig { max_running: std::num::NonZeroUsize::new(1), ..small() });
    let (spin, answer) = (program(&sandbox, SPIN), program(&sandbox, ANSWER));
    let slice = small().slice_fuel;
    let mut dry = Invocation { supply: rationed(2 * slice, |_| parked()), ..endless() };
    dry.limits.deadline = Duration::from_millis(200);
    let mut dry = Box::pin(sandbox.execute(&spin, dry));
    // Three polls: two slices, and then there is nothing for a third.
    for _ in 0..3 {
        assert!(poll_fn(|cx| Poll::Ready(dry.as_mut().poll(cx).is_pending())).await);
    }
    assert!(matches!(sandbox.execute(&answer, invocation()).await.ended, Ended::Completed(_)));
    let execution = dry.await;
    assert_eq!(execution.ended, Ended::Trapped(Trap::DeadlineExceeded));
    assert!((slice..=2 * slice).contains(&execution.fuel), "{}", execution.fuel);
}

#[tokio::test]
async fn a_parked_guest_goes_on_where_it_was_once_there_is_fuel() {
    let sandbox = sandbox(small());
    let plain = sandbox.execute(&program(&sandbox, ANSWER), invocation()).await.fuel;
    let (sender, receiver) = tokio::sync::watch::channel(0_u64);
    let draw = move |_| {
        let mut receiver = receiver.clone();
        Fuel::Later(Box::pin(async move { *receiver.wait_for(|drawn| *drawn > 0).await.expect("it is sent") }))
    };
    let program = program(&sandbox, ANSWER);
    let mut call = Box::pin(sandbox.execute(&program, Invocation { supply: rationed(0, draw), ..invocation() }));
    assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
    sender.send(u64::MAX).expect("it waits");
    let execution = call.await;
    assert!(matches!(execution.ended, Ended::Completed(_)));
    assert_eq!(execution.fuel, plain);
}

#[tokio::test]
async fn what_the_host_did_is_paid_for_before_the_guest_goes_on() {
    let sandbox = sandbox(small());
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    // Enough to get there, and not enough to pay for what it asks.
    let supply = rationed(small().slice_fuel + super::meter::PERMITS / 2, |_| parked());
    let mut call = Invocation { supply, ..invocation() };
    call.limits.deadline = Duration::from_millis(200);
    let count = Arc::clone(&asked);
    call.host.permits = Box::new(move |_, _| count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0);
    let program = program(&sandbox, &format!("(loop $ask {PERMITS} (br $ask)) (unreachable)"));
    let execution = sandbox.execute(&program, call).await;
    assert_eq!((execution.ended, asked.load(std::sync::atomic::Ordering::Relaxed)), (Ended::Trapped(Trap::DeadlineExceeded), 1));
    assert!(execution.fuel > super::meter::PERMITS, "it is charged for all the same: {}", execution.fuel);
}

#[tokio::test]
async fn no_guest_burns_more_than_was_drawn_for_it() {
    let sandbox = sandbox(small());
    for body in [SPIN.to_owned(), format!("(loop $ask {PERMITS} (br $ask)) (unreachable)"), ANSWER.to_owned()] {
        let drawn = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let seen = Arc::clone(&drawn);
        let supply = rationed(0, move |total| {
            seen.fetch_max(total, std::sync::atomic::Ordering::Relaxed);
            Fuel::Now(total)
        });
        let execution = sandbox.execute(&program(&sandbox, &body), Invocation { supply, ..invocation() }).await;
        let drawn = drawn.load(std::sync::atomic::Ordering::Relaxed);
        assert!(execution.fuel <= drawn && drawn <= 50_000_000, "{} of {drawn}", execution.fuel);
        assert!(drawn <= execution.fuel + 2 * small().slice_fuel, "no more is drawn than is about to be burned");
    }
}

#[tokio::test]
async fn a_panic_of_the_host_ends_the_call_and_nothing_else() {
    let sandbox = sandbox(small());
    let program = program(&sandbox, &format!("{PERMITS} {ANSWER}"));
    let mut unlucky = invocation();
    unlucky.host.permits = Box::new(|_, _| panic!("as the test asked for"));
    let execution = sandbox.execute(&program, unlucky).await;
    assert!(matches!(execution.ended, Ended::Trapped(Trap::Guest(_))), "{:?}", execution.ended);
    assert!(matches!(sandbox.execute(&program, invocation()).await.ended, Ended::Completed(_)));
}

#[tokio::test]
async fn honest_calls_go_on_beside_spinners_on_one_thread_and_one_slot() {
    let sandbox = sandbox(SandboxConfig { max_running: std::num::NonZeroUsize::new(1), ..small() });
    let (spin, answer) = (program(&sandbox, SPIN), program(&sandbox, ANSWER));
    let spinners: Vec<_> = (0..4)
        .map(|_| {
            let (sandbox, spin) = (Arc::clone(&sandbox), spin.clone());
            tokio::spawn(async move { sandbox.execute(&spin, endless()).await })
        })
        .collect();
    for _ in 0..20 {
        assert!(matches!(sandbox.execute(&answer, invocation()).await.ended, Ended::Completed(_)));
    }
    assert!(spinners.iter().all(|spinner| !spinner.is_finished()));
    spinners.iter().for_each(|spinner| spinner.abort());
}

#[tokio::test]
async fn a_call_dropped_midway_gives_back_its_instance() {
    let sandbox = sandbox(SandboxConfig { max_instances: 1, ..small() });
    let (spin, answer) = (program(&sandbox, SPIN), program(&sandbox, ANSWER));
    for _ in 0..100 {
        let mut call = Box::pin(sandbox.execute(&spin, endless()));
        // Two polls: the guest is in the middle of its second slice.
        for _ in 0..2 {
            assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
        }
    }
    assert!(matches!(sandbox.execute(&answer, invocation()).await.ended, Ended::Completed(_)));
}

#[tokio::test]
async fn a_call_waits_for_a_place_no_longer_than_its_deadline() {
    let sandbox = sandbox(SandboxConfig { max_instances: 1, ..small() });
    let spin = program(&sandbox, SPIN);
    let mut first = Box::pin(sandbox.execute(&spin, endless()));
    assert!(poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending())).await);
    let mut second = invocation();
    second.limits.deadline = Duration::from_millis(20);
    let execution = sandbox.execute(&spin, second).await;
    assert_eq!((execution.ended, execution.fuel), (Ended::Trapped(Trap::DeadlineExceeded), 0));
}

#[tokio::test]
async fn a_stopped_call_is_cancelled() {
    let sandbox = sandbox(small());
    let call = endless();
    let stop = call.stop.clone();
    let program = program(&sandbox, SPIN);
    let (execution, ()) = tokio::join!(sandbox.execute(&program, call), async { stop.cancel() });
    assert_eq!(execution.ended, Ended::Cancelled);
}

#[test]
fn files_that_are_no_plugins_are_refused_in_words() {
    let sandbox = sandbox(small());
    let words = |text: &str| compile(&sandbox, text).err().map(|error| error.to_string()).expect("it is not a plugin");
    assert!(words("(module)").contains("wasm32-wasip2"));
    assert!(words("(component)").contains("tidegate:plugin/tools@0.1.1"));
    let other = words(r#"(component (instance $i) (export "tidegate:plugin/tools@0.3.0" (instance $i)))"#);
    assert!(other.contains("0.3.0") && other.contains("0.1.1"), "{other}");
    let store = plugin(ANSWER).replacen("(component", r#"(component (import "wasi:keyvalue/store@0.2.0" (instance))"#, 1);
    assert!(words(&store).contains("wasi:keyvalue/store@0.2.0"), "{}", words(&store));
    assert!(
        compile_bytes(&sandbox, b"#!/bin/sh").err().expect("it is a script").to_string().contains("not a WebAssembly component")
    );
    let broken = wat::parse_str("(component)").expect("well formed");
    assert!(matches!(compile_bytes(&sandbox, &[&broken[..], b"\xff\xff"].concat()), Err(CompileError::Invalid(_))));
}

#[test]
fn a_component_larger_than_allowed_is_not_even_looked_at() {
    let sandbox = sandbox(SandboxConfig { max_component: model::Bytes(4), ..small() });
    assert!(matches!(compile_bytes(&sandbox, b"\0asm\x0d\0\x01\0"), Err(CompileError::TooLarge { .. })));
}

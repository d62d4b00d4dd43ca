//! The life of one instance: a place in the pool, slices of CPU, a deadline, an end, and the account of what it took.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use wasmtime::Store;

use super::bindings::Plugin;
use super::bindings::exports::tidegate::plugin::tools;
use super::ending::{self, Stop};
use super::host::Call;
use super::meter::{Meter, Slice, Toll};
use super::slices::Sliced;
use super::state::State;
use super::{CallLimits, Definition, DescribeError, Execution, Invocation, Program, Sandbox, Supply};
use crate::model::{Ended, GuestLog, MAX_TOOLS, Trap};

/// What describing may burn: languages that build their heap at start need more than a call.
const DESCRIBE_FUEL: u64 = 1_000_000_000;
/// How long describing may take.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// What one instance took.
struct Account {
    fuel: u64,
    memory_peak: u64,
    log: GuestLog,
}

impl Sandbox {
    /// Asks a plugin for its tools: no call, no backends, a fixed clock and fixed randomness.
    pub async fn describe(&self, program: &Program) -> Result<Vec<Definition>, DescribeError> {
        let limits = CallLimits { fuel: DESCRIBE_FUEL, memory: self.config.max_memory, deadline: DESCRIBE_DEADLINE };
        let never = CancellationToken::new();
        let (result, account) = self
            .run(program, limits, Supply::own(), None, &never, |plugin, store| {
                plugin.tidegate_plugin_tools().call_describe(store).boxed()
            })
            .await;
        match result {
            Ok(tools) if tools.len() > MAX_TOOLS => Err(DescribeError::TooMany { count: tools.len(), limit: MAX_TOOLS }),
            Ok(tools) => Ok(tools.into_iter().map(definition).collect()),
            Err(stop) => Err(DescribeError::Ended(in_words(&ending::of_stop(stop), &account.log))),
        }
    }

    /// Runs one call in a fresh instance. Dropping the future ends the call and gives back all it held.
    pub async fn execute(&self, program: &Program, invocation: Invocation) -> Execution {
        let Invocation { tool, arguments, limits, supply, context, host, stop } = invocation;
        let request = tools::Request { tool, arguments };
        let call = Some(Call::new(context, host));
        let (result, account) = self
            .run(program, limits, supply, call, &stop, |plugin, store| {
                async move { plugin.tidegate_plugin_tools().call_call(store, &request).await }.boxed()
            })
            .await;
        let ended = result.map_or_else(ending::of_stop, ending::of_result);
        Execution { ended, fuel: account.fuel, memory_peak: account.memory_peak, log: account.log }
    }

    async fn run<T: Send>(
        &self,
        program: &Program,
        limits: CallLimits,
        supply: Supply,
        call: Option<Call>,
        stop: &CancellationToken,
        enter: impl for<'a> FnOnce(&'a Plugin, &'a mut Store<State>) -> BoxFuture<'a, wasmtime::Result<T>> + Send,
    ) -> (Result<T, Stop>, Account) {
        // A deadline beyond what the clock can name is none.
        let now = Instant::now();
        let deadline = now.checked_add(limits.deadline).unwrap_or_else(|| now + Duration::from_secs(86_400));
        // INVARIANT: declared before the store and so dropped after it: whoever gets the place finds a free instance.
        let place = match bounded(deadline, stop, self.instances.acquire()).await {
            Ok(place) => place.expect("the places are never closed"),
            Err(stop) => return (Err(stop), Account { fuel: 0, memory_peak: 0, log: GuestLog::default() }),
        };
        let share = supply.share;
        let mut store = self.store(limits, supply, call);
        let meter = Arc::clone(&store.data().meter);
        let guest = async {
            let begun = Instant::now();
            let plugin = program.pre.instantiate_async(&mut store).await?;
            self.instantiation.record(begun.elapsed());
            enter(&plugin, &mut store).await
        };
        // A panic in a host function must not take the process with it, least of all the ledger in it.
        let guest = Sliced::new(&self.turnstile, share, &meter, AssertUnwindSafe(guest).catch_unwind());
        let ended = bounded(deadline, stop, guest).await;
        let result = match ended {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(ending::of_error(&error, &store.data().limits)),
            Ok(Err(panic)) => Err(ending::of_panic(&*panic)),
            Err(stop) => Err(stop),
        };
        let account = account(&store, limits);
        drop(store);
        drop(place);
        (result, account)
    }

    fn store(&self, limits: CallLimits, supply: Supply, call: Option<Call>) -> Store<State> {
        let memory = limits.memory.min(self.config.max_memory).as_usize();
        let slice = Slice { fuel: self.config.slice_fuel.max(1), time: self.config.slice_time.duration() };
        let meter = Meter::new(slice, limits.fuel, supply.drawn, supply.draw);
        let state = State::new(&self.config, self.reserved, &meter, memory, supply.may_grow, call);
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        store.call_hook_async(Toll);
        store.set_hostcall_fuel(self.config.max_output.as_usize());
        store
            .fuel_async_yield_interval(Some(slice.fuel))
            .and_then(|()| store.set_fuel(limits.fuel))
            .expect("the engine is set up to count fuel");
        store
    }
}

/// `work`, until the deadline or until told to stop. `work` is asked first: what is done in time counts.
async fn bounded<T>(deadline: Instant, stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = stop.cancelled() => Err(Stop::Cancelled),
        () = sleep_until(deadline) => Err(Stop::Trapped(Trap::DeadlineExceeded)),
    }
}

fn account(store: &Store<State>, limits: CallLimits) -> Account {
    let state = store.data();
    let left = store.get_fuel().expect("the engine is set up to count fuel");
    let burned = limits.fuel.saturating_sub(left).saturating_add(state.meter.owed());
    Account { fuel: burned.min(limits.fuel), memory_peak: state.limits.peak(), log: state.log.take() }
}

fn definition(tool: tools::Definition) -> Definition {
    Definition {
        name: tool.name,
        title: tool.title,
        description: tool.description,
        input_schema: tool.input_schema,
        output_schema: tool.output_schema,
        annotations: tool.annotations,
    }
}

/// The end of a guest that did not describe its tools, and the last thing it wrote: usually its panic.
fn in_words(ended: &Ended, log: &GuestLog) -> String {
    let end = match ended {
        Ended::Trapped(Trap::OutOfFuel) => format!("burned {DESCRIBE_FUEL} fuel without ending"),
        Ended::Trapped(Trap::OutOfMemory) => "asked for more memory than `sandbox.max_memory` allows".to_owned(),
        Ended::Trapped(Trap::DeadlineExceeded) => format!("did not end within {} seconds", DESCRIBE_DEADLINE.as_secs()),
        Ended::Trapped(Trap::Guest(crash)) => format!("crashed: {crash}"),
        Ended::Failed(failure) => failure.message.clone(),
        Ended::Completed(_) | Ended::Asked(_) | Ended::Cancelled => "ended without an answer".to_owned(),
    };
    match log.lines.last() {
        Some(line) => format!("{end} (it wrote `{line}`)"),
        None => end,
    }
}

//! The engine's settings: what WebAssembly may be, and the pool that instances come from.

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView};

use super::bindings::tidegate::plugin::host;
use super::config::SandboxConfig;
use super::error::SandboxError;
use super::http;
use super::limits::{CORE_INSTANCES, TABLE_ENTRIES, TABLES};
use super::state::State;
use super::wasi;

/// Stack of the guest alone; recursion beyond it traps.
const GUEST_STACK: usize = 512 << 10;
/// Stack of the guest and of the host functions it calls. INVARIANT: larger than [`GUEST_STACK`], or a guest at the end
/// of its stack would take the host down when it calls out.
const WHOLE_STACK: usize = 2 << 20;
/// The part of a stack that an ended guest's successor finds wiped in place.
const STACK_KEEP_RESIDENT: usize = 32 << 10;
/// Bookkeeping of one component or core instance.
const INSTANCE_SIZE: usize = 1 << 20;

/// The engine for `config`.
pub(super) fn new(config: &SandboxConfig) -> Result<Engine, SandboxError> {
    let mut settings = Config::new();
    settings
        // Fuel, and no epochs: epochs cost more in tight loops, and fuel is not saved before their callback.
        .consume_fuel(true)
        .concurrency_support(false)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(WHOLE_STACK)
        .async_stack_zeroing(true)
        .memory_init_cow(true)
        .parallel_compilation(true)
        // What compilers for plugins do not use, no guest can attack.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)));
    Engine::new(&settings).map_err(SandboxError::Engine)
}

/// Everything a plugin can import.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>, SandboxError> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker).map_err(SandboxError::Engine)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::outgoing_handler::add_to_linker::<_, WasiHttp>(&mut linker, State::http)
        .and_then(|()| {
            wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<_, WasiHttp>(
                &mut linker,
                &(&options).into(),
                State::http,
            )
        })
        .and_then(|()| http::link_body_errors(&mut linker))
        .and_then(|()| host::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state))
        .map_err(SandboxError::Engine)?;
    Ok(linker)
}

fn pool(config: &SandboxConfig) -> PoolingAllocationConfig {
    let instances = config.max_instances;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_memories(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_tables(instances.saturating_mul(TABLES))
        .max_component_instance_size(INSTANCE_SIZE)
        .max_core_instance_size(INSTANCE_SIZE)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(1)
        .max_memories_per_module(1)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .table_elements(TABLE_ENTRIES)
        .max_memory_size(config.max_memory.as_usize())
        .max_unused_warm_slots(instances)
        // With the pagemap scan only pages a guest wrote to are wiped; where the kernel lacks it, the plain way is taken.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(config.keep_resident.as_usize())
        .table_keep_resident(config.keep_resident.as_usize().min(64 << 10))
        .async_stack_keep_resident(STACK_KEEP_RESIDENT);
    pool
}

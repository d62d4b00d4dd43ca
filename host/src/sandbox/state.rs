//! What the host holds for one guest, for as long as the guest lives.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::config::SandboxConfig;
use super::host::Call;
use super::http::Outgoing;
use super::limits::Limits;
use super::logs::Log;
use super::meter::Meter;
use super::random::Random;
use super::supply::MayGrow;
use super::{ReservedHeader, wasi};

/// One guest's side of the host. Dropping it aborts the guest's requests in flight.
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) log: Log,
    pub(super) meter: Arc<Meter>,
    pub(super) random: Random,
    /// The running call; nothing while the plugin only describes its tools.
    pub(super) call: Option<Call>,
    outgoing: Outgoing,
    handles: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
}

impl State {
    /// The state of a guest that may use `memory` bytes, for `call`, or for describing its tools.
    pub(super) fn new(
        config: &SandboxConfig,
        reserved: ReservedHeader,
        meter: &Arc<Meter>,
        memory: usize,
        may_grow: MayGrow,
        call: Option<Call>,
    ) -> Self {
        let log = Log::new(config.max_log.as_usize());
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(config.max_handles);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(config.max_headers.as_usize());
        let (send, https) = (call.as_ref().map(Call::send), call.as_ref().is_some_and(Call::speaks_https));
        Self {
            limits: Limits::new(memory, may_grow, Arc::clone(meter)),
            wasi: wasi::closed(&log, meter, call.is_some()),
            random: Random::new(config.max_random.0, Arc::clone(meter), call.is_some()),
            outgoing: Outgoing::new(send, https, reserved, Arc::clone(meter), log.clone()),
            log,
            meter: Arc::clone(meter),
            call,
            handles,
            http,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.handles }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.handles, ctx: &mut self.http }
    }
}

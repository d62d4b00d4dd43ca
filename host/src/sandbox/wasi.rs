//! The closed WASI that guests see: streams into the log, coarse clocks, and otherwise nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random, sockets};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};

use super::logs::{Log, LogStream, Source};
use super::meter::Meter;
use super::random::HasRandom;
use super::state::State;

/// What the clocks can tell apart. Finer would let a guest time its neighbours.
const RESOLUTION: Duration = Duration::from_millis(1);

/// Links what a plugin may import of WASI. Files and sockets are among it because standard libraries import them; what makes or finds
/// one is closed in [`closed`].
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // Streams, polling, clocks, standard streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    // Standard libraries import these even when the plugin's code never calls them.
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    link_sockets(linker)?;
    // Ours instead of the library's, so that randomness is bounded and paid for.
    linker.allow_shadowing(true);
    random::random::add_to_linker::<State, HasRandom>(linker, |state| &mut state.random)?;
    random::insecure::add_to_linker::<State, HasRandom>(linker, |state| &mut state.random)?;
    random::insecure_seed::add_to_linker::<State, HasRandom>(linker, |state| &mut state.random)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Links sockets that nobody can make: CPython imports them whether or not a plugin has a use for them.
fn link_sockets(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    sockets::network::add_to_linker::<State, WasiSockets>(linker, &sockets::network::LinkOptions::default(), State::sockets)?;
    sockets::instance_network::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::tcp::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::udp::add_to_linker::<State, WasiSockets>(linker, State::sockets)
}

/// A guest's WASI: no arguments, environment, files, sockets or stdin; clocks that run if `live` and stand still otherwise.
pub(super) fn closed(log: &Log, meter: &Arc<Meter>, live: bool) -> WasiCtx {
    let stream = |source| LogStream { log: log.clone(), meter: Arc::clone(meter), source };
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(stream(Source::Stdout)).stderr(stream(Source::Stderr));
    // The library's defaults too, but what a guest can reach must not hang on those. Each refuses before anything is opened or asked;
    // the check of addresses is behind them, should one ever let something through.
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    builder.socket_addr_check(|_, _| Box::pin(async { false }));
    if live {
        builder.wall_clock(Clock::Live(Instant::now())).monotonic_clock(Clock::Live(Instant::now()));
    } else {
        builder.wall_clock(Clock::Still).monotonic_clock(Clock::Still);
    }
    builder.build()
}

/// Both clocks of a guest, rounded down to [`RESOLUTION`].
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// Runs; monotonic time is counted from the start of the guest, so it reveals nothing of the host's uptime.
    Live(Instant),
    /// Stands at zero while a plugin describes its tools.
    Still,
}

fn coarse(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        match self {
            Self::Live(_) => coarse(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Self::Still => Duration::ZERO,
        }
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        u64::try_from(RESOLUTION.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        match self {
            Self::Live(start) => u64::try_from(coarse(start.elapsed()).as_nanos()).unwrap_or(u64::MAX),
            Self::Still => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_tell_whole_milliseconds_only() {
        let clock = Clock::Live(Instant::now());
        assert_eq!(HostWallClock::now(&clock).subsec_nanos() % 1_000_000, 0);
        assert_eq!(HostMonotonicClock::now(&clock) % 1_000_000, 0);
    }
}

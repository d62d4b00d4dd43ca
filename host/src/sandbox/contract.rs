//! Whether a file is a plugin: a component, of this contract version, that imports only what plugins get.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::error::CompileError;

/// The version of `tidegate:plugin` that this host speaks.
const VERSION: &str = "0.1.1";
/// Versions that start like this are compatible (semver: while the major version is 0, the minor one decides).
const COMPATIBLE: &str = "0.1.";
const TOOLS: &str = "tidegate:plugin/tools";
const PACKAGE: &str = "tidegate:plugin/";

/// Interfaces that are linked, files and sockets closed. Versions are left to the linker, which knows which ones are compatible.
const IMPORTS: [&str; 8] = [
    "tidegate:plugin/host",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Refuses bytes that are not a component, before the compiler sees them.
pub(super) fn check_kind(wasm: &[u8]) -> Result<(), CompileError> {
    // The preamble: magic, then 16 bits of version and 16 bits of layer; layer 0 is a module, 1 a component.
    match wasm.get(..8) {
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([b'\0', b'a', b's', b'm', 1, 0, 0, 0]) => Err(CompileError::CoreModule),
        _ => Err(CompileError::NotWasm),
    }
}

/// Refuses components that do not export the contract or import more than plugins get.
pub(super) fn check_interfaces(engine: &Engine, component: &Component) -> Result<(), CompileError> {
    let world = component.component_type();
    let other = |found: &str| CompileError::OtherContract { found: found.to_owned(), supported: VERSION };
    // The exports first: a plugin for another contract is better told that than which of its imports does not fit.
    let exported = world.exports(engine).find_map(|(name, _)| name.strip_prefix(TOOLS).map(str::to_owned));
    match exported.as_deref().map(|rest| rest.trim_start_matches('@')) {
        Some(version) if version.starts_with(COMPATIBLE) => {}
        Some(version) => return Err(other(version)),
        None => return Err(CompileError::NotAPlugin { expected: format!("{TOOLS}@{VERSION}") }),
    }
    for (import, _) in world.imports(engine) {
        if let Some((interface, version)) = import.split_once('@')
            && interface.starts_with(PACKAGE)
            && !version.starts_with(COMPATIBLE)
        {
            return Err(other(version));
        }
        if !IMPORTS.iter().any(|known| import.starts_with(known)) {
            return Err(CompileError::ForbiddenImport { import: import.to_owned() });
        }
    }
    Ok(())
}

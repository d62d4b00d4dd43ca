//! The plugin contract as Rust types, generated from `wit/`.

#![expect(missing_docs, reason = "generated; the contract is documented in `wit/`")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "tidegate:plugin/plugin",
    imports: { default: trappable },
    exports: { default: async },
});

//! The plugin contract as Rust types, generated from `wit/`.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "tidegate:plugin/plugin",
    imports: { default: trappable },
    exports: { default: async },
});

//! A plugin that describes ten thousand tools: a host gives up loading it.

/// The SDK would not let anybody write this down, so it is said past it.
#[cfg(target_family = "wasm")]
mod component {
    use tidegate_plugin_sdk::wasm::bindings;
    use tidegate_plugin_sdk::wasm::bindings::exports::tidegate::plugin::tools::{Definition, Failure, Guest, Output, Request};

    struct Component;

    impl Guest for Component {
        fn describe() -> Vec<Definition> {
            let tool = |number| Definition {
                name: format!("tool_{number}"),
                title: None,
                description: "One of ten thousand.".to_owned(),
                input_schema: "{\"type\":\"object\"}".to_owned(),
                output_schema: None,
                annotations: None,
            };
            (0..10_000).map(tool).collect()
        }

        fn call(_: Request) -> Result<Output, Failure> {
            Ok(Output { structured: None, content: "[]".to_owned() })
        }
    }

    bindings::__export_component!(Component with_types_in bindings);
}

//! A plugin that describes ten thousand tools: a host gives up loading it.

use tidegate_plugin_sdk::{Content, Context, Entry, Failure, NoInput, Plugin, Tool};

/// One of many.
struct Crowd;

impl Tool for Crowd {
    const NAME: &'static str = "crowd";
    const DESCRIPTION: &'static str = "One of ten thousand.";
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new())
    }
}

/// What `export!` makes, for more tools than anybody would write down.
pub static PLUGIN: Plugin = Plugin::new(&[const { Entry::of::<Crowd>() }; 10_000]);

#[cfg(target_family = "wasm")]
const _: () = {
    struct Component;

    impl tidegate_plugin_sdk::wasm::Exported for Component {
        fn plugin() -> &'static Plugin {
            &PLUGIN
        }
    }

    tidegate_plugin_sdk::wasm::bindings::__export_component!(Component with_types_in tidegate_plugin_sdk::wasm::bindings);
};

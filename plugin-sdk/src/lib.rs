//! Write a Tidegate plugin: a trait with typed arguments, and one export macro.
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use tidegate_plugin_sdk::{Context, Failure, Tool};
//!
//! /// Greets somebody.
//! pub struct Greet;
//!
//! #[derive(Deserialize, JsonSchema)]
//! pub struct Person {
//!     /// Whom to greet.
//!     name: String,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! pub struct Greeting {
//!     text: String,
//! }
//!
//! impl Tool for Greet {
//!     const NAME: &'static str = "greet";
//!     const DESCRIPTION: &'static str = "Greets a person by name.";
//!     type Input = Person;
//!     type Output = Greeting;
//!
//!     fn call(person: Person, _: &Context) -> Result<Greeting, Failure> {
//!         Ok(Greeting { text: format!("Hello, {}!", person.name) })
//!     }
//! }
//!
//! tidegate_plugin_sdk::export!(Greet);
//!
//! // The same code runs natively, in a unit test, with a stand-in for the host.
//! let host = tidegate_plugin_sdk::testing::Host::new();
//! let output = PLUGIN.call("greet", r#"{"name":"Ada"}"#, &host.context()).unwrap();
//! assert_eq!(output.structured.unwrap(), r#"{"text":"Hello, Ada!"}"#);
//! ```
//!
//! A plugin crate is `crate-type = ["cdylib", "rlib"]`: `cargo build --target wasm32-wasip2` makes the component,
//! `cargo test` runs its unit tests. Beside it lies `plugin.toml`, which says what each tool may do.
//!
//! The instance a call runs in is fresh and thrown away afterwards. A tool keeps no state between calls, and nothing
//! surrounds it: no files, environment, arguments or sockets. What a call may use, its [`Context`] offers.

mod ask;
mod content;
mod context;
mod failure;
mod form;
pub mod http;
#[cfg(target_family = "wasm")]
mod http_wasi;
mod plugin;
mod row_filter;
mod schema;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod tool;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod wasm;

pub use ask::{Elicited, Question, Root, Sampled};
pub use content::Content;
pub use context::{Context, Level};
pub use failure::{Failure, code};
pub use plugin::{Definition, Entry, Plugin};
pub use row_filter::RowFilter;
pub use tool::{Hints, NoInput, Output, Tool, ToolOutput};

/// Makes a plugin of the given [`Tool`]s.
///
/// Defines `pub static PLUGIN: Plugin`, which native tests call, and in a wasm build exports it as the component.
/// Invoke it once, at the root of the crate.
#[macro_export]
macro_rules! export {
    ($($tool:ty),+ $(,)?) => {
        /// The tools of this plugin.
        pub static PLUGIN: $crate::Plugin = $crate::Plugin::new(&[$($crate::Entry::of::<$tool>()),+]);

        // A native build must not see the export: its symbol names are not those of a native linker.
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            impl $crate::wasm::Exported for Component {
                fn plugin() -> &'static $crate::Plugin {
                    &PLUGIN
                }
            }

            $crate::wasm::bindings::__export_component!(Component with_types_in $crate::wasm::bindings);
        };
    };
}

//! The component side: the generated bindings, and a plugin's way through them. Not part of the API.

use std::time::SystemTime;

use crate::context::Facts;
use crate::http::{HttpError, Request, Response};
use crate::{Context, Failure, Level, Output, Plugin, Question, http_wasi};

use bindings::exports::tidegate::plugin::tools;
use bindings::tidegate::plugin::host;

/// Generated from `wit/plugin.wit`.
#[expect(missing_docs, reason = "the WIT is the documentation of what is generated from it")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "__export_component",
    });
}

/// What [`crate::export!`] implements for the component it makes.
pub trait Exported {
    /// The plugin to export.
    fn plugin() -> &'static Plugin;
}

impl<T: Exported> tools::Guest for T {
    fn describe() -> Vec<tools::Definition> {
        let definitions = T::plugin().describe().into_iter();
        definitions
            .map(|tool| tools::Definition {
                name: tool.name.to_owned(),
                title: tool.title.map(str::to_owned),
                description: tool.description.to_owned(),
                input_schema: tool.input_schema.to_string(),
                output_schema: tool.output_schema.map(|schema| schema.to_string()),
                annotations: serde_json::to_string(&tool.hints).ok().filter(|hints| hints != "{}"),
            })
            .collect()
    }

    fn call(request: tools::Request) -> Result<tools::Output, tools::Failure> {
        match T::plugin().call(&request.tool, &request.arguments, &Context::new(Link)) {
            Ok(Output { structured, content }) => Ok(tools::Output { structured, content }),
            Err(Failure { code, message, retry_after_seconds }) => Err(tools::Failure { code, message, retry_after_seconds }),
        }
    }
}

/// The component's end of a [`Context`].
pub(crate) struct Link;

impl Link {
    pub(crate) fn facts(&self) -> Facts {
        let host::Context { subject, trace_id, attempt, idempotency_key, row_filter } = host::get_context();
        Facts { subject, trace_id, attempt, idempotency_key, row_filter }
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    pub(crate) fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        host::progress(done, total, message);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        host::is_cancelled()
    }

    pub(crate) fn permits(&self, resource: &str, row: &str) -> bool {
        host::permits(resource, row)
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        host::log(level as u8, message);
    }

    /// Fails natively only: where an answer is not there yet, a component ends inside.
    pub(crate) fn ask(&self, questions: &[Question]) -> Result<Vec<Option<String>>, Failure> {
        let questions: Vec<_> = questions
            .iter()
            .map(|question| host::Question {
                key: question.key().to_owned(),
                method: question.method().to_owned(),
                params: question.params().to_string(),
            })
            .collect();
        Ok(host::ask(&questions))
    }

    pub(crate) fn send(&self, request: &Request) -> Result<Response, HttpError> {
        http_wasi::send(request)
    }
}

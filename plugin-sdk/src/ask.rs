//! Questions of a running tool to whoever called: to a person, to a language model, or to the client itself.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Context, Failure, form};

/// A question to whoever called: to the person in front of the client, to its language model, or to the client itself.
///
/// It is asked by [`Context::ask`], beside others; a single one is easier asked by [`Context::elicit`], [`Context::confirm`],
/// [`Context::open_url`], [`Context::sample`] and [`Context::roots`].
///
/// Its key is its name among the questions of the call: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. An answer counts only for
/// the question it was given to, word for word: a message with the time of day in it is never answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    key: String,
    method: &'static str,
    /// An object.
    params: Value,
}

impl Question {
    /// Asks the person to fill in a form, with a field for each field of `T`. [`Elicited::read`] reads the answer.
    ///
    /// Whatever is typed into a form passes through the client and its model: ask for no secrets; [`Question::url`] leads to
    /// where they can be given.
    ///
    /// # Panics
    ///
    /// If `T` is no form. A form is a struct of texts, numbers, booleans and enums without fields, each perhaps in an `Option`;
    /// of schemars' bounds it knows `length` and `range`. Doc comments become the descriptions.
    pub fn form<T: JsonSchema>(key: &str, message: &str) -> Question {
        let params = json!({ "message": message, "requestedSchema": form::of::<T>() });
        Question::new(key, "elicitation/create", params)
    }

    /// Asks the person to open a page: to sign in, to pay, to enter a secret. [`Elicited::read`] reads the answer; it has no
    /// content, so read an `Elicited<Value>`.
    pub fn url(key: &str, message: &str, url: &str) -> Question {
        let params = json!({ "mode": "url", "message": message, "url": url });
        Question::new(key, "elicitation/create", params)
    }

    /// Asks the client's language model to go on from this prompt, in at most so many tokens. [`Sampled::read`] reads the answer.
    pub fn sampling(key: &str, prompt: &str, max_tokens: u32) -> Question {
        let messages = json!([{ "role": "user", "content": { "type": "text", "text": prompt } }]);
        Question::new(key, "sampling/createMessage", json!({ "messages": messages, "maxTokens": max_tokens }))
    }

    /// Asks the client which folders the person works in. [`Root::read`] reads the answer.
    pub fn roots(key: &str) -> Question {
        Question::new(key, "roots/list", json!({}))
    }

    /// Adds a parameter of the MCP request, such as `systemPrompt`, or puts another in its place, such as `messages`.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Question {
        self.params[name] = value.into();
        self
    }

    /// Its name among the questions of the call.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The MCP request that asks it: `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub fn method(&self) -> &str {
        self.method
    }

    /// The parameters of that request.
    pub fn params(&self) -> &Value {
        &self.params
    }

    /// Its kind, as a tool's `asks` names it in the manifest: `elicitation`, `elicitation/url`, `sampling` or `roots`.
    pub fn kind(&self) -> &'static str {
        match self.method {
            "elicitation/create" if self.params["mode"] == "url" => "elicitation/url",
            "elicitation/create" => "elicitation",
            "sampling/createMessage" => "sampling",
            _ => "roots",
        }
    }

    fn new(key: &str, method: &'static str, params: Value) -> Question {
        Question { key: key.to_owned(), method, params }
    }

    /// What the caller is told if this can't be asked and the tool can't do without.
    fn not_asked(&self) -> Failure {
        let (whom, capability) = match self.kind() {
            "elicitation" => ("the person in front of the client", "elicitation"),
            "elicitation/url" => ("the person in front of the client", "elicitation.url"),
            "sampling" => ("the client's language model", "sampling"),
            _ => ("the client", "roots"),
        };
        Failure::failed(format!(
            "the tool needs an answer from {whom} (`{}`), and can't ask in this call; the same call will work no better: make it \
             through a client that speaks MCP 2026-07-28 and declares the capability `{capability}`, or do without this tool",
            self.key
        ))
    }
}

/// What a person did with a form or a page that was put before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elicited<T> {
    /// They filled in the form, or agreed to open the page.
    Accepted(T),
    /// They said no.
    Declined,
    /// They closed it without a choice.
    Cancelled,
}

impl<T: DeserializeOwned> Elicited<T> {
    /// Reads an answer to [`Question::form`] or [`Question::url`].
    ///
    /// # Errors
    ///
    /// A failure of code `failed` if the answer is none, or its content does not fit `T`.
    pub fn read(answer: &Value) -> Result<Elicited<T>, Failure> {
        match answer["action"].as_str() {
            Some("accept") => {
                // A form of which nothing was filled in may come back without any.
                let content = answer.get("content").cloned().unwrap_or_else(|| json!({}));
                let content = T::deserialize(content)
                    .map_err(|error| Failure::failed(format!("what the person filled in does not fit the form: {error}")))?;
                Ok(Elicited::Accepted(content))
            }
            Some("decline") => Ok(Elicited::Declined),
            Some("cancel") => Ok(Elicited::Cancelled),
            _ => Err(Failure::failed("the client says neither that the person accepted nor that they declined or cancelled")),
        }
    }
}

impl<T> Elicited<T> {
    /// What was accepted, if it was.
    pub fn accepted(self) -> Option<T> {
        match self {
            Elicited::Accepted(content) => Some(content),
            Elicited::Declined | Elicited::Cancelled => None,
        }
    }
}

/// What a language model answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Its text.
    pub text: String,
    /// The name of the model, as the client calls it.
    pub model: String,
    /// Why it ended, such as `endTurn` or `maxTokens`, if the client says so.
    pub stop_reason: Option<String>,
}

impl Sampled {
    /// Reads an answer to [`Question::sampling`].
    ///
    /// # Errors
    ///
    /// A failure of code `failed` if there is no text in it.
    pub fn read(answer: &Value) -> Result<Sampled, Failure> {
        let blocks = match &answer["content"] {
            Value::Array(blocks) => blocks.as_slice(),
            block => std::slice::from_ref(block),
        };
        let texts: Vec<_> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        if texts.is_empty() {
            return Err(Failure::failed("the client's language model answered without a text"));
        }
        let model = answer["model"].as_str().unwrap_or_default().to_owned();
        Ok(Sampled { text: texts.concat(), model, stop_reason: answer["stopReason"].as_str().map(str::to_owned) })
    }
}

/// A folder, or a file, that the person works in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Root {
    /// Where it is on their machine: a `file://` address. No tool can read it; it tells what they work on.
    pub uri: String,
    /// What they call it.
    pub name: Option<String>,
}

impl Root {
    /// Reads an answer to [`Question::roots`].
    ///
    /// # Errors
    ///
    /// A failure of code `failed` if it is no list of roots.
    pub fn read(answer: &Value) -> Result<Vec<Root>, Failure> {
        Vec::deserialize(&answer["roots"])
            .map_err(|error| Failure::failed(format!("what the client answered is no list of roots: {error}")))
    }
}

/// Questions to whoever called. Which kinds a tool asks, its manifest says: `asks = ["elicitation", "elicitation/url", "sampling",
/// "roots"]`, or some of them.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::Deserialize;
/// use serde_json::json;
/// use tidegate_plugin_sdk::testing::{Host, accepted};
/// use tidegate_plugin_sdk::{Context, Elicited, Failure};
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Shipping {
///     /// Where to send it.
///     city: String,
///     express: Option<bool>,
/// }
///
/// fn ship(context: &Context) -> Result<String, Failure> {
///     match context.elicit::<Shipping>("shipping", "Where does it go?")? {
///         Elicited::Accepted(Shipping { city, .. }) => Ok(format!("It goes to {city}.")),
///         Elicited::Declined | Elicited::Cancelled => Err(Failure::failed("nobody said where it goes")),
///     }
/// }
///
/// let host = Host::new().answers("shipping", accepted(json!({ "city": "Kiel" })));
/// assert_eq!(ship(&host.context()).unwrap(), "It goes to Kiel.");
/// ```
///
/// **A run that asks what has not been answered yet ends there**: the function does not return. Whoever is asked may take minutes;
/// once they have answered, the tool is run again from its beginning, with the same arguments, and the function returns at once. So
/// ask before anything is changed, and ask the same in every run. Natively, under [`testing`](crate::testing), such a question is a
/// failure instead.
impl Context {
    /// Asks several questions at once, and answers with an answer for each, in the same order: the result of the MCP request. At
    /// most 8 at a time, 32 in a call.
    ///
    /// None is the answer to a question that can't be asked: the manifest does not name its kind among the tool's `asks`, the
    /// client does not take such questions, or the call may have changed something already.
    ///
    /// ```
    /// use serde_json::json;
    /// use tidegate_plugin_sdk::testing::Host;
    /// use tidegate_plugin_sdk::{Question, Root, Sampled};
    ///
    /// let host = Host::new()
    ///     .cannot_ask("sampling")
    ///     .answers("folders", json!({ "roots": [{ "uri": "file:///home/ada/tides" }] }));
    /// let questions = [Question::sampling("title", "A title for a letter about tides?", 20), Question::roots("folders")];
    /// let [title, folders] = &host.context().ask(&questions).unwrap()[..] else { unreachable!("an answer for each") };
    /// assert_eq!(title.as_ref().map(Sampled::read), None);
    /// assert_eq!(Root::read(folders.as_ref().unwrap()).unwrap()[0].uri, "file:///home/ada/tides");
    /// ```
    ///
    /// # Errors
    ///
    /// To be passed on: the host answered with something that is no JSON; or, natively, an answer is not there.
    pub fn ask(&self, questions: &[Question]) -> Result<Vec<Option<Value>>, Failure> {
        let answers = self.link.ask(questions)?.into_iter();
        let read = |answer: String| serde_json::from_str(&answer);
        answers
            .map(|answer| answer.map(read).transpose())
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::failed(format!("the host's answer to a question is no JSON: {error}")))
    }

    /// Asks the person to fill in a form: [`Question::form`].
    ///
    /// # Errors
    ///
    /// To be passed on: it can't be asked, or the answer does not fit.
    ///
    /// # Panics
    ///
    /// If `T` is no form.
    pub fn elicit<T: DeserializeOwned + JsonSchema>(&self, key: &str, message: &str) -> Result<Elicited<T>, Failure> {
        Elicited::read(&self.ask_one(Question::form::<T>(key, message))?)
    }

    /// Asks the person for a yes or a no: a form with one box to tick. To decline, or to close the form, is a no too.
    ///
    /// # Errors
    ///
    /// To be passed on: it can't be asked, or the answer does not fit.
    pub fn confirm(&self, key: &str, message: &str) -> Result<bool, Failure> {
        let answer = self.elicit::<Confirmation>(key, message)?;
        Ok(answer.accepted().is_some_and(|confirmation| confirmation.confirm))
    }

    /// Asks the person to open a page: [`Question::url`]. Yes means that they agreed to open it, not that they did there what they
    /// were to do: only whoever serves the page knows that.
    ///
    /// # Errors
    ///
    /// To be passed on: it can't be asked, or the answer is none.
    pub fn open_url(&self, key: &str, message: &str, url: &str) -> Result<bool, Failure> {
        let answer = self.ask_one(Question::url(key, message, url))?;
        Ok(Elicited::<serde::de::IgnoredAny>::read(&answer)?.accepted().is_some())
    }

    /// Asks the client's language model: [`Question::sampling`]. What it answers is no more to be trusted than any caller's words.
    ///
    /// # Errors
    ///
    /// To be passed on: it can't be asked, or it answered without a text.
    pub fn sample(&self, key: &str, prompt: &str, max_tokens: u32) -> Result<Sampled, Failure> {
        Sampled::read(&self.ask_one(Question::sampling(key, prompt, max_tokens))?)
    }

    /// Asks the client which folders the person works in: [`Question::roots`].
    ///
    /// # Errors
    ///
    /// To be passed on: it can't be asked, or the answer is none.
    pub fn roots(&self, key: &str) -> Result<Vec<Root>, Failure> {
        Root::read(&self.ask_one(Question::roots(key))?)
    }

    fn ask_one(&self, question: Question) -> Result<Value, Failure> {
        let answer = self.ask(std::slice::from_ref(&question))?.pop().flatten();
        answer.ok_or_else(|| question.not_asked())
    }
}

/// The form of [`Context::confirm`].
#[derive(Deserialize, JsonSchema)]
struct Confirmation {
    confirm: bool,
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;

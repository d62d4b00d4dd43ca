//! One caller: it makes calls, asks what became of them, comes again when told to, and gives up only when nobody answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use tokio::time::{self, Instant};

use super::answer::{Answer, Poll, Says};
use super::client::{Client, SESSION, Trouble};
use super::dialect::{Dialect, Request};
use super::life::{End, Life};
use super::run::Run;
use super::survey;
use super::template::Filling;
use super::tokens::Principal;

/// How long to wait after the first trouble with a connection; twice as long after each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// The longest such wait.
const LAST_BACKOFF: Duration = Duration::from_secs(2);

/// How long to wait after a poll that failed.
const POLL_AGAIN: Duration = Duration::from_secs(1);

/// What a poll fails with if there is no such call, or none any more.
const GONE: [&str; 2] = ["not_found", "rpc_-32602"];

/// How often a request is sent anew with another token.
const RENEWALS: u32 = 3;

/// A caller.
pub struct Caller {
    run: Arc<Run>,
    principal: Arc<Principal>,
    client: Client,
    session: Session,
    /// The token last sent.
    token: Option<HeaderValue>,
    requests: u64,
    life: Option<Life>,
}

/// The handshake of older protocols.
enum Session {
    /// There is none, or none is needed.
    None,
    /// It was held.
    Open(Option<HeaderValue>),
}

/// What a request is about.
enum Ask<'a> {
    Call { number: u64, key: &'a str },
    Poll(&'a Poll),
}

impl Caller {
    /// The caller `number`.
    pub fn new(run: Arc<Run>, number: usize) -> Self {
        let principal = run.principals[number % run.principals.len()].clone();
        let client = Client::new(run.plan.endpoint.clone(), run.opening.clone());
        Self { run, principal, client, session: Session::None, token: None, requests: 0, life: None }
    }

    /// Opens its connection before the clock runs. What is in the way now may be gone when it calls.
    pub async fn prepare(&mut self) {
        if self.client.open().await.is_ok() {
            let _ = self.enter_session().await;
        }
    }

    /// Makes call after call until no more begin, or nobody waits any longer; the call under way is accounted for.
    pub async fn work(mut self) {
        let run = self.run.clone();
        let is_cut_off = tokio::select! {
            biased;
            () = run.cut.cancelled() => true,
            () = self.call_and_call() => false,
        };
        if let (Some(mut life), true) = (self.life.take(), is_cut_off) {
            let end = life.abandoned("unanswered");
            life.ends(end);
            run.count(&life);
        }
    }

    async fn call_and_call(&mut self) {
        let run = self.run.clone();
        while let Some(began) = run.schedule().next().await {
            let number = run.numbers.fetch_add(1, Ordering::Relaxed) + 1;
            let turn = run.plan.tool_of(number);
            let tool = &run.plan.tools[turn];
            let key = if tool.is_keyed { format!("{}-{number}", run.name) } else { String::new() };
            self.life = Some(Life::new(turn, tool.is_keyed, began));
            let end = self.call(number, &key).await;
            let is_done = end == End::Done;
            self.life().ends(end);
            if is_done && tool.is_keyed && run.plan.is_repeated(number) {
                run.repeated.fetch_add(1, Ordering::Relaxed);
                // What becomes of it is seen by the life: another call under the same key is one too many.
                self.call(number, &key).await;
            }
            if let Some(life) = self.life.take() {
                run.count(&life);
            }
            if !run.plan.think.is_zero() {
                run.schedule().think(run.plan.think).await;
            }
        }
    }

    /// One call to its end.
    async fn call(&mut self, number: u64, key: &str) -> End {
        loop {
            let mut answer = match self.ask(&Ask::Call { number, key }).await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
            while let Says::Pending { poll, after } = &answer.says {
                let poll = poll.clone();
                if self.wait(*after).await.is_err() {
                    return self.life().abandoned("unresolved");
                }
                answer = match self.ask(&Ask::Poll(&poll)).await {
                    // What was accepted can't be found any more.
                    Ok(Answer { says: Says::Failed { code, .. }, is_polled: false, .. }) if GONE.contains(&code.as_str()) => {
                        return End::Lost("handle_gone");
                    }
                    // The poll failed, or has to come again later; the call is what it was.
                    Ok(Answer { says: says @ (Says::Failed { .. } | Says::Later { .. }), is_polled: false, .. }) => {
                        let after = if let Says::Later { after, .. } = says { after } else { POLL_AGAIN };
                        Answer { says: Says::Pending { poll, after }, effect: None, is_replayed: false, is_polled: false }
                    }
                    Ok(answer) => answer,
                    Err(end) => return end,
                };
            }
            match answer.says {
                Says::Done => return End::Done,
                Says::Failed { code, may_have_changed } => return End::Failed { code, may_have_changed },
                Says::Later { after, .. } => {
                    // Who would have to come again after the end needn't wait for it.
                    let is_too_late = Instant::now() + after >= self.run.schedule().gives_up();
                    if is_too_late || self.wait(after).await.is_err() {
                        return End::Refused;
                    }
                }
                Says::Unauthorized => return End::Failed { code: "http_401".to_owned(), may_have_changed: false },
                Says::SessionOver | Says::Pending { .. } => return End::Lost("no_session"),
            }
        }
    }

    /// Waits for so long before the next request.
    ///
    /// # Errors
    /// No request is sent any more.
    async fn wait(&self, time: Duration) -> Result<(), ()> {
        tokio::select! {
            biased;
            () = self.run.halt.cancelled() => Err(()),
            () = time::sleep(time) => Ok(()),
        }
    }

    /// One request, sent until it is answered.
    async fn ask(&mut self, ask: &Ask<'_>) -> Result<Answer, End> {
        let mut backoff = FIRST_BACKOFF;
        let mut trouble_since = None;
        let mut renewals = 0;
        loop {
            let trouble = match self.try_once(ask).await {
                Ok(answer) => match answer.says {
                    // The server has forgotten it, or was started anew.
                    Says::SessionOver => {
                        self.session = Session::None;
                        Trouble::Unreachable
                    }
                    // A token of before that may not count any more.
                    Says::Unauthorized if renewals < RENEWALS && self.renew().await == Ok(true) => {
                        renewals += 1;
                        continue;
                    }
                    _ => {
                        self.life().hears(&answer);
                        return Ok(answer);
                    }
                },
                Err(trouble) => trouble,
            };
            let may_repeat = match ask {
                Ask::Poll(_) => true,
                Ask::Call { .. } => trouble == Trouble::Unreachable || self.is_safe_to_repeat(),
            };
            let is_patient = trouble_since.get_or_insert_with(Instant::now).elapsed() + backoff <= self.run.plan.patience;
            if !may_repeat || !is_patient || self.wait(backoff).await.is_err() {
                return Err(self.life().abandoned(trouble.as_str()));
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    async fn try_once(&mut self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        self.client.open().await?;
        self.enter_session().await?;
        self.requests += 1;
        let run = self.run.clone();
        let Request { mut headers, body } = match ask {
            Ask::Call { number, key } => {
                let life = self.life();
                life.sends();
                let form = &run.plan.tools[life.tool].form;
                form.fill(Filling { number: *number, principal: &self.principal.subject, request: self.requests, key })
            }
            Ask::Poll(poll) => run.plan.dialect.poll(poll, self.requests),
        };
        self.token = self.principal.authorization().await;
        headers.extend(self.token.clone().map(|token| (AUTHORIZATION, token)));
        let in_session = if let Session::Open(Some(session)) = &self.session {
            headers.insert(SESSION, session.clone());
            true
        } else {
            false
        };
        let heard = self.client.send(Method::POST, headers, Bytes::from(body), run.plan.timeout).await;
        if let (Ask::Call { .. }, Err(Trouble::Unreachable)) = (ask, &heard) {
            self.life().stays();
        }
        Ok(Answer::of(&heard?, in_session))
    }

    /// The handshake, where one is needed.
    async fn enter_session(&mut self) -> Result<(), Trouble> {
        if let (Dialect::Legacy { .. }, Session::None) = (&self.run.plan.dialect, &self.session) {
            self.token = self.principal.authorization().await;
            let shaken = survey::shake(&mut self.client, self.token.as_ref(), self.run.plan.timeout).await?;
            match shaken {
                Ok(shaken) => self.session = Session::Open(shaken.session),
                Err(_) => {
                    self.renew().await?;
                    return Err(Trouble::Unreachable);
                }
            }
        }
        Ok(())
    }

    async fn renew(&self) -> Result<bool, Trouble> {
        match &self.run.mint {
            Some(mint) => self.principal.renew(mint, self.token.as_ref()).await,
            None => Ok(false),
        }
    }

    /// Whether nothing happens twice if the call is sent twice.
    fn is_safe_to_repeat(&self) -> bool {
        let tool = self.life.as_ref().map(|life| &self.run.plan.tools[life.tool]);
        tool.is_some_and(|tool| tool.is_keyed || tool.is_read_only)
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("requests are made for a call under way")
    }
}

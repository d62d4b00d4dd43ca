//! The API of billing, over a real socket.

use std::path::Path;
use std::time::{Duration, Instant};

use billing::{Book, Effect, Faults, Invoice, LIST_LIMIT, NewInvoice, Status, router};
use futures::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Billing {
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    folder: TempDir,
}

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: Bytes,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the body is the expected JSON")
    }
}

impl Billing {
    async fn start(faults: Faults) -> Billing {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let router = router(Book::open(&folder.path().join("billing.db")).expect("a new book"), faults);
        tokio::spawn(async { axum::serve(listener, router).await });
        Billing { address, client: Client::builder(TokioExecutor::new()).build_http(), folder }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("billing.db")
    }

    async fn send(&self, method: Method, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let response = self.client.request(request.body(Full::new(body)).expect("a request")).await.expect("an answer");
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
        let status = response.status();
        Answer { status, retry_after, body: response.into_body().collect().await.expect("a body").to_bytes() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await
    }

    async fn pay(&self, id: &str, key: Option<&str>) -> Answer {
        self.send(Method::POST, &format!("/invoices/{id}/pay"), key, None).await
    }

    async fn list(&self, query: &str) -> Vec<Invoice> {
        let listing: Value = self.get(&format!("/invoices{query}")).await.json();
        assert_eq!(listing["truncated"], false);
        serde_json::from_value(listing["invoices"].clone()).expect("a list of invoices")
    }

    async fn effects(&self) -> Vec<Effect> {
        self.get("/effects").await.json()
    }
}

#[tokio::test]
async fn a_new_book_holds_open_invoices_of_several_users() {
    let billing = Billing::start(Faults::default()).await;
    assert!(billing.list("?user_id=u1&status=open").await.len() >= 3);
    for user in ["u2", "u3"] {
        let invoices = billing.list(&format!("?user_id={user}")).await;
        assert!(!invoices.is_empty() && invoices.iter().all(|invoice| invoice.user_id == user));
    }
    for status in ["paid", "void"] {
        assert!(!billing.list(&format!("?status={status}")).await.is_empty());
    }
    assert_eq!(billing.effects().await, [], "the seed performs no payment");
}

#[tokio::test]
async fn a_payment_repeated_with_its_key_is_performed_once_and_answered_alike() {
    let billing = Billing::start(Faults::default()).await;
    let first = billing.pay("inv_0001", Some("k1")).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.json::<Invoice>().status, Status::Paid);
    let second = billing.pay("inv_0001", Some("k1")).await;
    assert_eq!((second.status, second.body), (first.status, first.body));
    let effects = billing.effects().await;
    assert_eq!(effects.len(), 1);
    assert_eq!((effects[0].invoice_id.as_str(), effects[0].idempotency_key.as_deref()), ("inv_0001", Some("k1")));
}

#[tokio::test]
async fn what_there_is_can_be_counted() {
    let billing = Billing::start(Faults::default()).await;
    let counts = async || -> Value { billing.get("/counts").await.json() };
    assert_eq!(counts().await, json!({"invoices": 12, "payments": 0}));
    for _ in 0..2 {
        assert_eq!(billing.pay("inv_0001", Some("k1")).await.status, StatusCode::OK);
    }
    assert_eq!(counts().await, json!({"invoices": 12, "payments": 1}));
}

#[tokio::test]
async fn concurrent_payments_with_one_key_are_one_payment() {
    let billing = Billing::start(Faults::default()).await;
    let answers: Vec<_> = (0..32).map(|_| billing.pay("inv_0002", Some("k"))).collect();
    let mut bodies = Vec::new();
    for answer in join_all(answers).await {
        assert_eq!(answer.status, StatusCode::OK);
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!((bodies.len(), billing.effects().await.len()), (1, 1));
}

#[tokio::test]
async fn a_paid_invoice_is_not_paid_again_under_another_key_or_none() {
    let billing = Billing::start(Faults::default()).await;
    assert_eq!(billing.pay("inv_0001", None).await.status, StatusCode::OK);
    for key in [Some("k2"), None] {
        let again = billing.pay("inv_0001", key).await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        assert_eq!(again.json::<Value>()["error"], "not_open");
    }
    assert_eq!(billing.effects().await.len(), 1);
}

#[tokio::test]
async fn a_key_belongs_to_the_invoice_it_paid() {
    let billing = Billing::start(Faults::default()).await;
    assert_eq!(billing.pay("inv_0001", Some("k")).await.status, StatusCode::OK);
    let other = billing.pay("inv_0002", Some("k")).await;
    assert_eq!((other.status, &other.json::<Value>()["error"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("key_reused")));
    assert_eq!(billing.list("?user_id=u1&status=open").await.len(), 3);
}

#[tokio::test]
async fn a_payment_survives_the_process() {
    let billing = Billing::start(Faults::default()).await;
    let first = billing.pay("inv_0001", Some("k")).await;
    let reopened = Book::open(&billing.file()).expect("the same book");
    assert_eq!(reopened.effects().expect("effects"), billing.effects().await);
    assert_eq!(reopened.pay("inv_0001", Some("k")).expect("a replay").as_bytes(), first.body);
    assert_eq!(reopened.list(None, None).expect("a list").0.len(), 12, "a book is filled once");
}

#[tokio::test]
async fn creating_twice_makes_two_invoices_whatever_the_key() {
    let billing = Billing::start(Faults::default()).await;
    let new = json!({ "user_id": "u9", "amount_cents": 500, "description": "Rope" });
    let create = || billing.send(Method::POST, "/invoices", Some("k"), Some(new.clone()));
    let (one, two): (Invoice, Invoice) = (create().await.json(), create().await.json());
    assert_ne!(one.id, two.id);
    assert_eq!(billing.list("?user_id=u9").await, [one.clone(), two]);
    assert_eq!(billing.get(&format!("/invoices/{}", one.id)).await.json::<Invoice>(), one);
}

#[tokio::test]
async fn nonsense_is_refused_with_a_reason() {
    let billing = Billing::start(Faults::default()).await;
    let create = |body| billing.send(Method::POST, "/invoices", None, Some(body));
    for (answer, status, error) in [
        (billing.get("/invoices/inv_9999").await, 404, "not_found"),
        (billing.get("/nowhere").await, 404, "no_route"),
        (billing.get("/invoices?status=lost").await, 422, "invalid"),
        (billing.get("/invoices?stauts=open").await, 400, "malformed"),
        (billing.pay("inv_9999", Some("k")).await, 404, "not_found"),
        (billing.pay("inv_0006", Some("k")).await, 409, "not_open"),
        (billing.pay("inv_0001", Some("")).await, 422, "invalid"),
        (create(json!({ "user_id": "u1", "amount_cents": 0 })).await, 422, "invalid"),
        (create(json!({ "user_id": "", "amount_cents": 1 })).await, 422, "invalid"),
        (create(json!({ "user_id": "u1", "amount_cents": i64::MAX })).await, 422, "invalid"),
        (create(json!({ "user_id": "u1", "amount_cents": 1, "extra": 1 })).await, 422, "malformed"),
        (create(json!({ "user_id": "u1", "amount_cents": 1, "description": "x".repeat(100_000) })).await, 413, "malformed"),
    ] {
        let body: Value = answer.json();
        assert_eq!((answer.status.as_u16(), &body["error"]), (status, &json!(error)), "{body}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    assert_eq!(billing.list("").await.len(), 12, "nothing was created");
}

#[tokio::test]
async fn a_long_list_is_cut_and_says_so() {
    let billing = Billing::start(Faults::default()).await;
    let book = Book::open(&billing.file()).expect("the same book");
    let new = NewInvoice { user_id: "u8".to_owned(), amount_cents: 1, description: String::new() };
    for _ in 0..=LIST_LIMIT {
        book.create(&new).expect("an invoice");
    }
    let listing: Value = billing.get("/invoices?user_id=u8").await.json();
    assert_eq!(listing["invoices"].as_array().map(Vec::len), Some(LIST_LIMIT));
    assert_eq!(listing["truncated"], true);
}

#[tokio::test]
async fn faults_strike_invoices_before_anything_happens_but_never_the_witness() {
    let billing = Billing::start(Faults::new(Duration::from_millis(30), 1.0)).await;
    let started = Instant::now();
    let answer = billing.pay("inv_0001", Some("k")).await;
    assert!(started.elapsed() >= Duration::from_millis(30));
    assert_eq!((answer.status.as_u16(), answer.retry_after.as_deref()), (503, Some("1")));
    assert_eq!(billing.effects().await, []);
    assert_eq!(billing.get("/healthz").await.status, StatusCode::OK);
}

#[test]
fn a_file_that_is_no_book_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("billing.db");
    std::fs::write(&file, "this is not a database, whatever its name says".repeat(100)).expect("a file");
    assert!(Book::open(&file).is_err());
    assert!(Book::open(Path::new("/nowhere/billing.db")).is_err());
}

#[tokio::test]
async fn a_fault_is_set_from_outside_and_lasts_until_it_is_taken_back() {
    let billing = Billing::start(Faults::default()).await;
    let set = async |fault: &str| {
        let request = Request::put(format!("http://{}/fault", billing.address)).body(Full::new(Bytes::from(fault.to_owned())));
        billing.client.request(request.expect("a request")).await.expect("an answer").status()
    };
    assert_eq!(set("bored").await, StatusCode::BAD_REQUEST);
    assert_eq!(set("busy changes").await, StatusCode::OK);
    let busy = billing.pay("inv_0001", Some("k1")).await;
    assert_eq!((busy.status, busy.retry_after.as_deref()), (StatusCode::TOO_MANY_REQUESTS, Some("1")));
    assert_eq!(billing.get("/invoices/inv_0001").await.status, StatusCode::OK);
    assert_eq!(set("gateway").await, StatusCode::OK);
    assert_eq!(billing.pay("inv_0001", Some("k2")).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(billing.effects().await.len(), 1, "what a gateway loses was done");
    for fault in ["truncated", "headers"] {
        assert_eq!(set(fault).await, StatusCode::OK);
        let request = Request::get(format!("http://{}/invoices/inv_0001", billing.address)).body(Full::default());
        let answer = billing.client.request(request.expect("a request")).await;
        let is_whole = match answer {
            Ok(response) => response.into_body().collect().await.is_ok(),
            Err(_) => false,
        };
        assert!(!is_whole, "{fault}");
    }
    assert_eq!(set("").await, StatusCode::OK);
    assert_eq!(billing.get("/invoices/inv_0001").await.json::<Invoice>().status, Status::Paid);
}

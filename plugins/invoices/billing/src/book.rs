//! The book: invoices, and the payments made on them, in one SQLite file.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most invoices one listing returns.
pub const LIST_LIMIT: usize = 1000;

/// The largest amount of one invoice, in cents.
const MAX_AMOUNT_CENTS: i64 = 100_000_000;

/// The most characters of a user id or a description.
const MAX_TEXT_CHARS: usize = 200;

/// The most characters of an idempotency key.
const MAX_KEY_CHARS: usize = 255;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS invoices (
        number       INTEGER PRIMARY KEY,
        id           TEXT NOT NULL UNIQUE,
        user_id      TEXT NOT NULL,
        status       TEXT NOT NULL CHECK (status IN ('open', 'paid', 'void')),
        amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
        description  TEXT NOT NULL,
        created_at   TEXT NOT NULL,
        paid_at      TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS invoices_by_user ON invoices (user_id, status);
    CREATE TABLE IF NOT EXISTS payments (
        number          INTEGER PRIMARY KEY,
        invoice_id      TEXT NOT NULL REFERENCES invoices (id),
        idempotency_key TEXT UNIQUE,
        at              TEXT NOT NULL,
        response        TEXT NOT NULL
    ) STRICT;
";

/// What a new book holds: user, status, cents, description.
const SEED: [(&str, Status, i64, &str); 12] = [
    ("u1", Status::Open, 1_250, "Harbour dues, berth 4"),
    ("u1", Status::Open, 4_900, "Pilotage, inbound"),
    ("u1", Status::Open, 19_900, "Crane hire, half a day"),
    ("u1", Status::Open, 250_000, "Dry dock, one week"),
    ("u1", Status::Paid, 3_300, "Fresh water, 20 m3"),
    ("u1", Status::Void, 700, "Line handling, cancelled"),
    ("u2", Status::Open, 8_800, "Harbour dues, berth 7"),
    ("u2", Status::Open, 12_000, "Tug, outbound"),
    ("u2", Status::Paid, 2_100, "Waste disposal"),
    ("u3", Status::Open, 640, "Shore power, 40 kWh"),
    ("u3", Status::Paid, 5_500, "Pilotage, outbound"),
    ("u3", Status::Void, 9_900, "Crane hire, cancelled"),
];

/// The book. Cheap to clone; all clones write the same file, one at a time.
#[derive(Clone)]
pub struct Book {
    connection: Arc<Mutex<Connection>>,
}

/// One invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Such as `inv_0001`.
    pub id: String,
    /// Whose invoice it is.
    pub user_id: String,
    /// Where it stands.
    pub status: Status,
    /// How much it is, in cents.
    pub amount_cents: i64,
    /// What it is for.
    pub description: String,
    /// When it was created (RFC 3339).
    pub created_at: String,
    /// When it was paid (RFC 3339), if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<String>,
}

/// Where an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// To be paid.
    Open,
    /// Paid.
    Paid,
    /// Never to be paid.
    Void,
}

/// What creates an invoice.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvoice {
    /// Whose invoice it is.
    pub user_id: String,
    /// How much it is, in cents; positive.
    pub amount_cents: i64,
    /// What it is for.
    #[serde(default)]
    pub description: String,
}

/// One payment that was performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The invoice that was paid.
    pub invoice_id: String,
    /// The `Idempotency-Key` it was paid with, if any.
    pub idempotency_key: Option<String>,
    /// When (RFC 3339).
    pub at: String,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Invoices, whatever became of them.
    pub invoices: i64,
    /// Payments that were performed.
    pub payments: i64,
}

/// Why the book did not do what it was asked to.
#[derive(Debug, Error)]
pub enum BookError {
    /// There is no such invoice.
    #[error("there is no invoice `{0}`")]
    NotFound(String),
    /// The invoice is not open.
    #[error("the invoice `{id}` is {status}, not open")]
    NotOpen {
        /// The invoice.
        id: String,
        /// What it is instead.
        status: &'static str,
    },
    /// The key was used for another invoice.
    #[error("this idempotency key already paid the invoice `{0}`")]
    KeyReused(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// SQLite failed; nothing was changed.
    #[error("the book can't be read or written: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl Book {
    /// Opens the book in this file, and fills it with a few invoices if it is new.
    ///
    /// # Errors
    ///
    /// [`BookError::Sqlite`] if the file can't be opened or is not such a book.
    pub fn open(file: &Path) -> Result<Book, BookError> {
        let mut connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // INVARIANT: a payment that was answered survives a power cut. In WAL mode only FULL syncs at every commit.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.execute_batch(SCHEMA)?;
        let book = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if next_number(&book)? == 1 {
            for (user_id, status, amount_cents, description) in SEED {
                insert(&book, user_id, status, amount_cents, description)?;
            }
        }
        book.commit()?;
        Ok(Book { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Lists invoices, oldest first: up to [`LIST_LIMIT`], and whether there are more.
    ///
    /// # Errors
    ///
    /// [`BookError::Sqlite`].
    pub fn list(&self, user_id: Option<&str>, status: Option<Status>) -> Result<(Vec<Invoice>, bool), BookError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT * FROM invoices WHERE (?1 IS NULL OR user_id = ?1) AND (?2 IS NULL OR status = ?2)
                 ORDER BY number LIMIT ?3",
            )?;
            let rows = query.query_map(params![user_id, status.map(Status::as_str), LIST_LIMIT as i64 + 1], read_invoice)?;
            let mut invoices = rows.collect::<Result<Vec<_>, _>>()?;
            let truncated = invoices.len() > LIST_LIMIT;
            invoices.truncate(LIST_LIMIT);
            Ok((invoices, truncated))
        })
    }

    /// Reads one invoice.
    ///
    /// # Errors
    ///
    /// [`BookError::NotFound`] or [`BookError::Sqlite`].
    pub fn get(&self, id: &str) -> Result<Invoice, BookError> {
        self.with(|connection| find(connection, id))
    }

    /// Creates an open invoice. Twice the same request makes two invoices.
    ///
    /// # Errors
    ///
    /// [`BookError::Invalid`] or [`BookError::Sqlite`].
    pub fn create(&self, new: &NewInvoice) -> Result<Invoice, BookError> {
        if new.user_id.is_empty() {
            return Err(BookError::Invalid("`user_id` is empty".to_owned()));
        }
        if new.user_id.chars().count() > MAX_TEXT_CHARS || new.description.chars().count() > MAX_TEXT_CHARS {
            return Err(BookError::Invalid(format!("a text is longer than {MAX_TEXT_CHARS} characters")));
        }
        if !(1..=MAX_AMOUNT_CENTS).contains(&new.amount_cents) {
            return Err(BookError::Invalid(format!("`amount_cents` is not between 1 and {MAX_AMOUNT_CENTS}")));
        }
        self.transact(|book| {
            let id = insert(book, &new.user_id, Status::Open, new.amount_cents, &new.description)?;
            find(book, &id)
        })
    }

    /// Pays an open invoice, and returns the response to give: the paid invoice as JSON.
    ///
    /// INVARIANT: with one key an invoice is paid once, and every repetition gets the first response. The payment, its
    /// key and its response are one transaction.
    ///
    /// # Errors
    ///
    /// [`BookError::NotFound`], [`BookError::NotOpen`], [`BookError::KeyReused`], [`BookError::Invalid`] for an
    /// impossible key, [`BookError::Sqlite`].
    pub fn pay(&self, id: &str, key: Option<&str>) -> Result<String, BookError> {
        if key.is_some_and(|key| key.is_empty() || key.chars().count() > MAX_KEY_CHARS) {
            return Err(BookError::Invalid(format!("an idempotency key has 1 to {MAX_KEY_CHARS} characters")));
        }
        self.transact(|book| {
            let first = book
                .prepare_cached("SELECT invoice_id, response FROM payments WHERE idempotency_key = ?1")?
                .query_row([key], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
                .optional()?;
            match first {
                Some((invoice_id, response)) if invoice_id == id => return Ok(response),
                Some((invoice_id, _)) => return Err(BookError::KeyReused(invoice_id)),
                None => {}
            }
            let mut invoice = find(book, id)?;
            if invoice.status != Status::Open {
                return Err(BookError::NotOpen { id: invoice.id, status: invoice.status.as_str() });
            }
            let now = now();
            invoice.status = Status::Paid;
            invoice.paid_at = Some(now.clone());
            let response = serde_json::to_string(&invoice).expect("an invoice is plain data");
            book.execute("UPDATE invoices SET status = 'paid', paid_at = ?2 WHERE id = ?1", params![id, now])?;
            book.execute(
                "INSERT INTO payments (invoice_id, idempotency_key, at, response) VALUES (?1, ?2, ?3, ?4)",
                params![id, key, now, response],
            )?;
            Ok(response)
        })
    }

    /// Every payment performed, oldest first. Unbounded on purpose: whoever counts must see all of them.
    ///
    /// # Errors
    ///
    /// [`BookError::Sqlite`].
    pub fn effects(&self) -> Result<Vec<Effect>, BookError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT * FROM payments ORDER BY number")?;
            let rows = query.query_map([], |row| {
                Ok(Effect {
                    invoice_id: row.get("invoice_id")?,
                    idempotency_key: row.get("idempotency_key")?,
                    at: row.get("at")?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Counts invoices and payments, for those who compare with what they asked for.
    ///
    /// # Errors
    ///
    /// [`BookError::Sqlite`].
    pub fn counts(&self) -> Result<Counts, BookError> {
        self.with(|connection| {
            let counts = "SELECT (SELECT count(*) FROM invoices), (SELECT count(*) FROM payments)";
            Ok(connection.query_row(counts, [], |row| Ok(Counts { invoices: row.get(0)?, payments: row.get(1)? }))?)
        })
    }

    fn transact<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, BookError>) -> Result<T, BookError> {
        self.with(|connection| {
            // Dropped without a commit it rolls back.
            let book = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&book)?;
            book.commit()?;
            Ok(result)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, BookError>) -> Result<T, BookError> {
        // A panic inside a transaction has rolled it back: the connection is as good as before.
        work(&mut self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Status {
    /// The status as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Paid => "paid",
            Status::Void => "void",
        }
    }

    /// The status that the API writes so, if there is one.
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Open, Status::Paid, Status::Void].into_iter().find(|status| status.as_str() == text)
    }
}

fn next_number(book: &Connection) -> Result<i64, rusqlite::Error> {
    book.query_row("SELECT coalesce(max(number), 0) + 1 FROM invoices", [], |row| row.get(0))
}

fn insert(book: &Connection, user: &str, status: Status, cents: i64, description: &str) -> Result<String, BookError> {
    let number = next_number(book)?;
    let id = format!("inv_{number:04}");
    let now = now();
    let paid_at = (status == Status::Paid).then_some(&now);
    book.execute(
        "INSERT INTO invoices VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![number, id, user, status.as_str(), cents, description, now, paid_at],
    )?;
    Ok(id)
}

fn find(book: &Connection, id: &str) -> Result<Invoice, BookError> {
    book.prepare_cached("SELECT * FROM invoices WHERE id = ?1")?
        .query_row([id], read_invoice)
        .optional()?
        .ok_or_else(|| BookError::NotFound(id.to_owned()))
}

fn read_invoice(row: &Row<'_>) -> Result<Invoice, rusqlite::Error> {
    let status: String = row.get("status")?;
    let status = Status::parse(&status).ok_or_else(|| rusqlite::Error::InvalidColumnType(3, "status".to_owned(), Type::Text))?;
    Ok(Invoice {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        status,
        amount_cents: row.get("amount_cents")?,
        description: row.get("description")?,
        created_at: row.get("created_at")?,
        paid_at: row.get("paid_at")?,
    })
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

//! The demo's database: a small bank in SQLite, with an honest business, a careless update and a rogue that scribbles.

use super::sqlite::SqliteVfs;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The database's path in its volume.
pub(crate) const PATH: &str = "/bank.db";
/// The size of its pages, in bytes: a block's, so that a page is one before-image.
pub(crate) const PAGE: u64 = strand_engine::BLOCK;
/// Accounts at the beginning.
pub(crate) const ACCOUNTS: i64 = 20_000;
/// The first of them do all the business, so that most pages are as they were when the mistake is made.
const BUSY_ACCOUNTS: i64 = 4_000;

/// A bank's whole contents. Small enough to be kept and compared row by row.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Contents {
    accounts: Vec<(i64, String, i64)>,
    entries: Vec<(i64, i64, i64, String)>,
}

impl Contents {
    /// Number of accounts.
    pub(crate) fn accounts(&self) -> u64 {
        self.accounts.len() as u64
    }

    /// Number of entries.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.len() as u64
    }

    /// All balances together, in cents.
    pub(crate) fn total(&self) -> i64 {
        self.accounts.iter().map(|(_, _, balance)| balance).sum()
    }

    /// A checksum over every row, to be shown; comparisons compare the rows.
    pub(crate) fn checksum(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// For programs.
    pub(crate) fn facts(&self) -> Value {
        json!({
            "accounts": self.accounts(),
            "entries": self.entries(),
            "total_cents": self.total(),
            "checksum": self.checksum(),
        })
    }
}

/// What SQLite says of its file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Integrity {
    /// `PRAGMA integrity_check` answered `ok`.
    pub(crate) ok: bool,
    /// Number of problems, as far as SQLite counts (100).
    pub(crate) problems: u64,
    /// The first of them.
    pub(crate) first: String,
}

/// A connection to the bank.
pub(crate) struct Bank {
    connection: Connection,
}

impl Bank {
    /// Opens the database through a VFS; it is created where it does not exist.
    pub(crate) fn open(vfs: &SqliteVfs) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(PATH, flags, vfs.name())?;
        // A journal that is cut and not removed makes a transaction durable when its commit returns, and the audit trail shorter.
        connection.pragma_update(None, "journal_mode", "TRUNCATE")?;
        Ok(Self { connection })
    }

    /// Makes the tables and the accounts, each with its opening entry, in one transaction.
    pub(crate) fn found(&mut self, dice: &mut Dice) -> rusqlite::Result<()> {
        self.connection
            .pragma_update(None, "page_size", PAGE as i64)?;
        let founding = self.connection.transaction()?;
        founding.execute_batch(
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
             CREATE TABLE entries (id INTEGER PRIMARY KEY, account INTEGER NOT NULL REFERENCES accounts,
                                   amount INTEGER NOT NULL, note TEXT NOT NULL);
             CREATE INDEX entries_by_account ON entries (account);",
        )?;
        {
            let mut account = founding.prepare("INSERT INTO accounts VALUES (?1, ?2, ?3)")?;
            let mut entry = founding.prepare(
                "INSERT INTO entries (account, amount, note) VALUES (?1, ?2, 'opening')",
            )?;
            for id in 1..=ACCOUNTS {
                let balance = 10_000 + dice.below(990_000) as i64;
                account.execute(params![id, format!("customer {id:05}"), balance])?;
                entry.execute(params![id, balance])?;
            }
        }
        founding.commit()
    }

    /// One transfer between two accounts: two updates and two entries in a transaction of their own.
    pub(crate) fn transfer(&mut self, dice: &mut Dice) -> rusqlite::Result<()> {
        let busy = BUSY_ACCOUNTS.unsigned_abs();
        let from = 1 + dice.below(busy) as i64;
        let to = 1 + (from + dice.below(busy - 1) as i64) % BUSY_ACCOUNTS;
        let amount = 1 + dice.below(5_000) as i64;
        let transfer = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (account, amount) in [(from, -amount), (to, amount)] {
            transfer
                .prepare_cached("UPDATE accounts SET balance = balance + ?2 WHERE id = ?1")?
                .execute(params![account, amount])?;
            transfer
                .prepare_cached("INSERT INTO entries (account, amount, note) VALUES (?1, ?2, ?3)")?
                .execute(params![account, amount, format!("transfer {from} to {to}")])?;
        }
        transfer.commit()
    }

    /// The classic: an `UPDATE` whose `WHERE` was forgotten. Returns the number of rows it changed.
    pub(crate) fn update_without_where(&self) -> rusqlite::Result<u64> {
        self.connection
            .execute(CARELESS_UPDATE, [])
            .map(|rows| rows as u64)
    }

    /// Pages worth scribbling on, `count` of them, all different: the root of the entries, and others that the dice name. Never page 1, so
    /// that SQLite still takes the file for a database.
    pub(crate) fn pages_to_scribble(
        &self,
        count: usize,
        dice: &mut Dice,
    ) -> rusqlite::Result<Vec<u64>> {
        let root: i64 = self.connection.query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'entries'",
            [],
            |row| row.get(0),
        )?;
        let pages: i64 = self
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0))?;
        let (root, pages) = (root.unsigned_abs(), pages.unsigned_abs());
        let mut chosen = vec![root];
        let most = usize::try_from(pages.saturating_sub(1)).unwrap_or(usize::MAX);
        while chosen.len() < count.min(most) {
            let page = 2 + dice.below(pages - 1);
            if !chosen.contains(&page) {
                chosen.push(page);
            }
        }
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// Everything in it.
    pub(crate) fn contents(&self) -> rusqlite::Result<Contents> {
        let mut accounts = self
            .connection
            .prepare("SELECT id, owner, balance FROM accounts ORDER BY id")?;
        let accounts = accounts
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let mut entries = self
            .connection
            .prepare("SELECT id, account, amount, note FROM entries ORDER BY id")?;
        let entries = entries
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok(Contents { accounts, entries })
    }

    /// Asks SQLite to check its file. A check that cannot even run is a problem, not an error.
    pub(crate) fn integrity(&self) -> Integrity {
        let answers = self
            .connection
            .prepare("PRAGMA integrity_check")
            .and_then(|mut check| {
                let rows = check.query_map([], |row| row.get::<_, String>(0))?;
                rows.collect::<Result<Vec<_>, _>>()
            });
        match answers {
            Ok(lines) if lines == ["ok"] => Integrity {
                ok: true,
                problems: 0,
                first: "ok".into(),
            },
            Ok(lines) => {
                let problems: Vec<&str> = lines
                    .iter()
                    .flat_map(|answer| answer.lines())
                    .filter(|line| !line.starts_with("***"))
                    .collect();
                Integrity {
                    ok: false,
                    problems: problems.len() as u64,
                    first: problems.first().copied().unwrap_or_default().to_owned(),
                }
            }
            Err(error) => Integrity {
                ok: false,
                problems: 1,
                first: error.to_string(),
            },
        }
    }
}

/// The statement of [`Bank::update_without_where`].
pub(crate) const CARELESS_UPDATE: &str = "UPDATE accounts SET balance = 0";

/// Numbers that look thrown, and are the same in every run (splitmix64): a demo that can be repeated.
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that start with `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any of 2^64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Garbage.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(count)
            .collect()
    }
}

//! The SQLite database, and the processes that work on it: this test program, started again with a role in its environment, so that it
//! can be killed.

use crate::machine;
use crate::place::Place;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

const ROLE: &str = "STRAND_LIVE_ROLE";
const DATABASE: &str = "STRAND_LIVE_DATABASE";
const JOURNAL: &str = "STRAND_LIVE_JOURNAL";
/// The exit code of a process that saw what must never be seen.
const WRONG: i32 = 3;
const ACCOUNTS: i64 = 200;
const BALANCE: i64 = 1000;
/// A process that does not end within this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How SQLite makes its transactions durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Journal {
    Wal,
    Delete,
    Truncate,
}

impl Journal {
    const ALL: [Journal; 3] = [Journal::Wal, Journal::Delete, Journal::Truncate];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Journal::Wal => "wal",
            Journal::Delete => "delete",
            Journal::Truncate => "truncate",
        }
    }

    fn named(name: &str) -> Self {
        *Self::ALL
            .iter()
            .find(|journal| journal.name() == name)
            .expect("one of ours")
    }

    /// What makes every acknowledged transaction durable: a deleted journal has to stay deleted, which needs a sync of the directory.
    fn synchronous(self) -> &'static str {
        match self {
            Journal::Delete => "EXTRA",
            Journal::Wal | Journal::Truncate => "FULL",
        }
    }
}

/// A process that works on the database.
pub(crate) struct Worker {
    role: &'static str,
    child: Child,
    output: PathBuf,
}

impl Worker {
    /// Starts one; what it prints goes to a file of this name in the place, outside the mount.
    pub(crate) fn start(
        place: &Place,
        role: &'static str,
        database: &Path,
        journal: Journal,
        name: &str,
    ) -> Self {
        let output = place.path().join(format!("{name}.out"));
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "bank::the_books_are_kept", "--nocapture"])
            .env(ROLE, role)
            .env(DATABASE, database)
            .env(JOURNAL, journal.name())
            .stdin(Stdio::null())
            .stdout(File::create(&output).expect("a file"))
            .stderr(File::create(output.with_extension("err")).expect("a file"));
        Self {
            role,
            child: command.spawn().expect("it starts"),
            output,
        }
    }

    /// `kill -9`, at whatever it is doing; it must have been working until now.
    pub(crate) fn kill(&mut self) {
        assert!(self.is_working(), "{}: {}", self.role, self.said());
        self.child.kill().expect("ours");
        self.end();
    }

    pub(crate) fn is_working(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut status = None;
        machine::wait_for("a process on the database", PATIENCE, || {
            status = self.child.try_wait().expect("ours");
            status.is_some()
        });
        status.expect("waited for")
    }

    /// Ends it when it may already have ended by itself, for want of the daemon; what it saw until then has to have been right.
    pub(crate) fn end_without_daemon(&mut self) {
        self.child.kill().ok();
        let status = self.end();
        assert_ne!(status.code(), Some(WRONG), "{}: {}", self.role, self.said());
    }

    /// The number behind this word in the last whole line that begins with it; 0 where there is none.
    pub(crate) fn last(&self, word: &str) -> i64 {
        self.said()
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| line.trim_end().strip_prefix(word)?.trim().parse().ok())
            .next_back()
            .unwrap_or(0)
    }

    /// All it printed.
    pub(crate) fn said(&self) -> String {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        read(&self.output) + &read(&self.output.with_extension("err"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        // Bounded: a process that waits for a daemon that hangs cannot be killed before that one is.
        for _ in 0..400 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn open(database: &Path, journal: Journal) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(20))?;
    let mode: String = connection.query_row(
        &format!("PRAGMA journal_mode={}", journal.name()),
        [],
        |row| row.get(0),
    )?;
    assert_eq!(mode, journal.name());
    connection.pragma_update(None, "synchronous", journal.synchronous())?;
    // Often, so that the log is copied back while others read and somebody is killed.
    connection.pragma_update(None, "wal_autocheckpoint", 50)?;
    Ok(connection)
}

/// Makes the bank where there is none.
fn found(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note BLOB);
         CREATE TABLE IF NOT EXISTS entries(n INTEGER PRIMARY KEY, taken INTEGER, given INTEGER, amount INTEGER, slip BLOB);
         CREATE INDEX IF NOT EXISTS by_taker ON entries(taken, amount);",
    )?;
    let accounts: i64 = tx.query_row("SELECT count(*) FROM accounts", [], |row| row.get(0))?;
    if accounts == 0 {
        for id in 0..ACCOUNTS {
            tx.execute(
                "INSERT INTO accounts VALUES(?, ?, randomblob(200))",
                (id, BALANCE),
            )?;
        }
    }
    tx.commit()
}

/// One transfer; gives its number, which is one more than the last.
fn transfer(connection: &mut Connection) -> rusqlite::Result<i64> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let n: i64 = tx.query_row("SELECT coalesce(max(n), 0) + 1 FROM entries", [], |row| {
        row.get(0)
    })?;
    let (taken, given, amount) = (n * 7 % ACCOUNTS, (n * 13 + 1) % ACCOUNTS, n % 50);
    tx.execute(
        "UPDATE accounts SET balance = balance - ?2, note = randomblob(200) WHERE id = ?1",
        (taken, amount),
    )?;
    tx.execute(
        "UPDATE accounts SET balance = balance + ?2 WHERE id = ?1",
        (given, amount),
    )?;
    tx.execute(
        "INSERT INTO entries VALUES(?, ?, ?, ?, randomblob(?))",
        (n, taken, given, amount, n * 37 % 5000),
    )?;
    if n % 20 == 0 {
        // Pages become free and are used again; a transaction of many pages.
        tx.execute(
            "UPDATE entries SET slip = NULL WHERE n BETWEEN ?1 - 200 AND ?1",
            [n],
        )?;
    }
    tx.commit()?;
    Ok(n)
}

/// What the books say, all in one transaction: the number of the last entry. An error text where they do not add up.
fn audit(tx: &Transaction<'_>) -> rusqlite::Result<Result<i64, String>> {
    let total: i64 = tx.query_row("SELECT sum(balance) FROM accounts", [], |row| row.get(0))?;
    let (count, last): (i64, i64) = tx.query_row(
        "SELECT count(*), coalesce(max(n), 0) FROM entries",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let unbalanced: i64 = tx.query_row(
        "SELECT count(*) FROM accounts LEFT JOIN (
             SELECT id AS who, sum(amount) AS moved FROM (
                 SELECT taken AS id, -amount AS amount FROM entries
                 UNION ALL SELECT given, amount FROM entries) GROUP BY id
             ) ON who = id WHERE balance != ? + coalesce(moved, 0)",
        [BALANCE],
        |row| row.get(0),
    )?;
    let right = total == ACCOUNTS * BALANCE && count == last && unbalanced == 0;
    Ok(if right {
        Ok(last)
    } else {
        Err(format!(
            "total {total}, {count} entries up to {last}, {unbalanced} accounts that do not follow from them"
        ))
    })
}

fn write_on(database: &Path, journal: Journal) -> rusqlite::Result<()> {
    let mut connection = open(database, journal)?;
    found(&mut connection)?;
    let dir = database.parent().expect("in a directory");
    loop {
        let n = transfer(&mut connection)?;
        // SQLite passes over a directory that it cannot open to sync it after the journal was deleted, and says that the transaction is
        // durable: right where a dead file system takes the process with it, wrong where only the daemon died just then. It was alive at
        // that moment if the directory can still be opened.
        if matches!(journal, Journal::Delete) && File::open(dir).is_err() {
            println!("failed: the daemon died while {n} was acknowledged");
            return Ok(());
        }
        println!("committed {n}");
    }
}

fn read_on(database: &Path, journal: Journal) -> rusqlite::Result<String> {
    let mut connection = open(database, journal)?;
    let mut before = 0;
    loop {
        match audit(&connection.transaction()?)? {
            Ok(last) if last >= before => {
                println!("read {last}");
                before = last;
            }
            Ok(last) => return Ok(format!("read {last} after {before}")),
            Err(wrong) => return Ok(wrong),
        }
    }
}

fn check(database: &Path, journal: Journal) -> rusqlite::Result<Result<i64, String>> {
    let mut connection = open(database, journal)?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Ok(Err(verdict));
    }
    audit(&connection.transaction()?)
}

/// What this process is asked to be.
fn play(role: &str, database: &Path, journal: Journal) -> i32 {
    let played = match role {
        "writer" => write_on(database, journal).map(|()| Ok(0)),
        "reader" => read_on(database, journal).map(Err),
        _ => check(database, journal),
    };
    match played {
        Ok(Ok(last)) => {
            println!("sound {last}");
            0
        }
        Ok(Err(wrong)) => {
            println!("wrong: {wrong}");
            WRONG
        }
        Err(e) => {
            println!("failed: {e}");
            2
        }
    }
}

/// In a process with a role: plays it. Otherwise: the bank itself is tried, in a plain directory.
#[test]
fn the_books_are_kept() {
    if let (Ok(role), Some(database)) = (std::env::var(ROLE), std::env::var_os(DATABASE)) {
        let journal = Journal::named(&std::env::var(JOURNAL).expect("given with the role"));
        std::process::exit(play(&role, Path::new(&database), journal));
    }
    let dir = tempfile::tempdir().expect("a directory");
    for journal in Journal::ALL {
        let database = dir.path().join(journal.name());
        let mut connection = open(&database, journal).expect("opened");
        found(&mut connection).expect("made");
        for n in 1..=40 {
            assert_eq!(transfer(&mut connection).expect("done"), n);
        }
        drop(connection);
        assert_eq!(check(&database, journal).expect("read"), Ok(40));
        let connection = open(&database, journal).expect("opened");
        connection
            .execute("UPDATE accounts SET balance = balance + 1 WHERE id = 7", [])
            .expect("done");
        drop(connection);
        assert!(
            check(&database, journal).expect("read").is_err(),
            "an audit that finds nothing wrong is none"
        );
    }
}

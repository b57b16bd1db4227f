//! SQLite on a volume: transactions, journals, crashes, rollbacks under its feet.

use super::SqliteVfs;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use strand_engine::{
    Actor, BLOCK, Command, Event, Grade, InitOptions, Kind, NewBody, OpenOptions, Source, Store,
    SystemClock, VolumeId, fold,
};
use strand_journal::{Disk, FaultyDisk, MemoryDisk, StoreId};

const SEGMENT: u64 = 1 << 20;

/// A store with one volume and a VFS on it.
struct Rig {
    store: Arc<Store>,
    volume: VolumeId,
    vfs: SqliteVfs,
}

fn actor(name: &str) -> Actor {
    Actor {
        grade: Grade::Caller,
        name: name.into(),
        pid: 7,
        ..Actor::program()
    }
}

/// SQLite's names are the process's, and tests run side by side.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("strand-test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn vfs(store: &Arc<Store>, volume: VolumeId, name: &str) -> SqliteVfs {
    SqliteVfs::register(&unique(), Arc::clone(store), volume, actor(name)).unwrap()
}

impl Rig {
    fn on(disk: Arc<dyn Disk>, capacity: Option<u64>) -> Self {
        let options = InitOptions {
            segment_size: SEGMENT,
            capacity,
            store: StoreId([7; 16]),
        };
        let store = Store::init(
            disk,
            Arc::new(SystemClock::default()),
            options,
            &actor("init"),
        )
        .unwrap();
        store
            .run(
                &actor("init"),
                Command::VolumeCreate {
                    name: "v".into(),
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                },
            )
            .unwrap();
        Self::over(store)
    }

    fn new() -> Self {
        Self::on(Arc::new(MemoryDisk::new()), None)
    }

    fn reopened(disk: Arc<dyn Disk>) -> Self {
        Self::over(
            Store::open(
                disk,
                Arc::new(SystemClock::default()),
                OpenOptions::read_write(),
            )
            .unwrap(),
        )
    }

    fn over(store: Store) -> Self {
        let store = Arc::new(store);
        let volume = store.state().volume_named("v").unwrap().id;
        let vfs = vfs(&store, volume, "sqlite");
        Self { store, volume, vfs }
    }

    fn connect(&self) -> Connection {
        connect(&self.vfs)
    }

    fn close(self) {
        drop(self.vfs);
        Arc::into_inner(self.store).unwrap().close().unwrap();
    }

    fn files(&self) -> Vec<String> {
        let state = self.store.state();
        let live = &state.volume(self.volume).unwrap().live;
        let names = live.inode(live.root).unwrap().names().unwrap().keys();
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }
}

fn connect(vfs: &SqliteVfs) -> Connection {
    let connection =
        Connection::open_with_flags_and_vfs("t.db", OpenFlags::default(), vfs.name()).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
}

/// As a database in WAL mode must be opened where there is no shared memory.
fn connect_alone(vfs: &SqliteVfs) -> Connection {
    let connection = connect(vfs);
    let alone = "PRAGMA locking_mode = EXCLUSIVE";
    connection.query_row(alone, [], |_| Ok(())).unwrap();
    connection
}

fn with_table(connection: &Connection, journal_mode: &str) {
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = 4096; PRAGMA locking_mode = {}; PRAGMA journal_mode = {journal_mode}; PRAGMA synchronous = EXTRA;
             CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT NOT NULL);",
            if journal_mode == "wal" { "EXCLUSIVE" } else { "NORMAL" },
        ))
        .unwrap();
}

/// Adds a row of `size` bytes in a transaction of its own.
fn add(connection: &Connection, id: i64, size: usize) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO t VALUES (?1, ?2)",
        (id, format!("{id:>size$}")),
    )
}

fn ids(connection: &Connection) -> Vec<i64> {
    let mut select = connection.prepare("SELECT id FROM t ORDER BY id").unwrap();
    select
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn integrity(connection: &Connection) -> String {
    connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn many_transactions_and_rollbacks_with_every_journal_mode() {
    for mode in ["delete", "truncate", "persist", "memory", "wal"] {
        let rig = Rig::new();
        let mut connection = rig.connect();
        with_table(&connection, mode);
        let now: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!(now, mode);
        for id in 0..60 {
            let transaction = connection.transaction().unwrap();
            add(&transaction, id, 900).unwrap();
            transaction
                .execute("UPDATE t SET body = body || 'x' WHERE id = ?1", [id / 2])
                .unwrap();
            if id % 3 == 0 {
                transaction.rollback().unwrap()
            } else {
                transaction.commit().unwrap()
            }
        }
        assert_eq!(
            ids(&connection),
            (0..60).filter(|id| id % 3 != 0).collect::<Vec<_>>(),
            "{mode}"
        );
        assert_eq!(integrity(&connection), "ok", "{mode}");
        drop(connection);
        let again = connect_alone(&rig.vfs);
        assert_eq!(ids(&again).len(), 40, "{mode}");
        assert_eq!(integrity(&again), "ok", "{mode}");
    }
}

#[test]
fn wal_without_exclusive_locking_is_declined() {
    let rig = Rig::new();
    let connection = rig.connect();
    let mode: String = connection
        .query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        mode, "delete",
        "there is no shared memory, so SQLite stays with what works"
    );
}

#[test]
fn the_database_is_there_when_the_store_is_opened_again() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let rig = Rig::on(Arc::clone(&disk), None);
    let connection = rig.connect();
    with_table(&connection, "delete");
    for id in 0..20 {
        add(&connection, id, 3000).unwrap();
    }
    drop(connection);
    rig.close();

    let rig = Rig::reopened(disk);
    let connection = rig.connect();
    assert_eq!(
        (ids(&connection).len(), integrity(&connection)),
        (20, "ok".to_owned())
    );
    assert_eq!(rig.files(), ["t.db"]);
}

#[test]
fn a_power_cut_keeps_every_transaction_that_was_acknowledged() {
    for mode in ["delete", "truncate", "persist", "wal"] {
        for seed in 0..6 {
            let disk = FaultyDisk::new(seed);
            let rig = Rig::on(Arc::new(disk.clone()), None);
            let mut connection = rig.connect();
            with_table(&connection, mode);
            let acknowledged = 10 + i64::try_from(seed).unwrap();
            for id in 0..acknowledged {
                add(&connection, id, 2500).unwrap();
            }
            // One more is under way, with pages spilled into the file already.
            connection.pragma_update(None, "cache_size", 5).unwrap();
            let open = connection.transaction().unwrap();
            open.execute("UPDATE t SET body = 'lost'", []).unwrap();
            for id in 100..140 {
                add(&open, id, 2500).unwrap();
            }
            let found = Rig::reopened(Arc::new(disk.crash(seed)));
            let after = connect_alone(&found.vfs);
            assert_eq!(integrity(&after), "ok", "{mode}, seed {seed}");
            assert_eq!(
                ids(&after),
                (0..acknowledged).collect::<Vec<_>>(),
                "{mode}, seed {seed}"
            );
            let lost: i64 = after
                .query_row("SELECT count(*) FROM t WHERE body = 'lost'", [], |row| {
                    row.get(0)
                })
                .unwrap();
            assert_eq!(lost, 0, "{mode}, seed {seed}");
            drop(open);
        }
    }
}

#[test]
fn a_hot_journal_is_rolled_back_by_the_next_connection() {
    let disk = FaultyDisk::new(1);
    let rig = Rig::on(Arc::new(disk.clone()), None);
    let mut connection = rig.connect();
    with_table(&connection, "delete");
    for id in 0..40 {
        add(&connection, id, 2500).unwrap();
    }
    connection.pragma_update(None, "cache_size", 5).unwrap();
    let open = connection.transaction().unwrap();
    open.execute("UPDATE t SET body = 'lost'", []).unwrap();
    rig.store.sync().unwrap(); // the spilled pages and their journal are durable: half a transaction

    let found = Rig::reopened(Arc::new(disk.crash(1)));
    assert_eq!(found.files(), ["t.db", "t.db-journal"]);
    let after = found.connect();
    assert_eq!(
        (ids(&after).len(), integrity(&after)),
        (40, "ok".to_owned())
    );
    let lost: i64 = after
        .query_row("SELECT count(*) FROM t WHERE body = 'lost'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(lost, 0);
    assert_eq!(found.files(), ["t.db"]);
    drop(open);
}

#[test]
fn two_connections_share_their_locks_whatever_vfs_they_came_through() {
    let rig = Rig::new();
    let other = vfs(&rig.store, rig.volume, "other");
    let (mut a, b) = (rig.connect(), connect(&other));
    with_table(&a, "delete");
    add(&a, 1, 10).unwrap();
    assert_eq!(ids(&b), [1]);

    let writing = a
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    add(&writing, 2, 10).unwrap();
    assert_eq!(
        add(&b, 3, 10).unwrap_err().sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy)
    );
    assert_eq!(ids(&b), [1], "a reader sees the last commit");
    writing.commit().unwrap();
    add(&b, 3, 10).unwrap();
    assert_eq!(ids(&a), [1, 2, 3]);

    let mut rows = b.prepare("SELECT id FROM t").unwrap();
    let mut rows = rows.query([]).unwrap();
    rows.next().unwrap();
    assert_eq!(
        add(&a, 4, 10).unwrap_err().sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy),
        "a reader is in the way"
    );
    drop(rows);
    add(&a, 4, 10).unwrap();
}

#[test]
fn writers_on_many_threads_lose_nothing() {
    let rig = Rig::new();
    with_table(&rig.connect(), "delete");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let rig = &rig;
            scope.spawn(move || {
                let connection = rig.connect();
                connection.busy_timeout(Duration::from_secs(60)).unwrap();
                for i in 0..25 {
                    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                    add(&connection, thread * 100 + i, 500).unwrap();
                    connection.execute_batch("COMMIT").unwrap();
                }
            });
        }
    });
    let connection = rig.connect();
    assert_eq!(
        (ids(&connection).len(), integrity(&connection)),
        (100, "ok".to_owned())
    );
}

#[test]
fn a_rollback_makes_open_connections_stale_and_new_ones_see_the_image() {
    let rig = Rig::new();
    let connection = rig.connect();
    with_table(&connection, "delete");
    add(&connection, 1, 10).unwrap();
    let create = Command::CheckpointCreate {
        name: Some("c".into()),
        volumes: vec![rig.volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    rig.store.run(&actor("admin"), create).unwrap();
    let checkpoint = rig.store.state().checkpoint_named("c").unwrap().id;
    add(&connection, 2, 10).unwrap();
    let source = Source::Checkpoint(rig.volume, checkpoint);
    rig.store
        .run(
            &actor("admin"),
            Command::Rollback {
                volume: rig.volume,
                source,
                only: false,
            },
        )
        .unwrap();

    assert_eq!(
        add(&connection, 3, 10).unwrap_err().sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure)
    );
    let new = rig.connect();
    assert_eq!((ids(&new), integrity(&new)), (vec![1], "ok".to_owned()));
}

#[test]
fn every_page_is_an_event_of_its_author() {
    let rig = Rig::new();
    let connection = rig.connect();
    with_table(&connection, "delete");
    for id in 0..30 {
        add(&connection, id, 3000).unwrap();
    }
    let state = rig.store.state();
    let live = &state.volume(rig.volume).unwrap().live;
    let ino = live.lookup(b"t.db").unwrap();
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    assert_eq!(
        live.inode(ino).unwrap().size(),
        u64::try_from(pages).unwrap() * BLOCK
    );
    rig.store.sync().unwrap();
    let mut written = 0;
    let reader = rig.store.journal().reader();
    for frame in reader.frames(reader.origin()) {
        let frame = frame.unwrap();
        for entry in frame.entries() {
            let entry = entry.unwrap();
            let decoded = fold::decode(&entry).unwrap();
            if matches!(decoded.event, Event::Written { ino: i, .. } if i == ino) {
                assert_eq!(state.actors[&decoded.actor].name, "sqlite");
                written += entry.crcs.len() as u64;
            }
        }
    }
    assert!(
        written >= u64::try_from(pages).unwrap(),
        "{written} blocks written for {pages} pages"
    );
}

#[test]
fn temporary_files_stay_out_of_the_volume() {
    let rig = Rig::new();
    let connection = rig.connect();
    with_table(&connection, "delete");
    for id in 0..200 {
        add(&connection, id, 3000).unwrap();
    }
    rig.store.sync().unwrap();
    let before = rig.store.state().seq;
    connection
        .execute_batch(
            "PRAGMA temp_store = FILE; PRAGMA cache_size = 5; PRAGMA temp.cache_size = 5",
        )
        .unwrap();
    connection
        .execute_batch("CREATE TEMP TABLE x AS SELECT body || random() AS y FROM t ORDER BY y")
        .unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM x", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 200);
    assert_eq!(rig.store.state().seq, before, "no event");
    assert_eq!(rig.files(), ["t.db"]);
}

#[test]
fn a_full_store_is_a_full_disk_to_sqlite_and_nothing_is_lost() {
    let rig = Rig::on(Arc::new(MemoryDisk::new()), Some(24 * SEGMENT));
    let dir = rig.store.live(rig.volume).unwrap().root;
    let ballast = Command::Create {
        volume: rig.volume,
        dir,
        name: b"ballast"[..].into(),
        body: NewBody::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    rig.store.run(&actor("a"), ballast).unwrap();
    let ino = rig.store.live(rig.volume).unwrap().lookup(b"ballast");
    let bytes = vec![7; usize::try_from(4 * SEGMENT).unwrap()];
    rig.store
        .write(&actor("a"), rig.volume, ino.unwrap(), 0, &bytes)
        .unwrap();
    let connection = rig.connect();
    with_table(&connection, "delete");
    let mut done = 0;
    let error = loop {
        match add(&connection, done, 60_000) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
        assert!(done < 1000, "the store never fills");
    };
    assert_eq!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull),
        "{error}"
    );
    assert!(done > 10, "only {done} rows fitted");

    // Its journal may not be rolled back for want of room; where there is some again, it is.
    drop(connection);
    let make_room = Command::Unlink {
        volume: rig.volume,
        dir,
        name: b"ballast"[..].into(),
        dir_wanted: false,
    };
    rig.store.run(&actor("a"), make_room).unwrap();
    let again = rig.connect();
    assert_eq!(integrity(&again), "ok");
    assert_eq!(ids(&again), (0..done).collect::<Vec<_>>());
}

#[test]
fn names_are_taken_once_and_given_back() {
    let rig = Rig::new();
    let name = unique();
    let first = SqliteVfs::register(&name, Arc::clone(&rig.store), rig.volume, actor("a")).unwrap();
    let taken = SqliteVfs::register(&name, Arc::clone(&rig.store), rig.volume, actor("b"))
        .err()
        .unwrap();
    assert_eq!(taken.kind, Kind::Exists);
    let nul = SqliteVfs::register("a\0b", Arc::clone(&rig.store), rig.volume, actor("b"))
        .err()
        .unwrap();
    assert_eq!(nul.kind, Kind::InvalidName);

    let connection = connect(&first);
    with_table(&connection, "truncate");
    drop(first);
    let gone = Connection::open_with_flags_and_vfs("t.db", OpenFlags::default(), name.as_str());
    assert!(gone.is_err(), "the name is gone");
    assert!(
        add(&connection, 1, 10).is_err(),
        "what is open can do no more"
    );
    SqliteVfs::register(&name, Arc::clone(&rig.store), rig.volume, actor("a")).unwrap();
}

#[test]
fn a_missing_file_is_not_made_for_a_reader() {
    let rig = Rig::new();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let error = Connection::open_with_flags_and_vfs("none.db", flags, rig.vfs.name())
        .err()
        .unwrap();
    assert_eq!(
        error.sqlite_error().map(|e| e.extended_code & 0xff),
        Some(ffi::SQLITE_CANTOPEN)
    );
    let error =
        Connection::open_with_flags_and_vfs("no/such/dir.db", OpenFlags::default(), rig.vfs.name())
            .err()
            .unwrap();
    assert_eq!(
        error.sqlite_error().map(|e| e.extended_code & 0xff),
        Some(ffi::SQLITE_CANTOPEN)
    );
    assert!(rig.files().is_empty());
}

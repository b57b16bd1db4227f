//! SQLite on a mount: a writer and readers, and somebody is killed at a random moment, again and again. No acknowledged transaction may
//! be missing afterwards, and the database has to be sound.

use crate::bank::{Journal, Worker};
use crate::machine;
use crate::place::Place;
use crate::random::Random;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds of a run: in each somebody is killed.
const ROUNDS: u64 = 8;
const SOAK_ROUNDS: u64 = 150;

#[test]
fn sqlite_with_a_write_ahead_log_survives_kills() {
    survives_kills("sqlite, wal", Journal::Wal);
}

#[test]
fn sqlite_with_a_deleted_rollback_journal_survives_kills() {
    survives_kills("sqlite, delete", Journal::Delete);
}

#[test]
fn sqlite_with_a_truncated_rollback_journal_survives_kills() {
    survives_kills("sqlite, truncate", Journal::Truncate);
}

/// What was seen until now.
#[derive(Default)]
struct Seen {
    /// The last transaction that was acknowledged.
    acknowledged: i64,
    /// The last that a reader saw.
    read: i64,
}

fn survives_kills(test: &str, journal: Journal) {
    if !machine::fuse(test) {
        return;
    }
    let mut random = Random::seeded(test);
    let mut place = Place::with_volume("bank");
    place.serve();
    let mount = place.mount("bank", "mnt", &[]);
    let database = mount.join("bank.db");
    let mut seen = Seen::default();
    let (mut writers_killed, mut daemons_killed) = (0, 0);
    let rounds = if std::env::var_os("STRAND_SOAK").is_some() {
        SOAK_ROUNDS
    } else {
        ROUNDS
    };
    for round in 0..rounds {
        let mut writer = Worker::start(&place, "writer", &database, journal, "writer");
        // A database there has to be before anybody reads it.
        machine::wait_for("a first commit", Duration::from_secs(30), || {
            assert!(writer.is_working(), "{}", writer.said());
            writer.last("committed") > 0
        });
        let mut readers: Vec<Worker> = ["reader-1", "reader-2"]
            .iter()
            .map(|name| Worker::start(&place, "reader", &database, journal, name))
            .collect();
        std::thread::sleep(random.while_ms(50, 600));
        // The first two rounds are one of each; after that, as it falls.
        let daemon = if round < 2 {
            round == 1
        } else {
            random.below(2) == 0
        };
        if daemon {
            place.kill_daemon();
            daemons_killed += 1;
            writer.end_without_daemon();
            readers.iter_mut().for_each(Worker::end_without_daemon);
            place.serve();
            place.mount("bank", "mnt", &[]);
        } else {
            writer.kill();
            writers_killed += 1;
            // Readers go on without a writer: one of them recovers what it left behind.
            std::thread::sleep(Duration::from_millis(30));
            readers.iter_mut().for_each(Worker::kill);
        }
        assert!(place.is_served(), "{}", place.daemon_said());
        seen.acknowledged = seen.acknowledged.max(writer.last("committed"));
        let read = readers.iter().map(|reader| reader.last("read")).max();
        seen.read = seen.read.max(read.unwrap_or(0));
        let killed = if daemon { "the daemon" } else { "the writer" };
        let when = format!("round {round}, {killed} killed");
        is_sound(&place, &database, journal, &seen, &when);
    }
    place.unmount("mnt");
    place.stop();
    // At rest and mounted again: still all there.
    place.serve();
    place.mount("bank", "mnt", &[]);
    is_sound(&place, &database, journal, &seen, "at the end");
    place.unmount("mnt");
    place.stop();
    place.run(["verify", "--data"]);
    println!(
        "{test}: {} transactions, {writers_killed} writers and {daemons_killed} daemons killed",
        seen.acknowledged
    );
}

/// The database is whole and holds every transaction that anybody was told of.
fn is_sound(place: &Place, database: &Path, journal: Journal, seen: &Seen, when: &str) {
    let begun = Instant::now();
    let mut check = Worker::start(place, "check", database, journal, "check");
    let status = check.end();
    assert!(
        status.success(),
        "{when}: {status}: {}\nthe daemon said: {}",
        check.said(),
        place.daemon_said()
    );
    let last = check.last("sound");
    assert!(
        last >= seen.acknowledged && last >= seen.read,
        "{when}: {} was acknowledged and {} read, but {last} is the last there",
        seen.acknowledged,
        seen.read
    );
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{when}: the check took {:?}",
        begun.elapsed()
    );
}

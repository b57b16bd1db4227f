//! PostgreSQL with data checksums on a mount: checkpoints in the middle of pgbench, the daemon killed, crash recovery, a second server on
//! a shadow of the checkpoint, rollback.

use crate::machine;
use crate::place::Place;
use crate::random::Random;
use crate::server::{DATABASE, Installation, Server};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

const SCALE: &str = "2";
const SOAK_SCALE: &str = "10";

/// A data directory on a mounted volume, and the programs for it.
struct Bed {
    place: Place,
    installation: Installation,
    data: PathBuf,
}

impl Bed {
    fn new(programs: PathBuf) -> Self {
        let user = machine::ordinary_user();
        let mut place = Place::with_volume("pg");
        let scratch = place.directory("scratch", user.as_ref());
        place.serve();
        let mount = place.mount("pg", "mnt", &[]);
        let data = mount.join("data");
        fs::create_dir(&data).expect("a directory on the mount");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("ours");
        machine::give(&data, user.as_ref());
        let installation = Installation {
            programs,
            user,
            scratch,
        };
        installation.initialise(&data);
        Self {
            place,
            installation,
            data,
        }
    }

    fn server(&self) -> Server {
        Server::start(&self.installation, "first", &self.data)
    }
}

/// pgbench, at work; it writes down every transaction that was acknowledged.
struct Load {
    pgbench: Child,
    log: PathBuf,
    prefix: String,
}

impl Load {
    fn start(installation: &Installation, server: &Server, prefix: &str, seconds: u64) -> Self {
        let mut command = server.client("pgbench");
        command
            .args(["-n", "-c", "4", "-j", "2", "-l", "--log-prefix", prefix])
            .args(["-T", &seconds.to_string(), DATABASE])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            pgbench: command.spawn().expect("it starts"),
            log: installation.scratch.clone(),
            prefix: format!("{prefix}."),
        }
    }

    fn is_working(&mut self) -> bool {
        matches!(self.pgbench.try_wait(), Ok(None))
    }

    /// Ends it in the middle of its work.
    fn cut_off(&mut self) {
        self.pgbench.kill().ok();
        self.pgbench.wait().expect("ours");
    }

    /// Waits for its end; gives how many transactions were acknowledged to it.
    fn end(&mut self) -> u64 {
        machine::wait_for("pgbench to end", Duration::from_secs(120), || {
            !self.is_working()
        });
        let logs = fs::read_dir(&self.log).expect("there");
        logs.filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with(&self.prefix))
            })
            .map(|path| lines(&path))
            .sum()
    }
}

fn lines(path: &Path) -> u64 {
    let text = fs::read(path).expect("a log");
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.is_working() {
            self.cut_off();
        }
    }
}

fn scale() -> &'static str {
    if std::env::var_os("STRAND_SOAK").is_some() {
        SOAK_SCALE
    } else {
        SCALE
    }
}

#[test]
fn postgresql_lives_on_a_mount_through_kills_checkpoints_and_rollback() {
    let test = "postgresql";
    if !machine::fuse(test) {
        return;
    }
    let Some(programs) = machine::postgres(test) else {
        return;
    };
    let mut random = Random::seeded(test);
    let mut bed = Bed::new(programs);
    let server = bed.server();
    server.run("createdb", &[DATABASE]);
    server.run("pgbench", &["-i", "-q", "-s", scale(), DATABASE]);

    // A checkpoint in the middle of the work.
    let mut load = Load::start(&bed.installation, &server, "load-one", 6);
    std::thread::sleep(random.while_ms(1000, 2000));
    bed.place
        .run(["checkpoint", "create", "middle", "--volume", "pg"]);
    let at_least = server.transactions();
    assert!(load.is_working(), "the checkpoint was not in the middle");
    let acknowledged = load.end();
    assert!(acknowledged > 0, "{}", server.said());
    assert_eq!(server.transactions(), acknowledged);

    // The daemon is killed in the middle of more work, and the servers with it.
    let mut load = Load::start(&bed.installation, &server, "load-two", 60);
    std::thread::sleep(random.while_ms(500, 2500));
    assert!(load.is_working(), "{}", server.said());
    bed.place.kill_daemon();
    server.kill();
    let acknowledged = acknowledged + load.end();
    bed.place.serve();
    bed.place.mount("pg", "mnt", &[]);
    let server = bed.server();
    let found = server.transactions();
    assert!(
        found >= acknowledged,
        "{acknowledged} transactions were acknowledged, {found} are there"
    );
    assert!(
        server
            .said()
            .contains("database system was not properly shut down"),
        "it was to recover from a crash: {}",
        server.said()
    );
    check_relations(&server);

    // A second server on a shadow of the checkpoint, while the first works on.
    let mut load = Load::start(&bed.installation, &server, "load-three", 100);
    let in_checkpoint = second_server(&mut bed, at_least);
    assert!(load.is_working(), "the first server did not work on beside");
    load.cut_off();
    check_relations(&server);
    let before_rollback = server.contents();
    assert_ne!(before_rollback, in_checkpoint);
    server.stop();
    bed.installation.check_checksums(&bed.data);

    // Back to the checkpoint, under the mount; and forth again.
    bed.place.run(["rollback", "pg", "--to", "middle"]);
    fs::remove_file(bed.data.join("postmaster.pid")).expect("that of the server of then");
    let server = bed.server();
    assert_same(&server.contents(), &in_checkpoint, "after the rollback");
    check_relations(&server);
    server.run("pgbench", &["-n", "-c", "2", "-t", "20", DATABASE]);
    server.stop();
    bed.installation.check_checksums(&bed.data);
    bed.place.run(["undo", "pg"]);
    let server = bed.server();
    assert_same(&server.contents(), &before_rollback, "after the undo");
    server.stop();
    bed.installation.check_checksums(&bed.data);

    bed.place.unmount("mnt");
    bed.place.stop();
    bed.place.run(["verify", "--data"]);
}

/// Starts a second server on a shadow of the checkpoint, which has at least so many transactions; gives the contents it found.
fn second_server(bed: &mut Bed, at_least: u64) -> String {
    let shadow = bed.place.mount("pg@middle", "shadow", &["--rw"]);
    let data = shadow.join("data");
    // The lock of the server that ran when the image was taken.
    fs::remove_file(data.join("postmaster.pid")).expect("it ran");
    let second = Server::start(&bed.installation, "second", &data);
    // The image was taken before these were counted, which is why there may be fewer; but not before the load began.
    let then = second.transactions();
    assert!(0 < then && then <= at_least, "{then} of {at_least}");
    let contents = second.contents();
    second.run("pgbench", &["-n", "-c", "2", "-t", "50", DATABASE]);
    assert_eq!(second.transactions(), then + 100);
    check_relations(&second);
    second.stop();
    bed.installation.check_checksums(&data);
    bed.place.unmount("shadow");
    contents
}

/// Every table and index is sound, and every index has every row.
fn check_relations(server: &Server) {
    server.run(
        "pg_amcheck",
        &["--install-missing", "--heapallindexed", "-d", DATABASE],
    );
}

/// Compares without printing megabytes.
#[track_caller]
fn assert_same(found: &str, wanted: &str, when: &str) {
    if found != wanted {
        let differing = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
        panic!(
            "{when}: {} bytes instead of {}; the first difference: {differing:?}",
            found.len(),
            wanted.len()
        );
    }
}

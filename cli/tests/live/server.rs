//! A PostgreSQL server, on a data directory wherever it lies; run as an ordinary user, because it refuses to run as root.

use crate::machine::{self, User};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Starting includes crash recovery.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const DATABASE: &str = "bench";

/// PostgreSQL's programs, and where they run.
#[derive(Clone)]
pub(crate) struct Installation {
    pub(crate) programs: PathBuf,
    pub(crate) user: Option<User>,
    /// For sockets and logs: outside every mount, and the user's.
    pub(crate) scratch: PathBuf,
}

impl Installation {
    /// One of its programs, run as the user.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .current_dir(&self.scratch)
            .stdin(Stdio::null())
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .env("HOME", &self.scratch);
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Runs a program; it has to go well. Gives what it printed.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> String {
        let mut command = self.program(name);
        let output = command.args(arguments).output().expect("it runs");
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes a data directory with checksums.
    pub(crate) fn initialise(&self, data: &Path) {
        let data = data.to_str().expect("UTF-8");
        self.run(
            "initdb",
            [
                "-k",
                "-A",
                "trust",
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-instructions",
                "-D",
                data,
            ],
        );
    }

    /// `pg_checksums --check` of a data directory whose server is stopped.
    pub(crate) fn check_checksums(&self, data: &Path) {
        let said = self.run(
            "pg_checksums",
            ["--check", "-D", data.to_str().expect("UTF-8")],
        );
        assert!(said.contains("Bad checksums:  0"), "{said}");
    }
}

/// A running server.
pub(crate) struct Server {
    installation: Installation,
    name: String,
    sockets: PathBuf,
    postmaster: Child,
}

impl Server {
    /// Starts one and waits until it answers; crash recovery is part of it.
    pub(crate) fn start(installation: &Installation, name: &str, data: &Path) -> Self {
        let sockets = installation.scratch.join(name);
        fs::create_dir_all(&sockets).expect("a directory");
        machine::give(&sockets, installation.user.as_ref());
        let log = File::options()
            .create(true)
            .append(true)
            .open(installation.scratch.join(format!("{name}.log")))
            .expect("a log");
        let mut command = installation.program("postgres");
        command.arg("-D").arg(data);
        for setting in [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", sockets.display()),
            "shared_buffers=16MB".to_owned(),
            "max_wal_size=128MB".to_owned(),
            "log_checkpoints=off".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        let postmaster = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut server = Self {
            installation: installation.clone(),
            name: name.to_owned(),
            sockets,
            postmaster,
        };
        machine::wait_for("PostgreSQL to answer", PATIENCE, || {
            if let Ok(Some(status)) = server.postmaster.try_wait() {
                panic!("the server {name} ended: {status}\n{}", server.said());
            }
            // Every question that comes too early is a line in the server's log.
            std::thread::sleep(Duration::from_millis(50));
            let mut ready = server.client("pg_isready");
            ready
                .arg("-q")
                .status()
                .is_ok_and(|status| status.success())
        });
        server
    }

    /// What its log says.
    pub(crate) fn said(&self) -> String {
        let log = format!("{}.log", self.name);
        fs::read_to_string(self.installation.scratch.join(log)).unwrap_or_default()
    }

    /// A client program on this server; the database is not among its arguments.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = self.installation.program(program);
        command
            .arg("-h")
            .arg(&self.sockets)
            .args(["-U", "postgres"]);
        command
    }

    /// Runs a client program; it has to go well. Gives what it printed.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.client(program);
        let output = command.args(arguments).output().expect("it runs");
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}{}\nthe server said:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.said()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The one value of a query.
    #[track_caller]
    pub(crate) fn value(&self, query: &str) -> String {
        let arguments = ["-d", DATABASE, "-X", "-A", "-t", "-c", query];
        self.run("psql", &arguments).trim_end().to_owned()
    }

    /// The whole contents of the database, as statements.
    #[track_caller]
    pub(crate) fn contents(&self) -> String {
        let dump = self.run("pg_dump", &["-d", DATABASE]);
        // Newer releases fence a dump with a word that is another each time.
        let fenced =
            |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
        let lines = dump.split_inclusive('\n');
        lines.filter(|line| !fenced(line)).collect()
    }

    /// The four sums that every transaction of pgbench moves by the same amount are equal; how many transactions there were.
    #[track_caller]
    pub(crate) fn transactions(&self) -> u64 {
        let sums = self.value(
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
                    (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
        );
        let mut parts = sums.split('|');
        let first = parts.next();
        assert!(parts.all(|part| Some(part) == first), "{sums}");
        let count = self.value("SELECT count(*) FROM pgbench_history");
        count.parse().expect("a number")
    }

    /// `kill -9` of the postmaster and of every process that it started.
    pub(crate) fn kill(mut self) {
        self.kill_all();
    }

    fn kill_all(&mut self) {
        let postmaster = self.postmaster.id();
        // Asked before its end: afterwards they are nobody's.
        let children = machine::children(postmaster);
        self.postmaster.kill().ok();
        for pid in &children {
            machine::kill(*pid);
        }
        // Bounded, also where the daemon under it hangs.
        for _ in 0..2000 {
            let ended = matches!(self.postmaster.try_wait(), Ok(Some(_)) | Err(_));
            if ended && !children.iter().any(|pid| machine::runs(*pid)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it in good order.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        let pid = i32::try_from(self.postmaster.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        // "Fast": clients are sent away, everything is written out.
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("ours");
        machine::wait_for("PostgreSQL to stop", PATIENCE, || {
            matches!(self.postmaster.try_wait(), Ok(Some(_)))
        });
        let status = self.postmaster.wait().expect("ours");
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.postmaster.try_wait(), Ok(None)) {
            if std::thread::panicking() {
                println!("the server {} said:\n{}", self.name, self.said());
            }
            self.kill_all();
        }
    }
}

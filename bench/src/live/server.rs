//! A PostgreSQL server on some directory, run as an ordinary user because it refuses to run as root.

use super::bed::{is_root, run};
use crate::Failure;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where PostgreSQL 15 lies on Debian; `STRAND_POSTGRES` names another directory of its programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const DATABASE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(120);

/// PostgreSQL's programs, whom they run as, and where their sockets and logs go.
#[derive(Clone)]
pub(crate) struct Installation {
    programs: PathBuf,
    user: Option<(u32, u32)>,
    scratch: PathBuf,
}

impl Installation {
    /// Sockets and logs go to this directory, which is made.
    pub(crate) fn new(scratch: &Path) -> Result<Self, Failure> {
        let programs =
            std::env::var_os("STRAND_POSTGRES").map_or(PathBuf::from(PROGRAMS), PathBuf::from);
        if !programs.join("pgbench").exists() {
            return Err(format!("PostgreSQL is not in {}", programs.display()).into());
        }
        let installation = Self {
            programs,
            user: if is_root() {
                Some(ordinary_user()?)
            } else {
                None
            },
            scratch: scratch.to_owned(),
        };
        fs::create_dir(scratch)?;
        installation.give(scratch)?;
        Ok(installation)
    }

    fn give(&self, path: &Path) -> Result<(), Failure> {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .current_dir(&self.scratch)
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            .env("HOME", &self.scratch);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes a data directory in `dir`, and gives its path.
    pub(crate) fn initialise(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let data = dir.join("data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        self.give(&data)?;
        let mut command = self.program("initdb");
        command.args(["-k", "-A", "trust", "-U", "postgres", "--locale=C", "-D"]);
        run(command.arg(&data))?;
        Ok(data)
    }
}

/// One of the users that may stand in for an ordinary one.
fn ordinary_user() -> Result<(u32, u32), Failure> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let ids = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, ..] = fields[..] else {
                return None;
            };
            (name == wanted).then_some((uid.parse().ok()?, gid.parse().ok()?))
        })
    };
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| ids(name))
        .ok_or_else(|| "there is neither a user postgres nor nobody".into())
}

/// A running server; killed when it is dropped.
pub(crate) struct Server {
    installation: Installation,
    sockets: PathBuf,
    postmaster: Child,
}

impl Server {
    /// Starts one and waits for its first answer.
    pub(crate) fn start(
        installation: &Installation,
        name: &str,
        data: &Path,
    ) -> Result<Self, Failure> {
        let sockets = installation.scratch.join(name);
        fs::create_dir_all(&sockets)?;
        installation.give(&sockets)?;
        let log = File::create(installation.scratch.join(format!("{name}.log")))?;
        let mut command = installation.program("postgres");
        command.arg("-D").arg(data);
        for setting in [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", sockets.display()),
            // What runs in turns must not pay for what the other left behind: PostgreSQL's own checkpoints are asked for.
            "checkpoint_timeout=1h".to_owned(),
            "max_wal_size=4GB".to_owned(),
            "autovacuum=off".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        let postmaster = command.stdout(Stdio::null()).stderr(log).spawn()?;
        let mut server = Self {
            installation: installation.clone(),
            sockets,
            postmaster,
        };
        let begun = Instant::now();
        while server.run("psql", &["-c", "SELECT 1", "postgres"]).is_err() {
            if begun.elapsed() > PATIENCE || server.postmaster.try_wait()?.is_some() {
                return Err(format!("the server {name} does not answer").into());
            }
            sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = self.installation.program(program);
        command
            .arg("-h")
            .arg(&self.sockets)
            .args(["-U", "postgres"]);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        run(self.client(program).args(arguments))
    }

    /// Makes pgbench's tables of this scale.
    pub(crate) fn fill(&self, scale: u32) -> Result<(), Failure> {
        self.run("createdb", &[DATABASE])?;
        let scale = scale.to_string();
        self.run("pgbench", &["-i", "-q", "-s", &scale, DATABASE])?;
        Ok(())
    }

    /// Writes everything out, so that a run owes nothing to the one before.
    pub(crate) fn settle(&self) -> Result<(), Failure> {
        self.query("CHECKPOINT").map(drop)
    }

    pub(crate) fn query(&self, query: &str) -> Result<String, Failure> {
        self.run("psql", &["-XAt", "-d", DATABASE, "-c", query])
    }

    /// Transactions a second of pgbench.
    pub(crate) fn rate(&self, clients: u32, seconds: u32) -> Result<f64, Failure> {
        let (clients, seconds) = (clients.to_string(), seconds.to_string());
        let threads = if clients == "1" { "1" } else { "2" };
        let said = self.run(
            "pgbench",
            &[
                "-n", "-c", &clients, "-j", threads, "-T", &seconds, DATABASE,
            ],
        )?;
        said.lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .ok_or_else(|| format!("pgbench said no rate: {said}").into())
    }

    /// pgbench, beside whatever is measured; to be killed.
    pub(crate) fn load(&self, clients: u32) -> Result<Child, Failure> {
        let mut command = self.client("pgbench");
        command
            .args(["-n", "-c", &clients.to_string(), "-T", "600", DATABASE])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(command.spawn()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // "Immediate": nothing is written out; every one of its processes ends.
        if let Ok(pid) = i32::try_from(self.postmaster.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
        }
        let begun = Instant::now();
        while matches!(self.postmaster.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(20) {
                self.postmaster.kill().ok();
                self.postmaster.wait().ok();
            }
            sleep(Duration::from_millis(5));
        }
    }
}

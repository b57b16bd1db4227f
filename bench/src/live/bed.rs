//! A served and mounted store, and a plain directory on the same disk.

use crate::Failure;
use crate::setting::Setting;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the daemon may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The volume of every bed.
pub(crate) const VOLUME: &str = "bench";

/// A store with one volume, mounted, beside a plain directory. Ended and unmounted when it is dropped.
pub(crate) struct Bed {
    dir: TempDir,
    binary: PathBuf,
    daemon: Child,
    mounts: Vec<PathBuf>,
}

impl Bed {
    pub(crate) fn new(setting: &Setting) -> Result<Self, Failure> {
        Self::with(setting, &[])
    }

    /// With these flags of `strand init`.
    pub(crate) fn with(setting: &Setting, flags: &[&str]) -> Result<Self, Failure> {
        let dir = setting.dir()?;
        let binary = binary()?;
        // A server that is not root's has to get through to the mount.
        for path in [setting.root(), dir.path()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        let store = dir.path().join("store");
        run(command(&binary, dir.path())
            .args(["init", "store"])
            .args(flags))?;
        run(command(&binary, dir.path()).args(["volume", "create", VOLUME]))?;
        let log = fs::File::create(dir.path().join("serve.log"))?;
        let daemon = command(&binary, dir.path())
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut bed = Self {
            dir,
            binary,
            daemon,
            mounts: Vec::new(),
        };
        let begun = Instant::now();
        while UnixStream::connect(store.join("control")).is_err() {
            if begun.elapsed() > PATIENCE || bed.daemon.try_wait()?.is_some() {
                return Err(format!("strand serve does not answer: {}", bed.daemon_said()).into());
            }
            sleep(Duration::from_millis(5));
        }
        bed.mount(VOLUME, "mnt", &[])?;
        fs::create_dir(bed.plain())?;
        Ok(bed)
    }

    /// The mounted volume.
    pub(crate) fn mounted(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// The plain directory.
    pub(crate) fn plain(&self) -> PathBuf {
        self.dir.path().join("plain")
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `strand`; gives what it printed.
    pub(crate) fn strand<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String, Failure> {
        run(command(&self.binary, self.dir.path()).args(arguments))
    }

    /// Mounts a view on a directory of this name.
    pub(crate) fn mount(
        &mut self,
        view: &str,
        name: &str,
        flags: &[&str],
    ) -> Result<PathBuf, Failure> {
        let at = self.dir.path().join(name);
        fs::create_dir_all(&at)?;
        if !self.mounts.contains(&at) {
            self.mounts.push(at.clone());
        }
        let mut arguments = vec!["mount".into(), view.into(), at.clone().into_os_string()];
        if is_root() {
            arguments.push("--allow-other".into());
        }
        arguments.extend(flags.iter().map(Into::into));
        self.strand(arguments)?;
        Ok(at)
    }

    pub(crate) fn unmount(&mut self, name: &str) -> Result<(), Failure> {
        let at = self.dir.path().join(name);
        self.strand([OsStr::new("umount"), at.as_os_str()])?;
        self.mounts.retain(|mount| *mount != at);
        Ok(())
    }

    /// Memory of the daemon that is its own: not pages of files, which the kernel takes back when it needs them. In bytes.
    pub(crate) fn daemon_memory(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
            .ok_or("no RssAnon: the daemon has ended")?;
        Ok(kib * 1024.0)
    }

    /// Forgets the cached pages of the store's files, so that a read is one of the disk.
    pub(crate) fn forget_store(&self) -> Result<(), Failure> {
        for entry in fs::read_dir(self.dir.path().join("store/journal"))? {
            let path = entry?.path();
            if path.is_file() {
                forget(&path)?;
            }
        }
        Ok(())
    }

    fn daemon_said(&self) -> String {
        fs::read_to_string(self.dir.path().join("serve.log")).unwrap_or_default()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.strand(["stop"]).is_err() {
            self.daemon.kill().ok();
        }
        let begun = Instant::now();
        while matches!(self.daemon.try_wait(), Ok(None)) {
            if begun.elapsed() > PATIENCE {
                self.daemon.kill().ok();
                self.daemon.wait().ok();
            }
            sleep(Duration::from_millis(5));
        }
        let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for at in self.mounts.iter().rev() {
            let at = at.to_string_lossy();
            if !mounted
                .lines()
                .any(|line| line.split(' ').nth(4) == Some(&at))
            {
                continue;
            }
            let lazily: [&[&str]; 2] = [&["umount", "-l"], &["fusermount3", "-u", "-z"]];
            for way in lazily {
                let done = Command::new(way[0])
                    .args(&way[1..])
                    .arg(&*at)
                    .stderr(Stdio::null())
                    .status();
                if done.is_ok_and(|status| status.success()) {
                    break;
                }
            }
        }
    }
}

/// Forgets the cached pages of a file; what is dirty is written first.
pub(crate) fn forget(path: &Path) -> Result<(), Failure> {
    let file = fs::File::open(path)?;
    file.sync_data()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The binary that is measured: `$STRAND_BIN`, or the one that was built beside this program.
fn binary() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("STRAND_BIN") {
        return Ok(PathBuf::from(named));
    }
    let beside = std::env::current_exe()?.with_file_name("strand");
    if beside.exists() {
        Ok(beside)
    } else {
        Err(format!(
            "{} is not there: cargo build --release, or name it in STRAND_BIN",
            beside.display()
        )
        .into())
    }
}

fn command(binary: &Path, dir: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .env_remove("STRAND_LOG")
        .env("STRAND_STORE", dir.join("store"));
    command
}

/// Runs a program; an error with what it said where it does not go well.
pub(crate) fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        let program = command.get_program().to_string_lossy().into_owned();
        Err(format!(
            "{program}: {}: {}",
            output.status,
            said.trim().replace('\n', "; ")
        )
        .into())
    }
}

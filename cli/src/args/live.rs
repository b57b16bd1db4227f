//! Live use: the daemon and its mounts.

use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use strand_serve::control::Loopback;

/// `serve`
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Mount this view there; give it again for more
    #[arg(long, value_name = "VIEW=DIR")]
    pub(crate) mount: Vec<ViewAt>,
    /// What was written without fsync is durable after this time at the latest
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = super::parse_duration)]
    pub(crate) commit_every: Duration,
    /// Show metrics for Prometheus on this loopback port, as 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<Loopback>,
    /// Other users may enter the mounts
    #[arg(long, requires = "mount")]
    pub(crate) allow_other: bool,
    /// In the background, until nothing is mounted any more: how `strand mount` starts it
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

/// A view, and where to mount it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ViewAt {
    pub(crate) view: String,
    pub(crate) dir: PathBuf,
}

impl FromStr for ViewAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((view, dir)) if !view.is_empty() && !dir.is_empty() => Ok(ViewAt {
                view: view.to_owned(),
                dir: dir.into(),
            }),
            _ => Err(format!("{text:?} is no VIEW=DIR: write pg=/mnt/pg")),
        }
    }
}

/// `mount`
#[derive(Args, Debug)]
pub(crate) struct Mount {
    /// VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME; nothing: list the mounts
    #[arg(value_name = "VIEW", requires = "dir")]
    pub(crate) view: Option<String>,
    /// An empty directory
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// For writing; of a checkpoint a shadow NAME_wrNNN, so that the image stays as it is
    #[arg(long, requires = "view", conflicts_with = "read_only")]
    pub(crate) rw: bool,
    /// Only for reading, also a live volume
    #[arg(long, requires = "view")]
    pub(crate) read_only: bool,
    /// Other users may enter; the permissions of the files decide
    #[arg(long, requires = "view")]
    pub(crate) allow_other: bool,
}

/// `umount`
#[derive(Args, Debug)]
pub(crate) struct Umount {
    /// Where it is mounted
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// `stop`
#[derive(Args, Debug)]
pub(crate) struct Stop {
    /// Although files are open on the mounts
    #[arg(long)]
    pub(crate) force: bool,
}

/// `top`
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = super::parse_duration)]
    pub(crate) interval: Duration,
    /// End after so many looks
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_and_its_directory_are_split_at_the_first_sign() {
        let found: ViewAt = "pg@monday=/mnt/a=b".parse().expect("both");
        assert_eq!(found.view, "pg@monday");
        assert_eq!(found.dir, PathBuf::from("/mnt/a=b"));
        for bad in ["pg", "=/mnt", "pg="] {
            assert!(bad.parse::<ViewAt>().is_err(), "{bad}");
        }
    }
}

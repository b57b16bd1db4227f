//! How a command ends that did not end well: three lines for people, one object for programs, and an exit code from the
//! kind. The table of kinds, their names and their exit codes is the engine's.

use crate::names::nearest;
use clap::error::{ContextKind, ContextValue};
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;
use strand_engine::{Error, Kind, Refusal};

/// Why a command stops.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was refused or failed; nothing of this was said yet.
    Refused(Box<Refusal>),
    /// Standard output was closed by its reader, who had all they wanted.
    OutputClosed,
    /// Everything was said already; only the exit code remains.
    Said(u8),
}

/// What every command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(Box::new(error.refusal()))
    }
}

/// An error of standard output: the only bare `io::Error` that commands pass up.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Refusal::new(kind_of(&error), "cannot write the output")
                .why(error.to_string())
                .into()
        }
    }
}

/// A refusal, ready to return.
pub(crate) fn refuse<T>(refusal: Refusal) -> Outcome<T> {
    Err(refusal.into())
}

/// An error of a file outside the store: what was tried on which path.
pub(crate) fn on_path<'a>(
    doing: &'a str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Failure + 'a {
    move |error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::OutputClosed;
        }
        let refusal = Refusal::new(
            kind_of(&error),
            format!("cannot {doing} {}", path.display()),
        );
        refusal.why(plain(&error)).into()
    }
}

/// The message of the operating system, without Rust's `(os error N)`.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::AlreadyExists => Kind::Exists,
        io::ErrorKind::PermissionDenied => Kind::Permission,
        io::ErrorKind::NotADirectory => Kind::NotADirectory,
        io::ErrorKind::IsADirectory => Kind::IsADirectory,
        io::ErrorKind::DirectoryNotEmpty => Kind::NotEmpty,
        io::ErrorKind::StorageFull => Kind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
        io::ErrorKind::Interrupted => Kind::Interrupted,
        _ => Kind::Io,
    }
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Refused(refusal) => refusal.kind.exit_code(),
            Failure::OutputClosed => 0,
            Failure::Said(code) => *code,
        }
    }

    /// Says it on standard error, in the form asked for. A closed standard error is nobody's concern.
    pub(crate) fn say(&self, json: bool) {
        let Failure::Refused(refusal) = self else {
            return;
        };
        let mut err = io::stderr().lock();
        let _ = if json {
            writeln!(err, "{}", as_json(refusal))
        } else {
            writeln!(err, "{}", as_lines(refusal))
        };
    }
}

fn as_json(refusal: &Refusal) -> serde_json::Value {
    json!({"error": {
        "kind": refusal.kind.name(),
        "message": refusal.message,
        "why": refusal.why,
        "next": refusal.next,
    }})
}

fn as_lines(refusal: &Refusal) -> String {
    let one_line = |text: &str| text.replace(['\n', '\r'], " ");
    let mut lines = format!("strand: {}", one_line(&refusal.message));
    if let Some(why) = &refusal.why {
        lines += &format!("\n  why:  {}", one_line(why));
    }
    if let Some(next) = &refusal.next {
        lines += &format!("\n  next: {}", one_line(next));
    }
    lines
}

/// A wrong command line as the contract's three lines: clap's first paragraph, its tip, and where to read more.
pub(crate) fn usage(error: &clap::Error) -> Refusal {
    if let Some(ContextValue::String(wanted)) = error.get(ContextKind::InvalidSubcommand) {
        return unknown_command(error, wanted);
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim);
    let mut message = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    let mut tip = None;
    let mut usage = None;
    for line in lines.filter(|l| !l.is_empty()) {
        if let Some(text) = line.strip_prefix("tip: ") {
            tip.get_or_insert(text.to_owned());
        } else if let Some(text) = line.strip_prefix("Usage: ") {
            usage = Some(text.to_owned());
        } else if line.starts_with("For more information") {
            break;
        } else if usage.is_none() {
            message = format!("{message} {line}");
        }
    }
    let mut refusal = Refusal::new(Kind::Usage, message);
    if let Some(tip) = tip {
        refusal = refusal.why(tip);
    }
    refusal.next(usage.map_or_else(
        || "add --help to see what is expected".to_owned(),
        |u| format!("{u}; more with --help"),
    ))
}

/// A command that is none: clap's own suggestions include what is hardly like it, so the nearest of them is chosen.
fn unknown_command(error: &clap::Error, wanted: &str) -> Refusal {
    let suggested = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names.as_slice(),
        _ => &[],
    };
    let refusal =
        Refusal::new(Kind::Usage, format!("there is no command {wanted}")).next("strand --help");
    match nearest(wanted, suggested.iter().map(String::as_str)) {
        Some(near) => refusal.why(format!("the nearest is {near}")),
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_three_lines_at_most() {
        let refusal = Refusal::new(Kind::Busy, "cannot roll back pg:\n3 files are open")
            .why("a\nb")
            .next("c");
        assert_eq!(
            as_lines(&refusal),
            "strand: cannot roll back pg: 3 files are open\n  why:  a b\n  next: c"
        );
        assert_eq!(as_lines(&Refusal::new(Kind::Busy, "no")), "strand: no");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.exit_code(), 0);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), 1);
    }
}

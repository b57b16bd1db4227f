//! Who runs this command: what the audit trail keeps of it.

use rustix::process::{getpid, getuid};
use std::ffi::OsString;
use strand_engine::{Actor, Grade, MAX_TEXT};

/// The actor of this process: grade `command`, with its arguments, user, login name and reason.
pub(crate) fn of_this_command(arguments: &[OsString], reason: Option<&str>) -> Actor {
    let uid = getuid().as_raw();
    Actor {
        grade: Grade::Command,
        uid,
        pid: u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or(0),
        started: started().unwrap_or(0),
        name: "strand".into(),
        command: cut(command_line(arguments)),
        login: cut(login(uid).unwrap_or_default()),
        reason: cut(reason.unwrap_or_default().to_owned()),
    }
}

/// The arguments as one would type them again.
pub(crate) fn command_line(arguments: &[OsString]) -> String {
    let words = arguments.iter().enumerate().map(|(i, argument)| {
        let word = argument.to_string_lossy();
        if i == 0 {
            // The program's own path says nothing about what was done.
            return word.rsplit('/').next().unwrap_or("strand").to_owned();
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:=,+%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn cut(mut text: String) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Start time of this process in clock ticks since boot: field 22 of its stat line, whose second field may hold anything.
fn started() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// The login name: what sudo or the login said, else the password file's.
fn login(uid: u32) -> Option<String> {
    let said = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    said.or_else(|| {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let arguments = [
            "/usr/bin/strand",
            "write",
            "pg",
            "/a b",
            "--offset=0",
            "it's",
            "",
        ]
        .map(OsString::from);
        assert_eq!(
            command_line(&arguments),
            "strand write pg '/a b' --offset=0 'it'\\''s' ''"
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("é".repeat(MAX_TEXT)).len(), MAX_TEXT);
    }
}

//! Names of volumes and checkpoints, and names of files. A file name is bytes; a volume's or checkpoint's name is for people and scripts.

use crate::refusal::{Kind, Refusal};

/// The longest name of a volume or checkpoint, in bytes (the reference's limit).
pub const MAX_OBJECT_NAME: usize = 127;
/// The longest file name, in bytes (`NAME_MAX`).
pub const MAX_FILE_NAME: usize = 255;
/// The longest symbolic link target, in bytes (`PATH_MAX` less its NUL).
pub const MAX_SYMLINK: usize = 4095;

/// Says whether `name` may be given by a user to a volume or checkpoint.
///
/// The rule is the command-line contract's: `[A-Za-z0-9][A-Za-z0-9._-]{0,126}`, not `live`, nothing that reads as a
/// time, no `_wrNNN` ending and no `auto-` start (those are the program's own).
///
/// # Errors
/// [`Kind::InvalidName`], with the rule that was broken.
pub fn check_user_name(name: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        Err(
            Refusal::new(Kind::InvalidName, format!("cannot use the name {name:?}"))
                .why(why)
                .next("choose letters, digits, '.', '_' and '-', starting with a letter or digit"),
        )
    };
    if let Err(why) = check_object_name(name) {
        return refuse(why);
    }
    if name.starts_with("auto-") {
        return refuse("names that start with \"auto-\" are the program's own");
    }
    if is_shadow_name(name) {
        return refuse("names that end in _wr and three digits are the program's own");
    }
    Ok(())
}

/// The part of the rule that holds for the program's own names too.
pub(crate) fn check_object_name(name: &str) -> Result<(), &'static str> {
    let bytes = name.as_bytes();
    let Some(first) = bytes.first() else {
        return Err("a name has at least one character");
    };
    if bytes.len() > MAX_OBJECT_NAME {
        return Err("a name has at most 127 characters");
    }
    if !first.is_ascii_alphanumeric() {
        return Err("a name starts with a letter or a digit");
    }
    if !bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    {
        return Err("a name holds only letters, digits, '.', '_' and '-'");
    }
    if name == "live" {
        return Err("\"live\" means the live volume");
    }
    if reads_as_time(name) {
        return Err("it reads as a time");
    }
    Ok(())
}

/// Says whether `name` is one that the program gives to a shadow of a checkpoint: the checkpoint's name, perhaps a volume's after it, and
/// `_wrNNN`.
pub(crate) fn is_shadow_of(checkpoint: &str, name: &str) -> bool {
    is_shadow_name(name)
        && check_object_name(name).is_ok()
        && name[..name.len() - 6]
            .strip_prefix(checkpoint)
            .is_some_and(|rest| rest.is_empty() || (rest.len() > 1 && rest.starts_with('_')))
}

fn is_shadow_name(name: &str) -> bool {
    name.len() > 6
        && name.is_char_boundary(name.len() - 6)
        && name[name.len() - 6..]
            .strip_prefix("_wr")
            .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
}

/// `10m`, `2h`, `2026-11-21…`, `20261121T100000Z`: what a view would take for a time.
fn reads_as_time(name: &str) -> bool {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &name[digits..];
    let ago = digits > 0
        && matches!(
            rest,
            "ns" | "us" | "ms" | "s" | "m" | "min" | "h" | "d" | "w" | "y"
        );
    let b = name.as_bytes();
    let date = b.len() >= 10
        && b[..10].iter().enumerate().all(|(i, c)| {
            if i == 4 || i == 7 {
                *c == b'-'
            } else {
                c.is_ascii_digit()
            }
        })
        && b.get(10).is_none_or(|c| matches!(c, b'T' | b't'));
    let compact = digits == 8 && (rest.is_empty() || rest.starts_with(['T', 't']));
    ago || date || compact
}

/// Says whether `name` may name a directory entry: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
///
/// # Errors
/// [`Kind::InvalidName`] or [`Kind::NameTooLong`].
pub fn check_file_name(name: &[u8]) -> Result<(), Refusal> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    if name.len() > MAX_FILE_NAME {
        return Err(Refusal::new(
            Kind::NameTooLong,
            format!("the name has {} bytes", name.len()),
        )
        .why(format!("a file name has at most {MAX_FILE_NAME} bytes")));
    }
    if !file_name_is_valid(name) {
        return Err(Refusal::new(
            Kind::InvalidName,
            format!("{:?} cannot be a file name", shown()),
        )
        .why("a file name is not empty, not . or .., and has no / and no NUL"));
    }
    Ok(())
}

/// The rule of [`check_file_name`], for [`admit`](crate::admit()).
pub(crate) fn file_name_is_valid(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_FILE_NAME
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, b'/' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        for good in [
            "a",
            "before-upgrade",
            "v1.2_x",
            "10mm",
            "2026",
            "2026-11",
            "x_wr1",
            "automatic",
            "2026-11-21-noon",
        ] {
            assert!(check_user_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(128);
        for bad in [
            "",
            "-a",
            ".a",
            "a b",
            "a:b",
            "live",
            "10m",
            "2h",
            "2026-11-21",
            "20261121T100000Z",
            "auto-x",
            "a_wr001",
            "é",
            "a/b",
            &long,
        ] {
            assert!(check_user_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names_are_bytes() {
        assert!(check_file_name(b"\xff\xfe").is_ok());
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
            assert!(check_file_name(bad).is_err());
        }
    }

    #[test]
    fn a_shadow_has_its_checkpoint_s_name_and_a_number() {
        for good in ["monday_wr001", "monday_pg_wr999"] {
            assert!(is_shadow_of("monday", good), "{good}");
        }
        for bad in [
            "monday",
            "tuesday_wr001",
            "monday_wr1",
            "mondays_wr001",
            "monday__wr001",
            "_wr001",
            "monday_é_wr001",
        ] {
            assert!(!is_shadow_of("monday", bad), "{bad}");
        }
    }
}

//! What commands print: lines and tables for people, one object (or JSON Lines) for programs. Nothing here knows what a
//! volume is, except `words`, which gives the sentences that several commands share.

pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod units;
pub(crate) mod words;

use crate::error::Outcome;
use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal, Write};

/// The version of the JSON that `--json` prints; names in it are never changed, only added.
pub(crate) const JSON_FORMAT: u64 = 1;

/// Standard output, and how to write on it.
pub(crate) struct Out {
    writer: BufWriter<Box<dyn Write>>,
    /// `--json` was given.
    pub(crate) json: bool,
    /// It is a terminal.
    pub(crate) terminal: bool,
    /// Escape sequences are welcome: a terminal, and no `NO_COLOR`.
    pub(crate) colour: bool,
}

impl Out {
    /// Standard output of this process.
    pub(crate) fn stdout(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            writer: BufWriter::new(Box::new(io::stdout())),
            json,
            terminal,
            colour: terminal && !refused && !json,
        }
    }

    /// One line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Outcome {
        writeln!(self.writer, "{}", text.as_ref())?;
        Ok(())
    }

    /// One object, with the version of the form as its first member.
    pub(crate) fn object(&mut self, value: Value) -> Outcome {
        let mut whole = serde_json::Map::new();
        whole.insert("format".into(), JSON_FORMAT.into());
        match value {
            Value::Object(members) => whole.extend(members),
            other => drop(whole.insert("value".into(), other)),
        }
        serde_json::to_writer(&mut self.writer, &Value::Object(whole)).map_err(io::Error::from)?;
        self.line("")
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Outcome {
        self.writer.write_all(bytes)?;
        Ok(())
    }

    /// The writer itself, for those who write long texts.
    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        &mut self.writer
    }

    /// Hands everything over to the reader.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.writer.flush()?;
        Ok(())
    }

    /// Text in bold, where that is welcome.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.colour {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Text in green (`good`) or red, where that is welcome.
    pub(crate) fn tinted(&self, good: bool, text: &str) -> String {
        match (self.colour, good) {
            (false, _) => text.to_owned(),
            (true, true) => format!("\x1b[32m{text}\x1b[0m"),
            (true, false) => format!("\x1b[31m{text}\x1b[0m"),
        }
    }
}

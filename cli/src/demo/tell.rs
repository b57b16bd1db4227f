//! How the demo is told: numbered steps of one or two sentences in 80 columns, or one JSON object at the end.

use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// The width of the text, in columns.
const WIDTH: usize = 80;
/// Where the sentences begin: after the number and the name of the step.
const INDENT: usize = 14;

/// How far an item of a list stands in, and once more its second line.
const HANG: usize = 2;

/// What is said within a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Line {
    /// A sentence.
    Text(String),
    /// A comparison that came out as it should.
    Good(String),
    /// Damage, shown on purpose.
    Bad(String),
    /// An item of a list; its second line hangs.
    Item(String),
    /// A row that is not to be broken.
    Row(String),
}

/// One step of the story: its name, what is said, and its numbers for programs.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Its name, one word.
    pub(crate) name: &'static str,
    /// What is said.
    pub(crate) lines: Vec<Line>,
    /// Its numbers.
    pub(crate) facts: Value,
}

/// Tells the steps as they come, or keeps them for one JSON object.
pub(crate) struct Teller<'a> {
    out: &'a mut dyn Write,
    json: bool,
    colour: bool,
    steps: Vec<Value>,
}

impl<'a> Teller<'a> {
    /// A teller on `out`.
    pub(crate) fn new(out: &'a mut dyn Write, json: bool, colour: bool) -> Self {
        Self {
            out,
            json,
            colour: colour && !json,
            steps: Vec::new(),
        }
    }

    /// A line outside the steps; nothing in JSON.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            Ok(())
        } else {
            writeln!(self.out, "{text}")
        }
    }

    /// A heading outside the steps; nothing in JSON.
    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.painted("1", text);
        self.line(&text)
    }

    /// One step.
    pub(crate) fn step(&mut self, step: &Step) -> io::Result<()> {
        let mut facts = Map::new();
        facts.insert("step".into(), step.name.into());
        match &step.facts {
            Value::Object(members) => facts.extend(members.clone()),
            Value::Null => {}
            other => drop(facts.insert("value".into(), other.clone())),
        }
        self.steps.push(facts.into());
        if self.json {
            return Ok(());
        }
        let head = format!("{:>2} {}", self.steps.len(), step.name);
        let mut margin = format!(
            "{}{}",
            self.painted("1", &head),
            " ".repeat(INDENT.saturating_sub(head.chars().count()))
        );
        for line in &step.lines {
            let (text, paint) = match line {
                Line::Text(text) | Line::Item(text) | Line::Row(text) => (text, None),
                Line::Good(text) => (text, Some("32")),
                Line::Bad(text) => (text, Some("31")),
            };
            let pieces = match line {
                Line::Row(_) => vec![text.clone()],
                Line::Item(_) => {
                    let mut pieces = wrapped(text, WIDTH - INDENT - 2 * HANG);
                    pieces
                        .iter_mut()
                        .for_each(|piece| piece.insert_str(0, "  "));
                    pieces
                        .iter_mut()
                        .skip(1)
                        .for_each(|piece| piece.insert_str(0, "  "));
                    pieces
                }
                _ => wrapped(text, WIDTH - INDENT),
            };
            for piece in pieces {
                let piece = paint.map_or(piece.clone(), |code| self.painted(code, &piece));
                writeln!(self.out, "{margin}{piece}")?;
                margin = " ".repeat(INDENT);
            }
        }
        self.out.flush()
    }

    /// The end: the JSON object, where that was asked for.
    pub(crate) fn end(self, outcome: Value) -> io::Result<()> {
        if !self.json {
            return self.out.flush();
        }
        let mut whole = Map::new();
        whole.insert("format".into(), crate::output::JSON_FORMAT.into());
        if let Value::Object(members) = outcome {
            whole.extend(members);
        }
        whole.insert("steps".into(), json!(self.steps));
        writeln!(self.out, "{}", Value::Object(whole))?;
        self.out.flush()
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The words in lines of at most `width` columns; a longer word stands alone.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: bool, colour: bool) -> String {
        let mut out = Vec::new();
        let mut teller = Teller::new(&mut out, json, colour);
        let text = "many words ".repeat(20);
        let lines = vec![Line::Text(text), Line::Bad("broken".into())];
        teller
            .step(&Step {
                name: "wreck",
                lines,
                facts: json!({"rows": 3}),
            })
            .unwrap();
        teller.end(json!({"ok": true})).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_step_is_told_in_eighty_columns() {
        let text = told(false, false);
        assert!(text.starts_with(" 1 wreck      many words"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(text.ends_with("              broken\n"), "{text}");
        assert!(!text.contains('\x1b'));
        assert!(told(false, true).contains("\x1b[31mbroken\x1b[0m"));
    }

    #[test]
    fn programs_get_one_object() {
        let value: Value = serde_json::from_str(&told(true, true)).unwrap();
        assert_eq!(
            value,
            json!({"format": 1, "ok": true, "steps": [{"step": "wreck", "rows": 3}]})
        );
    }
}

//! One event in one line: its fields in the words that commands use, `VOL@CHECKPOINT`, `4–7`, and not as the program holds them.

use super::rooted;
use crate::context::Context;
use crate::error::Outcome;
use crate::output::units;
use serde_json::{Map, Value};
use strand_replay::log::{EventRow, actor_label, actor_value};

pub(super) fn event_line(context: &mut Context, row: &EventRow) -> Outcome {
    if context.out.json {
        let mut object = Map::new();
        object.insert("seq".into(), row.seq.into());
        object.insert("time".into(), units::json_time(row.time).into());
        object.insert("kind".into(), row.kind.into());
        object.insert("actor".into(), actor_value(&row.actor));
        object.insert("volume".into(), row.volume.clone().into());
        let path = row.path.as_deref().map(rooted);
        object.insert("path".into(), path.into());
        object.insert("blocks".into(), row.blocks.into());
        object.insert("boundary".into(), row.last.into());
        object.insert("fields".into(), row.fields.clone().into());
        return context.out.object(object.into());
    }
    let mark = if row.last { '.' } else { ' ' };
    let place = match (&row.volume, &row.path) {
        (Some(volume), Some(path)) => format!(" {volume}:{}", units::rooted(path.as_bytes())),
        (Some(volume), None) => format!(" {volume}"),
        _ => String::new(),
    };
    let blocks = if row.blocks > 0 {
        format!(" {}", units::counted(row.blocks, "block"))
    } else {
        String::new()
    };
    let fields = said(&row.fields);
    let who = units::path(actor_label(&row.actor).as_bytes());
    context.out.line(format!(
        "{:>8}{mark} {}  {who}  {}{place}{blocks}{fields}",
        row.seq,
        units::short_time(row.time),
        row.kind
    ))
}

/// ` name=value` for each field that says something. Volume and file stand before them already; a checkpoint goes by its name.
fn said(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let named = fields.contains_key(&format!("{name}_name"));
        if matches!(name.as_str(), "volume" | "ino") || named || value.is_null() {
            continue;
        }
        let name = name.strip_suffix("_name").unwrap_or(name);
        let name = match name {
            "from" | "to" | "a" | "b" => format!("{name}_name"),
            other => other.to_owned(),
        };
        text += &format!(" {name}={}", value_of(&name, value));
    }
    text
}

fn value_of(name: &str, value: &Value) -> String {
    match (name, value.as_u64()) {
        ("mode", Some(mode)) => format!("{mode:04o}"),
        _ => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => quoted(&units::path(text.as_bytes())),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            items.join(",")
        }
        Value::Object(members) => known(members).unwrap_or_else(|| pairs(members)),
        other => other.to_string(),
    }
}

/// A text of several words in quotation marks, so that it ends where it ends.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([' ', '"', '=']) {
        format!("\"{}\"", text.replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

/// What has a notation of its own: images, ranges of blocks, movements of ownership, bodies.
fn known(members: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| members.get(key).and_then(Value::as_str);
    let number = |key: &str| members.get(key).and_then(Value::as_u64);
    if let (Some(block), Some(count)) = (number("block"), number("count")) {
        return Some(match count {
            0 | 1 => block.to_string(),
            more => format!("{block}–{}", block.saturating_add(more - 1)),
        });
    }
    if let (Some(volume), Some(Value::Object(source))) = (text("volume"), members.get("source")) {
        return Some(format!("{volume}→{}", known(source)?));
    }
    if let Some(volume) = text("volume") {
        return Some(match (text("checkpoint"), number("seq")) {
            (Some(checkpoint), _) => format!("{volume}@{checkpoint}"),
            (None, Some(seq)) => format!("{volume}@seq:{seq}"),
            (None, None) => volume.to_owned(),
        });
    }
    if let (Some(grade), Some(name)) = (text("grade"), text("name")) {
        return Some(who(members, grade, name));
    }
    let kind = text("kind")?;
    if let Some(blocks) = number("blocks") {
        let from = text("from").map(|from| format!("-from-{from}"));
        let to = text("to").map(|to| format!("-to-{to}"));
        let parts = from.unwrap_or_default() + &to.unwrap_or_default();
        return Some(format!("{kind}-{blocks}{parts}"));
    }
    if let Some(target) = text("target") {
        return Some(format!(
            "{kind}→{}",
            quoted(&units::path(target.as_bytes()))
        ));
    }
    match number("device") {
        Some(device) => Some(format!(
            "{kind}:{},{}",
            rustix::fs::major(device),
            rustix::fs::minor(device)
        )),
        None => Some(kind.to_owned()),
    }
}

/// `strand[812] grade=command uid=0 login=alice command="strand log"`.
fn who(members: &Map<String, Value>, grade: &str, name: &str) -> String {
    let mut said = units::path(name.as_bytes());
    if let Some(pid) = members
        .get("pid")
        .and_then(Value::as_u64)
        .filter(|&pid| pid > 0)
    {
        said += &format!("[{pid}]");
    }
    said += &format!(" grade={grade}");
    for key in ["uid", "login", "command", "reason"] {
        let value = members.get(key).filter(|value| value.as_str() != Some(""));
        if let Some(value) = value {
            said += &format!(" {key}={}", plain(value));
        }
    }
    said
}

/// Anything else: its members that say something.
fn pairs(members: &Map<String, Value>) -> String {
    let said = members.iter().filter(|(_, value)| {
        let blank = value.as_str().is_some_and(str::is_empty);
        !value.is_null() && !blank
    });
    let said: Vec<String> = said
        .map(|(name, value)| format!("{name}:{}", value_of(name, value)))
        .collect();
    said.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(value: Value) -> String {
        match value {
            Value::Object(fields) => said(&fields),
            _ => String::new(),
        }
    }

    #[test]
    fn fields_are_said_in_the_words_of_commands() {
        for (fields, text) in [
            (
                json!({"volume": 1, "source": {"volume": "pg", "checkpoint": "monday"}, "before": 4, "before_name": "auto-before-9"}),
                " source=pg@monday before=auto-before-9",
            ),
            (
                json!({"volumes": [{"volume": "pg", "source": {"volume": "pg", "seq": 7}}]}),
                " volumes=pg→pg@seq:7",
            ),
            (
                json!({"ranges": [{"block": 1, "count": 1}, {"block": 4, "count": 4}]}),
                " ranges=1,4–7",
            ),
            (
                json!({"shifts": [{"kind": "released", "from": "c", "blocks": 4}], "last": true}),
                " shifts=released-4-from-c last=true",
            ),
            (
                json!({"body": {"kind": "symlink", "target": "a b"}, "size": null}),
                " body=symlink→\"a b\"",
            ),
            (
                json!({"body": {"kind": "char", "device": 0x103}}),
                " body=char:1,3",
            ),
            (
                json!({"from_name": "old", "to_name": "new", "note": ""}),
                " from_name=old to_name=new note=\"\"",
            ),
            (
                json!({"set": {"mode": 0o644, "uid": null}, "volumes": []}),
                " set=mode:0644 volumes=none",
            ),
        ] {
            assert_eq!(line(fields), text);
        }
    }
}

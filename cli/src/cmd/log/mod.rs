//! `strand log`: the audit trail, newest first. `event` prints events as they are, `follow` goes on as they come.

mod event;
mod follow;

use crate::args::history::Log;
use crate::context::{Context, checkpoint, list, volume_or_only};
use crate::error::{Outcome, refuse};
use crate::names::nearest;
use crate::output::table::{Align, Table, terminal_width};
use crate::output::units;
use crate::time;
use crate::view;
use event::event_line;
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use strand_engine::{EventTime, Kind, Refusal, Seq, State, Store};
use strand_replay::log::{
    EventRow, Filter, Moved, Passed, Row, actor_value, events, expand, files_at, rows,
};

/// Kinds that `--kind` takes beside those of events: the parts of a counted bulk movement.
const MOVEMENTS: [&str; 3] = ["handed-down", "handed-in", "released"];

/// Runs it.
pub(crate) fn run(context: &mut Context, args: Log) -> Outcome {
    let store = context.read()?;
    if let Some(scope) = args.expand {
        return expanded(context, &store, scope);
    }
    let state = store.state();
    let mut filter = filter(&state, &args)?;
    let mut first = 0;
    if let Some(since) = &args.since {
        let (time, seq) = since_when(&store, &state, since)?;
        (filter.since, first) = (Some(time), seq);
    }
    if args.follow {
        return follow::follow(context, store, &filter, first, &args);
    }
    let limit = args.lines.unwrap_or(usize::MAX);
    if args.events {
        let late = |row: &EventRow| row.seq >= first;
        for row in events(&store, &filter)
            .filter(|row| row.as_ref().map_or(true, late))
            .take(limit)
        {
            event_line(context, &row?)?;
        }
        return Ok(());
    }
    // A digest is noted at every close; in the collapsed view it would stand between any two commands.
    let told = |row: &Row| {
        row.last_seq >= first && (!args.kind.is_empty() || row.kind != "digest-recorded")
    };
    let mut day = None;
    for row in rows(&store, &filter)
        .filter(|row| row.as_ref().map_or(true, told))
        .take(limit)
    {
        row_line(context, &row?, &mut day)?;
    }
    Ok(())
}

fn filter(state: &State, args: &Log) -> Outcome<Filter> {
    for kind in &args.kind {
        check_kind(kind)?;
    }
    let mut filter = Filter {
        actor: args.actor.clone(),
        kinds: args.kind.clone(),
        block: args.block,
        ..Filter::default()
    };
    if let Some(name) = &args.checkpoint {
        filter.checkpoint = Some(
            match state
                .removed_checkpoints
                .values()
                .find(|c| *c.name == **name)
            {
                Some(removed) if state.checkpoint_named(name).is_none() => removed.id,
                _ => checkpoint(state, name)?.id,
            },
        );
    }
    if args.volume.is_some() || args.path.is_some() {
        let name = args.volume.as_deref();
        filter.volume = Some(
            match name.and_then(|n| state.removed_volumes.values().find(|v| *v.name == *n)) {
                Some(removed) if name.and_then(|n| state.volume_named(n)).is_none() => removed.id,
                _ => volume_or_only(state, name)?.id,
            },
        );
    }
    if let (Some(path), Some(volume)) = (&args.path, filter.volume) {
        let files = files_at(state, volume, path.as_bytes());
        if files.is_empty() {
            return refuse(
                Refusal::new(
                    Kind::NotFound,
                    format!("there is no {}", units::rooted(path.as_bytes())),
                )
                .why("neither the live volume nor a checkpoint of it has such a path"),
            );
        }
        filter.files = Some(files);
    }
    Ok(filter)
}

/// The time and the number from which on `--since` shows what happened. It takes a time before the store's beginning as
/// well: then nothing is left out.
fn since_when(store: &Store, state: &State, text: &str) -> Outcome<(EventTime, Seq)> {
    if let Some(number) = text.strip_prefix("seq:") {
        return match number.parse::<Seq>() {
            Ok(seq) if seq <= state.seq => {
                // Before the first commit there is no boundary, and nothing to leave out.
                let time = store.boundary_at_or_before(seq).map_or(0, |(_, time)| time);
                Ok((time, seq))
            }
            Ok(seq) => refuse(
                Refusal::new(Kind::OutOfRange, format!("nothing is at seq {seq} yet"))
                    .why(format!("the last number is {}", state.seq)),
            ),
            Err(_) => refuse(
                Refusal::new(Kind::Invalid, format!("{text:?} is no position"))
                    .next("write seq:N, as strand log prints it"),
            ),
        };
    }
    let at = time::parse(text, &jiff::Zoned::now())?;
    if at > units::now().max(state.time) {
        return Ok((view::resolve_time(state, text)?, 0));
    }
    Ok((at, 0))
}

/// Says no to a kind that no event has.
fn check_kind(kind: &str) -> Outcome {
    let known = || {
        crate::topics::EVENT_KINDS
            .iter()
            .map(|(name, _)| *name)
            .chain(MOVEMENTS)
    };
    if known().any(|k| k == kind) {
        return Ok(());
    }
    let refusal = Refusal::new(Kind::Usage, format!("there is no kind of event {kind}"))
        .next("strand help events");
    match nearest(kind, known()) {
        Some(near) => refuse(refusal.why(format!("the nearest is {near}"))),
        None => refuse(refusal),
    }
}

/// Rows under the day they belong to; on a terminal a long row goes on under itself.
fn row_line(context: &mut Context, row: &Row, day: &mut Option<jiff::civil::Date>) -> Outcome {
    if context.out.json {
        return context.out.object(row_json(row));
    }
    let date = units::zoned(row.last_time).date();
    if *day != Some(date) {
        *day = Some(date);
        let head = context.out.bold(&date.to_string());
        context.out.line(head)?;
    }
    let head = format!(
        "{:<11}  {:>8}  ",
        span(row.first_time, row.last_time),
        row.last_seq
    );
    let text = units::path(row.text.as_bytes());
    if !context.out.terminal {
        return context.out.line(format!("{head}{text}"));
    }
    let indent = head.chars().count();
    for (i, line) in wrap(&text, terminal_width().saturating_sub(indent))
        .iter()
        .enumerate()
    {
        let head = if i == 0 {
            head.clone()
        } else {
            " ".repeat(indent)
        };
        context.out.line(format!("{head}{line}"))?;
    }
    Ok(())
}

/// Breaks a text at blanks into lines of at most `width` characters; a longer word stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
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

/// `10:00:03–08`: the end names only what differs from the start; the day stands above.
fn span(first: EventTime, last: EventTime) -> String {
    let (a, b) = (units::zoned(first), units::zoned(last));
    let end = b.strftime("%H:%M:%S").to_string();
    if a.date() != b.date() {
        return format!("–{end}");
    }
    if (a.hour(), a.minute(), a.second()) == (b.hour(), b.minute(), b.second()) {
        return end;
    }
    let start = a.strftime("%H:%M:%S");
    if (a.hour(), a.minute()) == (b.hour(), b.minute()) {
        format!("{start}–{}", b.strftime("%S"))
    } else {
        format!("{start}–{end}")
    }
}

fn row_json(row: &Row) -> Value {
    let passed = |p: &Passed| json!({"checkpoint": p.checkpoint, "blocks": p.blocks});
    json!({
        "first_seq": row.first_seq, "last_seq": row.last_seq, "first_time": units::json_time(row.first_time),
        "last_time": units::json_time(row.last_time), "actor": actor_value(&row.actor), "kind": row.kind, "kinds": row.kinds,
        "volume": row.volume, "blocks": row.blocks, "files": row.files, "passed": row.passed.iter().map(passed).collect::<Vec<_>>(),
        "paths": row.paths.iter().map(|p| rooted(p)).collect::<Vec<_>>(), "text": row.text,
    })
}

/// A path from the root; a file without a name any more stands as `inode N`, which is no path.
fn rooted(path: &str) -> String {
    let nameless = path
        .strip_prefix("inode ")
        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    if nameless {
        path.to_owned()
    } else {
        units::rooted(path.as_bytes())
    }
}

fn expanded(context: &mut Context, store: &Store, scope: Seq) -> Outcome {
    let moved = expand(store, scope)?;
    if context.out.json {
        return context.out.object(json!({"scope": scope, "moved": moved}));
    }
    if moved.is_empty() {
        return context.out.line(format!("seq {scope} moved no blocks"));
    }
    let mut table = Table::new(&[
        ("FILE", Align::Flexible),
        ("BLOCKS", Align::Right),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("WHICH", Align::Flexible),
    ]);
    for row in &moved {
        table.row(vec![
            units::path(row.path.as_bytes()),
            units::count(row.blocks),
            row.from.clone(),
            row.to.clone(),
            which(row),
        ]);
    }
    table.print(&mut context.out)
}

fn which(moved: &Moved) -> String {
    let ranges: Vec<String> = moved
        .ranges
        .iter()
        .map(|r| {
            if r.count == 1 {
                r.block.to_string()
            } else {
                format!("{}–{}", r.block, r.block + r.count - 1)
            }
        })
        .collect();
    list(ranges.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_shows_only_what_differs_at_its_end() {
        const SECOND: u64 = 1_000_000_000;
        let at = 1_790_000_000 * SECOND;
        assert_eq!(span(at, at + 1).len(), 8);
        assert_eq!(span(at, at + 5 * SECOND).chars().count(), 11);
        assert!(span(at, at + 86_400 * SECOND).starts_with('–'));
    }

    #[test]
    fn long_rows_break_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcdefghij", "k"]);
    }
}

//! `strand versions`, `replay`, `verify` and `anchor`: what the journal can prove.

use crate::args::history::{Replay, Verify, Versions};
use crate::context::{Context, volume};
use crate::error::{Failure, Outcome, refuse};
use crate::output::progress::Progress;
use crate::output::table::{Align, Table};
use crate::output::{units, words};
use crate::view::{self, Image};
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::time::Duration;
use strand_engine::{BLOCK, Kind, Refusal, Seq, Store, statefile};
use strand_journal::ChainHash;
use strand_replay::log::actor_value;
use strand_replay::verify::{AnchorResult, Options, Phase, Progress as Step, Report};
use strand_replay::{anchor, check, verify, versions};

/// `versions`
pub(crate) fn versions(context: &mut Context, args: Versions) -> Outcome {
    let store = context.read()?;
    let id = volume(&store.state(), &args.volume)?.id;
    let found = versions::versions(&store, id, args.path.as_bytes())?;
    if context.out.json {
        let row = |v: &versions::Version| {
            json!({
                "seq": v.seq, "time": units::json_time(v.time), "actor": actor_value(&v.actor), "kind": v.kind, "size": v.size,
                "blocks_changed": v.blocks_changed, "bytes_changed": v.blocks_changed * BLOCK,
            })
        };
        let rows: Vec<Value> = found.iter().map(row).collect();
        let object =
            json!({"volume": args.volume, "path": args.path.to_string_lossy(), "versions": rows});
        return context
            .out
            .object(units::with_hex(object, &[("path", &args.path)]));
    }
    if found.is_empty() {
        return context.out.line(format!(
            "{} has had no content yet",
            units::rooted(args.path.as_bytes())
        ));
    }
    let columns = [
        ("SEQ", Align::Right),
        ("TIME", Align::Left),
        ("SIZE", Align::Right),
        ("BLOCKS", Align::Right),
        ("KIND", Align::Left),
        ("BY", Align::Flexible),
    ];
    let mut table = Table::new(&columns);
    for v in &found {
        let size = v.size.map_or_else(|| "gone".into(), units::size);
        table.row(vec![
            v.seq.to_string(),
            units::short_time(v.time),
            size,
            units::count(v.blocks_changed),
            v.kind.into(),
            words::who(&v.actor),
        ]);
    }
    table.print(&mut context.out)
}

/// `replay`
pub(crate) fn replay(context: &mut Context, args: Replay) -> Outcome {
    let store = context.read()?;
    let to = match &args.to {
        None => None,
        Some(text) => {
            // A bare number after the volume's name is a view too: VOL@seq:N.
            let text = text
                .split_once('@')
                .map_or(text.as_str(), |(_, after)| after);
            match view::resolve_image(context, &store, &store.state(), text)? {
                Image::Position(seq, _) => Some(seq),
                Image::Checkpoint(c) => Some(c.seq),
            }
        }
    };
    let report = check::replay_check(&store, to)?;
    let compared = report.compared.len() as u64;
    let wrong: Vec<_> = report
        .compared
        .iter()
        .filter(|c| c.recorded != c.found)
        .collect();
    let good = report.ok() && context.damage().is_none();
    if context.out.json {
        context.out.object(json!({
            "events": report.events, "to": report.to, "time": units::json_time(report.time), "seconds": report.seconds, "digest": report.digest,
            "compared": report.compared, "equals_store": report.equals_store, "ok": good,
        }))?;
    } else {
        let taken = units::seconds(Duration::from_secs_f64(report.seconds));
        context.out.line(format!(
            "folded {} in {taken}, to {}",
            units::counted(report.events, "event"),
            words::position(report.to, report.time)
        ))?;
        context.out.line(format!("digest    {}", report.digest))?;
        let equal = compared - wrong.len() as u64;
        context.out.line(format!(
            "recorded  {} of {} equal",
            units::count(equal),
            units::counted(compared, "digest")
        ))?;
        for c in &wrong {
            context.out.line(format!(
                "  differs at seq {}: recorded {}, found {}",
                c.at, c.recorded, c.found
            ))?;
        }
        match report.equals_store {
            Some(true) if context.damage().is_some() => context
                .out
                .line("store     the same state, up to the damage")?,
            Some(true) => context.out.line("store     the same state")?,
            Some(false) => context.out.line("store     ANOTHER state")?,
            None => {}
        }
    }
    if args.check && !report.ok() {
        return Err(Failure::Said(Kind::Damaged.exit_code()));
    }
    Ok(())
}

/// `verify`
pub(crate) fn verify(context: &mut Context, args: Verify) -> Outcome {
    let anchor = args.anchor.as_deref().map(parse_anchor).transpose()?;
    let store = context.read_as_it_is()?;
    let options = Options {
        data: args.data,
        anchor,
        from_scratch: true,
    };
    let bar: Mutex<Option<(Phase, Progress)>> = Mutex::new(None);
    let show = |step: Step| {
        let Ok(mut bar) = bar.lock() else { return };
        if bar.as_ref().is_none_or(|(phase, _)| *phase != step.phase) {
            *bar = None; // the bar before is cleared first
            *bar = Some((step.phase, bar_of(step)));
        }
        if let Some((_, bar)) = bar.as_ref() {
            bar.set_total(step.total);
            bar.set(step.done);
        }
    };
    let mut report = verify::verify(&store, &options, &show)?;
    let useless = useless_state_files(&store, &mut report);
    if let Ok(mut bar) = bar.lock() {
        *bar = None;
    }
    if let Err(error) = verify::note(&store, &report) {
        // A store in a directory that only others may write can be verified all the same.
        tracing::info!(%error, "strand status will not know of this verification");
    }
    if context.out.json {
        context.out.object(report_json(&report, &useless))?;
    } else {
        print(context, &report, &useless)?;
    }
    if report.ok() {
        Ok(())
    } else {
        Err(Failure::Said(Kind::Damaged.exit_code()))
    }
}

fn bar_of(step: Step) -> Progress {
    match step.phase {
        Phase::Headers => Progress::bytes("headers", step.total),
        Phase::Data => Progress::bytes("data", step.total),
        Phase::Fold => Progress::count("events", step.total),
        Phase::StateFiles => Progress::count("state files", step.total),
    }
}

/// State files that do not load, as paths in the store. Everything in them is in the journal, and no opening uses such a
/// file: worth a notice. One that loads and holds another state than its events give is used, and stays damage.
fn useless_state_files(store: &Store, report: &mut Report) -> Vec<String> {
    let mut useless = Vec::new();
    for finding in report
        .findings
        .iter_mut()
        .filter(|f| f.check == "state-file")
    {
        let Some(path) = &finding.file else { continue };
        let name = path
            .strip_prefix(statefile::STATE_DIR)
            .and_then(|p| p.strip_prefix('/'));
        let Some(name) = name else { continue };
        if statefile::load(store.disk().as_ref(), name, store.journal().store()).is_err() {
            finding.severity = verify::Severity::Notice;
            useless.push(path.clone());
        }
    }
    useless
}

fn report_json(report: &Report, useless: &[String]) -> Value {
    let mut value = serde_json::to_value(report).unwrap_or(Value::Null);
    value["proved_to_time"] = units::json_time(report.proved_to_time).into();
    value["ok"] = report.ok().into();
    value["useless_state_files"] = useless.into();
    value
}

fn print(context: &mut Context, report: &Report, useless: &[String]) -> Outcome {
    let t = &report.totals;
    let seconds: f64 = report.phases.iter().map(|p| p.seconds).sum();
    let taken = units::seconds(Duration::from_secs_f64(seconds));
    for finding in &report.findings {
        let place = if finding.shown_by.is_empty() {
            String::new()
        } else {
            format!("; shown by {}", finding.shown_by.join(", "))
        };
        let damage = finding.severity == verify::Severity::Damage;
        let word = context
            .out
            .tinted(!damage, if damage { "damage" } else { "notice" });
        context.out.line(format!(
            "{word}  {}: {}{place}",
            finding.check,
            units::path(finding.to_string().as_bytes())
        ))?;
    }
    context.out.line(format!(
        "checked   {} in {} of {}, {}",
        units::counted(t.events, "event"),
        units::counted(t.frames, "frame"),
        units::counted(t.segments, "segment"),
        taken
    ))?;
    let blocks = units::blocks_size(t.payload_blocks + t.older);
    let data = if report.data {
        format!("{blocks} read and checked")
    } else {
        format!("{blocks} not read: add --data")
    };
    context.out.line(format!("data      {data}"))?;
    context
        .out
        .line(format!("state     {}", state_line(report)))?;
    let proved = words::position(report.proved_to, report.proved_to_time);
    context.out.line(format!(
        "proved    from seq {} to {proved}",
        report.proved_from
    ))?;
    match &report.anchor {
        Some(AnchorResult::Proved { seq }) => context
            .out
            .line(format!("anchor    nothing up to seq {seq} was altered"))?,
        Some(AnchorResult::Differs { seq, found }) => context.out.line(format!(
            "anchor    ALTERED: the chain at seq {seq} is {found}"
        ))?,
        Some(AnchorResult::Missing { seq, last }) => context.out.line(format!(
            "anchor    NOT FOUND: no frame ends at seq {seq} (the last is {last})"
        ))?,
        None => {}
    }
    let verdict = match (report.ok(), useless.len() as u64) {
        (true, 0) => "ok".to_owned(),
        (true, 1) => "ok, with a useless state file".to_owned(),
        (true, n) => format!("ok, with {}", units::counted(n, "useless state file")),
        (false, _) => "DAMAGED".to_owned(),
    };
    let verdict = context.out.tinted(report.ok(), &verdict);
    context.out.line(format!("verdict   {verdict}"))?;
    if report.ok() && !useless.is_empty() {
        let paths = crate::context::list(useless.iter().map(String::as_str));
        context.out.line(format!(
            "next      remove {paths} from the store: derived, and made again from the journal"
        ))?;
    }
    Ok(())
}

fn state_line(report: &Report) -> String {
    let t = &report.totals;
    format!(
        "recomputed {}, {}, {}, {}",
        units::counted(t.copied_out, "copied-out block"),
        units::counted(t.ledgers, "ledger"),
        units::counted(t.digests, "digest"),
        units::counted(t.state_files, "state file")
    )
}

fn parse_anchor(text: &str) -> Outcome<(Seq, ChainHash)> {
    let parsed = text
        .split_once(':')
        .and_then(|(seq, hash)| Some((seq.parse().ok()?, parse_hash(hash)?)));
    match parsed {
        Some(anchor) => Ok(anchor),
        None => refuse(
            Refusal::new(Kind::Usage, format!("{text:?} is no anchor"))
                .why("it is SEQ:HASH, the hash in 64 hexadecimal digits")
                .next("give what strand anchor printed"),
        ),
    }
}

fn parse_hash(text: &str) -> Option<ChainHash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(ChainHash(hash))
}

/// `anchor`
pub(crate) fn anchor(context: &mut Context) -> Outcome {
    let store = context.read()?;
    let anchor = anchor::anchor(&store);
    if context.out.json {
        let text = format!("{}:{}", anchor.seq, anchor.chain);
        return context.out.object(json!({"seq": anchor.seq, "hash": anchor.chain.to_string(), "anchor": text, "time": units::json_time(anchor.time)}));
    }
    context.out.line(format!("{}:{}", anchor.seq, anchor.chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_back() {
        let hash = "ab".repeat(32);
        let (seq, chain) = parse_anchor(&format!("48211:{hash}")).expect("an anchor");
        assert_eq!((seq, chain.to_string()), (48211, hash));
        for bad in [
            "",
            "5",
            "5:ab",
            "x:y",
            &format!("5:{}", "zz".repeat(32)),
            &format!("5:{}", "é".repeat(32)),
        ] {
            assert!(parse_anchor(bad).is_err(), "{bad}");
        }
    }
}

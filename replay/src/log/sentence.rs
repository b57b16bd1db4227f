//! What a row says in words.

use super::back::Logged;
use super::labels::{Labels, actor_label, counted, grouped};
use super::run::Run;
use super::touch;
use strand_engine::duration;
use strand_engine::{CheckpointId, Event, GiveUp, Limit, Shift, Source, VolumeId};

/// Says whether an event is what its command is about, rather than a part of it.
pub(crate) fn is_main(event: &Event) -> bool {
    !touch::is_everyday(event)
        && !matches!(
            event,
            Event::ActorSeen { .. }
                | Event::CopiedOutScope { .. }
                | Event::FileRestored { .. }
                | Event::Settled { .. }
        )
}

/// The kind that a run goes by: the weightiest it holds.
pub(crate) fn kind_of_run(run: &Run) -> &'static str {
    const BY_WEIGHT: [&str; 8] = [
        "written",
        "truncated",
        "punched",
        "shared",
        "unlinked",
        "renamed",
        "created",
        "linked",
    ];
    let weighty = BY_WEIGHT.into_iter().find(|kind| run.count(kind) > 0);
    weighty
        .or_else(|| run.kinds.keys().next().copied())
        .unwrap_or("written")
}

/// A run of everyday events: `sqlite3[812] wrote 3,412 blocks in 2 files; 2,001 passed to before-upgrade`.
pub(crate) fn of_run(run: &Run, labels: &mut Labels) -> String {
    let actor = actor_label(&labels.actor(run.actor));
    let mut clauses = match (&run.sole, run.volume) {
        (Some(event), Some(volume)) => sole(event, volume, labels).into_iter().collect(),
        _ => Vec::new(),
    };
    if clauses.is_empty() {
        clauses = many(run, labels);
    }
    let passed = passed(run, labels);
    match (clauses.is_empty(), passed.is_empty()) {
        (false, true) => format!("{actor} {}", clauses.join(", ")),
        (false, false) => format!("{actor} {}; {passed}", clauses.join(", ")),
        (true, _) => format!("{actor}: {passed}"),
    }
}

fn passed(run: &Run, labels: &Labels) -> String {
    let mut parts = run.passed.iter().filter(|(_, blocks)| **blocks > 0);
    let mut text = String::new();
    if let Some((to, blocks)) = parts.next() {
        text = format!("{} passed to {}", grouped(*blocks), labels.checkpoint(*to));
    }
    for (to, blocks) in parts {
        text.push_str(&format!(
            ", {} to {}",
            grouped(*blocks),
            labels.checkpoint(*to)
        ));
    }
    for (by, blocks) in run.marked.iter().filter(|(_, blocks)| **blocks > 0) {
        let comma = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!(
            "{comma}{} marked by {}",
            grouped(*blocks),
            labels.checkpoint(*by)
        ));
    }
    text
}

/// The one event of a run, told by its names. `None` where the sums say as much.
fn sole(event: &Event, volume: VolumeId, labels: &mut Labels) -> Option<String> {
    Some(match event {
        Event::Created { dir, name, .. } => format!("created {}", labels.entry(volume, *dir, name)),
        Event::Linked { dir, name, ino, .. } => {
            format!(
                "linked {} to {}",
                labels.entry(volume, *dir, name),
                labels.file(volume, *ino)
            )
        }
        Event::Unlinked { dir, name, .. } => {
            format!("removed {}", labels.entry(volume, *dir, name))
        }
        Event::Renamed {
            from_dir,
            from_name,
            to_dir,
            to_name,
            over,
            ..
        } => {
            let over = if over.is_some() {
                ", which it replaced"
            } else {
                ""
            };
            format!(
                "renamed {} to {}{over}",
                labels.entry(volume, *from_dir, from_name),
                labels.entry(volume, *to_dir, to_name)
            )
        }
        Event::Exchanged {
            a_dir,
            a_name,
            b_dir,
            b_name,
            ..
        } => {
            format!(
                "exchanged {} and {}",
                labels.entry(volume, *a_dir, a_name),
                labels.entry(volume, *b_dir, b_name)
            )
        }
        Event::Truncated { ino, size, .. } => format!(
            "set the size of {} to {}",
            labels.file(volume, *ino),
            counted(*size, "byte")
        ),
        Event::AttributesSet { ino, .. } => {
            format!("set attributes of {}", labels.file(volume, *ino))
        }
        Event::XattrSet { ino, name, .. } => format!(
            "set {} of {}",
            crate::paths::text(name),
            labels.file(volume, *ino)
        ),
        Event::XattrRemoved { ino, name, .. } => format!(
            "removed {} of {}",
            crate::paths::text(name),
            labels.file(volume, *ino)
        ),
        _ => return None,
    })
}

fn many(run: &Run, labels: &mut Labels) -> Vec<String> {
    let files = match (run.files.len(), run.files.first(), run.volume) {
        (1, Some(ino), Some(volume)) => labels.file(volume, *ino),
        (n, ..) => counted(n as u64, "file"),
    };
    let mut clauses = Vec::new();
    let mut say = |number: u64, clause: &dyn Fn() -> String| {
        if number > 0 {
            clauses.push(clause());
        }
    };
    say(run.count("created"), &|| {
        format!("created {}", counted(run.count("created"), "name"))
    });
    say(run.count("linked"), &|| {
        format!("linked {}", counted(run.count("linked"), "name"))
    });
    say(run.written, &|| {
        format!("wrote {} in {files}", counted(run.written, "block"))
    });
    say(run.punched, &|| {
        format!("punched {}", counted(run.punched, "block"))
    });
    say(run.count("truncated"), &|| {
        format!("set the size {}", times(run.count("truncated")))
    });
    say(run.shared, &|| {
        format!("shared {}", counted(run.shared, "block"))
    });
    say(run.count("preallocated"), &|| {
        format!("reserved room {}", times(run.count("preallocated")))
    });
    let renamed = run.count("renamed") + run.count("exchanged");
    say(renamed, &|| format!("renamed {}", counted(renamed, "name")));
    say(run.count("unlinked"), &|| {
        format!("removed {}", counted(run.count("unlinked"), "name"))
    });
    say(run.count("orphan-dropped"), &|| {
        format!(
            "let go of {}",
            counted(run.count("orphan-dropped"), "nameless file")
        )
    });
    let attributes =
        run.count("attributes-set") + run.count("xattr-set") + run.count("xattr-removed");
    say(attributes, &|| {
        format!("set attributes {}", times(attributes))
    });
    clauses
}

fn times(number: u64) -> String {
    if number == 1 {
        "once".into()
    } else {
        format!("{} times", grouped(number))
    }
}

/// A command that is not everyday work. `rolled_back` is the rollback that an undo or redo consists of.
pub(crate) fn of_command(
    run: &Run,
    main: &Logged,
    rolled_back: Option<&Event>,
    labels: &mut Labels,
) -> String {
    let actor = labels.actor(main.actor);
    let mut what = main_clause(main, labels);
    if let (Event::Undone { .. }, Some(Event::RolledBack { volumes, before })) =
        (&main.event, rolled_back)
    {
        what.push_str(&format!(": {}", rollback_clause(volumes, *before, labels)));
    }
    let mut text = format!("{} {what}", actor_label(&actor));
    let passed = passed(run, labels);
    if !passed.is_empty() {
        text.push_str("; ");
        text.push_str(&passed);
    }
    if !actor.reason.is_empty() {
        text.push_str(&format!(" ({})", actor.reason));
    }
    text
}

fn main_clause(main: &Logged, labels: &mut Labels) -> String {
    match &main.event {
        Event::StoreCreated { program } => format!("created the store with {program}"),
        Event::ActorSeen { who, .. } => format!("saw {} for the first time", actor_label(who)),
        Event::ClockJumped { expected, found } => {
            let (way, by) = if found > expected {
                ("forward", found - expected)
            } else {
                ("back", expected - found)
            };
            format!(
                "saw the wall clock jump {way} by {}",
                counted(by / 1_000_000, "millisecond")
            )
        }
        Event::Refused { message, count, .. } => {
            let more = if *count > 1 {
                format!(" ({})", times(u64::from(*count)))
            } else {
                String::new()
            };
            format!("was refused: {message}{more}")
        }
        Event::DigestRecorded { at, .. } => format!("recorded the digest of seq {at}"),
        Event::VolumeCreated { name, .. } => format!("created volume {name}"),
        Event::VolumeRenamed { name, .. } => format!("renamed a volume to {name}"),
        Event::VolumeRemoved { volume } => format!("removed volume {}", labels.volume(*volume)),
        Event::VolumeRestored { volume } => {
            format!("brought back volume {}", labels.volume(*volume))
        }
        Event::CloneCreated { name, source, .. } => {
            format!("created clone {name} from {}", labels.source(*source))
        }
        Event::CloneReset { volume, before } => {
            format!(
                "reset clone {}; {} keeps the state before",
                labels.volume(*volume),
                labels.checkpoint(*before)
            )
        }
        Event::CheckpointCreated { name, volumes, .. } => {
            let of: Vec<String> = volumes.iter().map(|v| labels.volume(*v)).collect();
            format!("took checkpoint {name} of {}", of.join(", "))
        }
        Event::CheckpointRemoved { checkpoint } => {
            format!("removed checkpoint {}", labels.checkpoint(*checkpoint))
        }
        Event::CheckpointRestored { checkpoint } => {
            format!("brought back checkpoint {}", labels.checkpoint(*checkpoint))
        }
        Event::CheckpointRenamed { name, .. } => format!("renamed a checkpoint to {name}"),
        Event::QuotaSet { volume, quota } => {
            let volume = labels.volume(*volume);
            let limit = |limit: Option<u64>| {
                limit.map_or_else(|| "none".into(), |bytes| counted(bytes, "byte"))
            };
            let (hard, soft) = (limit(quota.hard), limit(quota.soft));
            let state = if quota.on { "on" } else { "off" };
            format!("set the quota of {volume}: hard {hard}, soft {soft}, {state}")
        }
        Event::QuotaReached {
            volume,
            limit,
            owned,
        } => {
            let limit = match limit {
                Limit::Soft => "soft",
                Limit::Hard => "hard",
            };
            format!(
                "reached the {limit} limit of {}, whose checkpoints would own {}",
                labels.volume(*volume),
                counted(*owned, "block")
            )
        }
        Event::CheckpointDropped { checkpoint, volume } => format!(
            "gave up checkpoint {} for the quota of {}",
            labels.checkpoint(*checkpoint),
            labels.volume(*volume)
        ),
        Event::CheckpointGivenUp { checkpoint, cause } => {
            let why = match cause {
                GiveUp::Capacity => "because the store ran out of space",
                GiveUp::Schedule => "by its schedule",
                GiveUp::Asked => "for good",
            };
            format!(
                "gave up checkpoint {} {why}",
                labels.checkpoint(*checkpoint)
            )
        }
        Event::Relocated { births } => {
            let versions = births.iter().map(|(_, count)| u64::from(*count)).sum();
            format!("moved {} elsewhere", counted(versions, "block"))
        }
        Event::SegmentsReclaimed { ranges } => {
            format!("gave back {}", counted(ranges.len() as u64, "segment"))
        }
        Event::HistoryReleased { volume, before } => format!(
            "moved the history window of {} on to seq {before}",
            labels.volume(*volume)
        ),
        Event::RetentionSet { volume, retention } => {
            let age = retention.age.map(duration);
            let bytes = retention.bytes.map(|bytes| counted(bytes, "byte"));
            let limits: Vec<String> = age.into_iter().chain(bytes).collect();
            let limits = match limits.is_empty() {
                true => "the default".to_owned(),
                false => limits.join(" or "),
            };
            format!(
                "set the history window of {} to {limits}",
                labels.volume(*volume)
            )
        }
        Event::ScheduleSet {
            volume,
            schedule: Some(schedule),
        } => format!(
            "scheduled checkpoints of {}: {schedule}",
            labels.volume(*volume)
        ),
        Event::ScheduleSet {
            volume,
            schedule: None,
        } => format!("ended the schedule of {}", labels.volume(*volume)),
        Event::ArchiveMoved { before, .. } => {
            format!("moved the events before seq {before} out of the store")
        }
        Event::AuditSet { keep } => match keep {
            Some(bytes) => format!("keeps {} of archived events", counted(*bytes, "byte")),
            None => "keeps all archived events".to_owned(),
        },
        Event::CheckpointConverted { checkpoint, .. } => format!(
            "made checkpoint {} nodata: it keeps no images",
            labels.checkpoint(*checkpoint)
        ),
        Event::CheckpointHeld {
            checkpoint,
            held: true,
        } => format!("holds checkpoint {}", labels.checkpoint(*checkpoint)),
        Event::CheckpointHeld {
            checkpoint,
            held: false,
        } => format!("released checkpoint {}", labels.checkpoint(*checkpoint)),
        Event::CheckpointFlagged { checkpoint, .. } => format!(
            "set the flags of checkpoint {}",
            labels.checkpoint(*checkpoint)
        ),
        Event::RolledBack { volumes, before } => {
            format!("rolled back {}", rollback_clause(volumes, *before, labels))
        }
        Event::FilesRolledBack {
            volume,
            source,
            before,
            paths,
            ..
        } => {
            let what = match paths.as_slice() {
                [one] => crate::paths::text(one),
                paths => counted(paths.len() as u64, "path"),
            };
            let (of, to, before) = (
                labels.volume(*volume),
                labels.source(*source),
                labels.checkpoint(*before),
            );
            format!("rolled back {what} of {of} to {to}; {before} keeps the state before")
        }
        Event::FileRestored {
            volume,
            ino,
            source,
            ..
        } => {
            format!(
                "restored {} from {}",
                labels.file(*volume, *ino),
                labels.source(*source)
            )
        }
        Event::Undone {
            change,
            redo: false,
            ..
        } => format!("undid the change of seq {change}"),
        Event::Undone {
            change, redo: true, ..
        } => format!("did the change of seq {change} again"),
        Event::CopiedOutScope { volume, .. } => {
            format!(
                "moved blocks of {} in bulk (log --expand {})",
                labels.volume(*volume),
                main.seq
            )
        }
        Event::Settled {
            volume,
            scope,
            shifts,
            ..
        } => {
            let mut text = format!(
                "counted what seq {scope} moved in {}",
                labels.volume(*volume)
            );
            for shift in shifts {
                match shift {
                    Shift::CopiedOut { .. } | Shift::Marked { .. } => continue,
                    Shift::Unmarked { from, blocks } => {
                        text.push_str(&format!(
                            "; {} marked no longer by {}",
                            grouped(*blocks),
                            labels.checkpoint(*from)
                        ));
                    }
                    Shift::HandedDown { from, to, blocks } => {
                        let (from, to) = (labels.checkpoint(*from), labels.checkpoint(*to));
                        text.push_str(&format!(
                            "; {} handed down from {from} to {to}",
                            grouped(*blocks)
                        ));
                    }
                    Shift::HandedIn { to, blocks } => {
                        text.push_str(&format!(
                            "; {} handed in to {}",
                            grouped(*blocks),
                            labels.checkpoint(*to)
                        ));
                    }
                    Shift::Released { from, blocks } => {
                        text.push_str(&format!(
                            "; {} released by {}",
                            grouped(*blocks),
                            labels.checkpoint(*from)
                        ));
                    }
                }
            }
            text
        }
        event => event.kind().replace('-', " "),
    }
}

fn rollback_clause(
    volumes: &[(VolumeId, Source)],
    before: CheckpointId,
    labels: &Labels,
) -> String {
    let what: Vec<String> = volumes
        .iter()
        .map(|(v, to)| format!("{} to {}", labels.volume(*v), labels.source(*to)))
        .collect();
    format!(
        "{}; {} keeps the state before",
        what.join(", "),
        labels.checkpoint(before)
    )
}

//! What files hold: writes, sizes, shared blocks, attributes.

use super::files::range_copy_outs;
use super::{inode, volume};
use crate::block::{BLOCK, MAX_FILE_BLOCKS, MAX_FILE_SIZE};
use crate::command::{Command, Request, WriteRun};
use crate::event::{Cause, Event, MAX_EVENT_BLOCKS, MAX_XATTR_VALUE, Range};
use crate::ids::{Ino, VolumeId};
use crate::name::MAX_FILE_NAME;
use crate::owner::may_spread;
use crate::refusal::{Kind, Refusal};
use crate::state::{FileBody, State, Volume};

pub(super) fn judge(state: &State, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    match &request.command {
        Command::Write {
            volume,
            ino,
            runs,
            size,
        } => write(state, *volume, *ino, runs, *size),
        Command::Truncate {
            volume,
            ino,
            size,
            tail,
        } => truncate(state, *volume, *ino, *size, *tail),
        Command::Preallocate {
            volume: id,
            ino,
            offset,
            length,
            keep_size,
        } => {
            if *length == 0 {
                return Err(Refusal::new(Kind::Invalid, "an empty range"));
            }
            let file = file(volume(state, *id)?, *ino)?;
            let end = offset
                .checked_add(*length)
                .filter(|end| *length > 0 && *end <= MAX_FILE_SIZE)
                .ok_or_else(too_large)?;
            let size = (!keep_size && end > file.size).then_some(end);
            Ok(size
                .map(|size| Event::Preallocated {
                    volume: *id,
                    ino: *ino,
                    size: Some(size),
                })
                .into_iter()
                .collect())
        }
        Command::Share { .. } => share(state, request),
        Command::SetAttributes {
            volume: id,
            ino,
            set,
        } => {
            inode(&volume(state, *id)?.live, *ino)?;
            let mut set = set.clone();
            set.mode = set.mode.map(|mode| mode & 0o7777);
            if set == crate::event::SetAttributes::default() {
                return Ok(Vec::new());
            }
            Ok(vec![Event::AttributesSet {
                volume: *id,
                ino: *ino,
                set,
            }])
        }
        Command::SetXattr {
            volume: id,
            ino,
            name,
            value,
            create,
        } => {
            let there = inode(&volume(state, *id)?.live, *ino)?
                .xattrs
                .as_ref()
                .is_some_and(|x| x.contains_key(name));
            if name.is_empty() || name.len() > MAX_FILE_NAME || name.contains(&0) {
                return Err(Refusal::new(
                    Kind::Invalid,
                    "an attribute's name has 1 to 255 bytes, no NUL",
                ));
            }
            if value.len() > MAX_XATTR_VALUE {
                return Err(Refusal::new(
                    Kind::TooLarge,
                    format!("an attribute's value has at most {MAX_XATTR_VALUE} bytes"),
                ));
            }
            match create {
                Some(true) if there => {
                    return Err(Refusal::new(Kind::Exists, "the attribute exists"));
                }
                Some(false) if !there => return Err(no_attribute()),
                _ => {}
            }
            Ok(vec![Event::XattrSet {
                volume: *id,
                ino: *ino,
                name: name.clone(),
                value: value.clone(),
            }])
        }
        Command::RemoveXattr {
            volume: id,
            ino,
            name,
        } => {
            if !inode(&volume(state, *id)?.live, *ino)?
                .xattrs
                .as_ref()
                .is_some_and(|x| x.contains_key(name))
            {
                return Err(no_attribute());
            }
            Ok(vec![Event::XattrRemoved {
                volume: *id,
                ino: *ino,
                name: name.clone(),
            }])
        }
        _ => Ok(Vec::new()),
    }
}

fn write(
    state: &State,
    id: VolumeId,
    ino: Ino,
    runs: &[WriteRun],
    size: u64,
) -> Result<Vec<Event>, Refusal> {
    let volume = volume(state, id)?;
    let file = file(volume, ino)?;
    let mut end = 0;
    for run in runs {
        let run_end = run
            .block
            .checked_add(run.count)
            .filter(|e| *e <= MAX_FILE_BLOCKS)
            .ok_or_else(too_large)?;
        let longest = if run.data {
            u64::from(strand_journal::MAX_RECORD_PAYLOAD)
        } else {
            MAX_FILE_BLOCKS
        };
        if run.count == 0 || run.count > longest || run.block < end {
            return Err(Refusal::new(
                Kind::Invalid,
                "a write with empty, overlong or overlapping runs",
            ));
        }
        end = run_end;
    }
    if size > MAX_FILE_SIZE {
        return Err(too_large());
    }
    // What a run of data leaves unmapped past the end no event could have written.
    let reach = file.size.max(size).div_ceil(BLOCK);
    if runs
        .iter()
        .any(|run| run.data && run.block + run.count > reach)
    {
        return Err(Refusal::new(
            Kind::Invalid,
            "a write past the size it gives",
        ));
    }
    let ranges = |data: bool| -> Vec<(Ino, Range)> {
        let wanted = runs.iter().filter(|run| run.data == data);
        wanted
            .map(|run| {
                (
                    ino,
                    Range {
                        block: run.block,
                        count: run.count,
                    },
                )
            })
            .collect()
    };
    let (data, holes) = (ranges(true), ranges(false));
    // In the order of the blocks, as the ranges of an event must be.
    let mut all: Vec<(Ino, Range)> = data.iter().chain(&holes).copied().collect();
    all.sort_unstable_by_key(|(_, range)| range.block);
    let cause = if data.is_empty() {
        Cause::Punch
    } else {
        Cause::Write
    };
    let mut events = range_copy_outs(volume, &all, cause);
    let mut now = file.size;
    if matches!(events.first(), Some(Event::CopiedOutScope { .. })) {
        // In bulk: data first, named block by block; then each hole behind a scope of its own, which counts what it alone moved.
        events = range_copy_outs(volume, &data, Cause::Write);
        if matches!(events.first(), Some(Event::CopiedOutScope { .. })) {
            return Err(
                Refusal::new(Kind::Invalid, "one write replaces too many blocks")
                    .next("write less at a time"),
            );
        }
        events.extend(
            runs.iter()
                .filter(|run| run.data)
                .map(|run| run_event(id, ino, run, &mut now, size)),
        );
        for run in runs.iter().filter(|run| !run.data) {
            events.push(Event::CopiedOutScope {
                volume: id,
                cause: Cause::Punch,
            });
            events.push(run_event(id, ino, run, &mut now, size));
        }
    } else {
        events.extend(
            runs.iter()
                .map(|run| run_event(id, ino, run, &mut now, size)),
        );
    }
    if size > now {
        events.push(Event::Truncated {
            volume: id,
            ino,
            size,
        });
    }
    Ok(events)
}

/// The event of one run. Sizes grow with the runs, so that every event stands on its own.
fn run_event(volume: VolumeId, ino: Ino, run: &WriteRun, now: &mut u64, size: u64) -> Event {
    let reached = size.min((run.block + run.count) * BLOCK);
    let grown = (reached > *now).then_some(reached);
    *now = grown.unwrap_or(*now);
    if run.data {
        Event::Written {
            volume,
            ino,
            block: run.block,
            size: grown,
        }
    } else {
        Event::Punched {
            volume,
            ino,
            range: Range {
                block: run.block,
                count: run.count,
            },
            size: grown,
        }
    }
}

fn truncate(
    state: &State,
    id: VolumeId,
    ino: Ino,
    size: u64,
    tail: bool,
) -> Result<Vec<Event>, Refusal> {
    let volume = volume(state, id)?;
    let file = file(volume, ino)?;
    if size > MAX_FILE_SIZE {
        return Err(too_large());
    }
    if size == file.size {
        return Ok(vec![Event::Truncated {
            volume: id,
            ino,
            size,
        }]); // POSIX: the times change all the same
    }
    let mut first = size.div_ceil(BLOCK);
    let last_block = size / BLOCK;
    let ragged = size < file.size && !size.is_multiple_of(BLOCK) && file.map.contains(last_block);
    if tail != ragged {
        return Err(
            Refusal::new(Kind::Stale, "the file changed under the truncation").next("try again"),
        );
    }
    if tail {
        first = last_block;
    }
    let mut events = Vec::new();
    if let Some((last, _)) = file.map.last().filter(|(last, _)| *last >= first) {
        events = range_copy_outs(
            volume,
            &[(
                ino,
                Range {
                    block: first,
                    count: last - first + 1,
                },
            )],
            Cause::Truncate,
        );
    }
    if tail {
        // The block with the new end is rewritten with zeros past it; in bulk form the scope must stand right before its cause.
        let written = Event::Written {
            volume: id,
            ino,
            block: last_block,
            size: None,
        };
        if matches!(events.first(), Some(Event::CopiedOutScope { .. })) {
            let own = range_copy_outs(
                volume,
                &[(
                    ino,
                    Range {
                        block: last_block,
                        count: 1,
                    },
                )],
                Cause::Truncate,
            );
            let mut ordered = own;
            ordered.push(written);
            ordered.append(&mut events);
            events = ordered;
        } else {
            events.push(written);
        }
    }
    events.push(Event::Truncated {
        volume: id,
        ino,
        size,
    });
    Ok(events)
}

fn share(state: &State, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let Command::Share {
        volume: id,
        from,
        from_block,
        to,
        to_block,
        count,
        size,
    } = &request.command
    else {
        return Ok(Vec::new());
    };
    let volume = volume(state, *id)?;
    let (source, target) = (file(volume, *from)?, file(volume, *to)?);
    let ends = from_block
        .checked_add(*count)
        .zip(to_block.checked_add(*count))
        .filter(|(_, t)| *t <= MAX_FILE_BLOCKS);
    let (from_end, to_end) = ends.ok_or_else(too_large)?;
    if *count == 0 || *count > MAX_EVENT_BLOCKS || from_end > source.size.div_ceil(BLOCK) {
        return Err(Refusal::new(
            Kind::Invalid,
            "the range to share is empty, too long or past the end of the file",
        ));
    }
    if from == to && *from_block < to_end && *to_block < from_end {
        return Err(Refusal::new(
            Kind::Invalid,
            "a file's blocks cannot be shared onto themselves",
        ));
    }
    if *size > MAX_FILE_SIZE || to_end > target.size.max(*size).div_ceil(BLOCK) {
        return Err(Refusal::new(
            Kind::Invalid,
            "the file written must reach over the range shared",
        ));
    }
    if !may_spread(
        volume,
        *from,
        Range {
            block: *from_block,
            count: *count,
        },
    ) {
        return Err(Refusal::new(
            Kind::Unsupported,
            "the blocks are shared at too many places already",
        )
        .next("copy the bytes"));
    }
    let mut events = range_copy_outs(
        volume,
        &[(
            *to,
            Range {
                block: *to_block,
                count: *count,
            },
        )],
        Cause::Share,
    );
    events.push(Event::Shared {
        volume: *id,
        from: *from,
        from_block: *from_block,
        to: *to,
        to_block: *to_block,
        count: *count,
        size: (*size > target.size).then_some(*size),
    });
    Ok(events)
}

fn file(volume: &Volume, ino: Ino) -> Result<&FileBody, Refusal> {
    let inode = inode(&volume.live, ino)?;
    inode.file().ok_or_else(|| match inode.is_dir() {
        true => Refusal::new(Kind::IsADirectory, "it is a directory"),
        false => Refusal::new(Kind::Invalid, "it is not a regular file"),
    })
}

fn too_large() -> Refusal {
    Refusal::new(
        Kind::TooLarge,
        "the offset or size is beyond what a file can have",
    )
    .why(format!("a file has at most {MAX_FILE_SIZE} bytes"))
}

fn no_attribute() -> Refusal {
    Refusal::new(Kind::NotFound, "there is no such attribute")
}

//! What happens to volumes, checkpoints and ownership.

use super::files::new_inode;
use super::{push_change, stamp, use_ino, with_volume};
use crate::event::{Cause, Event, NewBody, Placed, Range, Shift, Source};
use crate::ids::{CheckpointId, VolumeId};
use crate::images::Images;
use crate::queue::Queue;
use crate::quota::Quota;
use crate::space::Retention;
use crate::state::{Checkpoint, Fileset, Image, Ledger, Origin, Pending, State, Volume, What};
use crate::views::{Views, without_orphans};
use imbl::OrdMap;
use std::sync::Arc;

pub(super) fn evolve(state: &mut State, placed: &Placed<'_>, views: &Views) {
    match placed.event {
        Event::VolumeCreated {
            volume,
            name,
            root,
            mode,
            uid,
            gid,
        } => {
            use_ino(state, *root);
            let mut live = Fileset {
                root: *root,
                ..Fileset::default()
            };
            live.inodes.insert(
                root.0,
                Arc::new(new_inode(
                    &NewBody::Dir,
                    *root,
                    (*mode, *uid, *gid),
                    stamp(placed),
                )),
            );
            add_volume(state, placed, *volume, name, live, None);
        }
        Event::CloneCreated {
            volume,
            name,
            source,
        } => {
            let Some(root) = views.tree(state, *source) else {
                return;
            };
            add_volume(
                state,
                placed,
                *volume,
                name,
                root.clone(),
                Some(Origin {
                    source: *source,
                    root,
                }),
            );
            let spread = origin_volume(state, views, *source)
                .map(|v| v.spread.clone())
                .unwrap_or_default();
            with_volume(state, *volume, |v| v.spread = spread);
        }
        Event::VolumeRenamed { volume, name } => {
            let name: Arc<str> = name.as_str().into();
            let Some(from) = with_volume(state, *volume, |v| {
                std::mem::replace(&mut v.name, name.clone())
            }) else {
                return;
            };
            state.volume_names.remove(&from);
            state.volume_names.insert(name.clone(), *volume);
            push_change(
                state,
                placed.seq,
                vec![*volume],
                What::VolumeRenamed {
                    volume: *volume,
                    from,
                    to: name,
                },
            );
        }
        Event::VolumeRemoved { volume } => {
            if let Some(removed) = state.volumes.remove(volume) {
                state.volume_names.remove(&removed.name);
                state.removed_volumes.insert(*volume, removed);
                push_change(
                    state,
                    placed.seq,
                    vec![*volume],
                    What::VolumeRemoved { volume: *volume },
                );
            }
        }
        Event::VolumeRestored { volume } => {
            if let Some(mut back) = state.removed_volumes.remove(volume) {
                // Handles that kept unlinked files are gone with the volume.
                let live = without_orphans(&back.live);
                Arc::make_mut(&mut back).live = live;
                state.volume_names.insert(back.name.clone(), *volume);
                state.volumes.insert(*volume, back);
            }
        }
        Event::CloneReset { volume, before } => {
            with_volume(state, *volume, |v| {
                if let Some(origin) = &v.origin {
                    v.live = origin.root.clone();
                    v.generation += 1;
                    v.changed = placed.time;
                    close_scope(v, |_| true);
                }
            });
            push_change(
                state,
                placed.seq,
                vec![*volume],
                What::Reset { before: *before },
            );
        }
        Event::CopiedOut {
            volume,
            checkpoint,
            ranges,
            ..
        } => {
            let blocks = blocks_of(ranges);
            books(state, *volume, *checkpoint, |l, _| {
                add(&mut l.copied_out, blocks)
            });
        }
        Event::ChangeMarked {
            volume,
            checkpoint,
            ranges,
            ..
        } => {
            let blocks = blocks_of(ranges);
            books(state, *volume, *checkpoint, |_, marks| add(marks, blocks));
        }
        Event::CopiedOutScope { volume, cause } => {
            with_volume(state, *volume, |v| {
                let pending = Pending {
                    scope: placed.seq,
                    cause: *cause,
                    before: v.roots(),
                    after: None,
                };
                v.pending.push_back(Arc::new(pending));
            });
        }
        Event::Settled {
            volume,
            shifts,
            last,
            ..
        } => {
            for shift in shifts {
                settle(state, *volume, *shift);
            }
            if *last {
                with_volume(state, *volume, |v| v.pending.pop_front());
            }
        }
        Event::RolledBack { volumes, before } => {
            for (id, source) in volumes {
                let Some(root) = views.tree(state, *source) else {
                    continue;
                };
                with_volume(state, *id, |v| {
                    v.bring_back(placed.seq, *source, &root);
                    v.live = root;
                    v.generation += 1;
                    v.changed = placed.time;
                    close_scope(v, |_| true);
                });
            }
            let members = volumes.iter().map(|(id, _)| *id).collect();
            push_change(
                state,
                placed.seq,
                members,
                What::RolledBack { before: *before },
            );
        }
        Event::FilesRolledBack {
            volume,
            source,
            before,
            paths,
            attributes,
            delete_new,
        } => {
            with_volume(state, *volume, |v| close_scope(v, |_| true));
            let what = What::FilesRolledBack {
                before: *before,
                source: *source,
                paths: paths.clone(),
                attributes: *attributes,
                delete_new: *delete_new,
                created: state.boundary_ino.0..state.next_ino.0,
            };
            push_change(state, placed.seq, vec![*volume], what);
        }
        Event::Undone {
            change,
            redo,
            before,
        } => undone(state, *change, *redo, *before),
        _ => on_checkpoint(state, placed),
    }
}

fn on_checkpoint(state: &mut State, placed: &Placed<'_>) {
    match placed.event {
        Event::CheckpointCreated {
            checkpoint,
            name,
            volumes,
            removable,
            nomount,
            note,
        } => {
            let name: Arc<str> = name.as_str().into();
            for id in volumes {
                with_volume(state, *id, |v| {
                    let image = Image {
                        root: without_orphans(&v.live),
                        born: placed.first,
                        ledger: Ledger::default(),
                        nodata: false,
                        marks: 0,
                    };
                    v.images.insert(*checkpoint, image);
                });
            }
            let made = Checkpoint {
                id: *checkpoint,
                name: name.clone(),
                seq: placed.seq,
                time: placed.time,
                elapsed: state.elapsed,
                actor: placed.actor,
                volumes: volumes.clone(),
                removable: *removable,
                nomount: *nomount,
                held: false,
                note: note.as_str().into(),
            };
            state.checkpoints.insert(*checkpoint, Arc::new(made));
            state.checkpoint_names.insert(name, *checkpoint);
            state.next_checkpoint = CheckpointId(checkpoint.0 + 1);
        }
        Event::CheckpointRemoved { checkpoint } => {
            let Some(removed) = state.checkpoints.remove(checkpoint) else {
                return;
            };
            state.checkpoint_names.remove(&removed.name);
            for id in &removed.volumes {
                with_volume(state, *id, |v| {
                    if let Some(image) = v.images.remove(*checkpoint) {
                        v.removed_images.insert(*checkpoint, image);
                        close_scope(v, |_| true);
                    }
                });
            }
            let what = What::CheckpointRemoved {
                checkpoint: *checkpoint,
            };
            push_change(state, placed.seq, removed.volumes.clone(), what);
            state.removed_checkpoints.insert(*checkpoint, removed);
        }
        Event::CheckpointDropped { checkpoint, .. } => drop_checkpoint(state, *checkpoint),
        Event::QuotaSet { volume, quota } => {
            with_volume(state, *volume, |v| v.quota = *quota);
        }
        Event::CheckpointRestored { checkpoint } => {
            let Some(back) = state.removed_checkpoints.remove(checkpoint) else {
                return;
            };
            for id in &back.volumes {
                with_volume(state, *id, |v| {
                    if let Some(image) = v.removed_images.remove(checkpoint) {
                        v.images.insert(*checkpoint, image);
                        close_scope(v, |_| true);
                    }
                });
            }
            state
                .checkpoint_names
                .insert(back.name.clone(), *checkpoint);
            state.checkpoints.insert(*checkpoint, back);
        }
        Event::CheckpointConverted {
            checkpoint,
            volumes,
        } => {
            for id in volumes {
                with_volume(state, *id, |v| {
                    if v.images.convert(*checkpoint) {
                        close_scope(v, |_| true);
                    }
                });
            }
        }
        Event::CheckpointRenamed { checkpoint, name } => {
            let name: Arc<str> = name.as_str().into();
            let Some(renamed) = state.checkpoints.get_mut(checkpoint) else {
                return;
            };
            let renamed = Arc::make_mut(renamed);
            let from = std::mem::replace(&mut renamed.name, name.clone());
            let volumes = renamed.volumes.clone();
            state.checkpoint_names.remove(&from);
            state.checkpoint_names.insert(name.clone(), *checkpoint);
            push_change(
                state,
                placed.seq,
                volumes,
                What::CheckpointRenamed {
                    checkpoint: *checkpoint,
                    from,
                    to: name,
                },
            );
        }
        Event::CheckpointHeld { checkpoint, held } => flags(state, *checkpoint, |c| c.held = *held),
        Event::CheckpointFlagged {
            checkpoint,
            removable,
            nomount,
        } => flags(state, *checkpoint, |c| {
            c.removable = *removable;
            c.nomount = *nomount;
        }),
        _ => {}
    }
}

/// A checkpoint goes for good.
pub(super) fn drop_checkpoint(state: &mut State, checkpoint: CheckpointId) {
    let Some(gone) = state.checkpoints.remove(&checkpoint) else {
        return;
    };
    state.checkpoint_names.remove(&gone.name);
    for id in &gone.volumes {
        with_volume(state, *id, |v| {
            if v.images.remove(checkpoint).is_some() {
                close_scope(v, |_| true);
            }
        });
    }
}

fn flags(state: &mut State, id: CheckpointId, change: impl FnOnce(&mut Checkpoint)) {
    if let Some(checkpoint) = state.checkpoints.get_mut(&id) {
        change(Arc::make_mut(checkpoint));
    }
}

fn add_volume(
    state: &mut State,
    placed: &Placed<'_>,
    id: VolumeId,
    name: &str,
    live: Fileset,
    origin: Option<Origin>,
) {
    let name: Arc<str> = name.into();
    state.volume_names.insert(name.clone(), id);
    state.next_volume = VolumeId(id.0 + 1);
    let volume = Volume {
        id,
        name,
        created: placed.seq,
        created_time: placed.time,
        origin,
        live,
        images: Images::new(),
        removed_images: OrdMap::new(),
        spread: crate::state::Spread::new(),
        pending: Queue::new(),
        generation: 0,
        changed: placed.time,
        quota: Quota::default(),
        retention: Retention::default(),
        history: placed.seq,
        schedule: None,
        returned: Queue::new(),
    };
    state.volumes.insert(id, Arc::new(volume));
}

fn origin_volume<'a>(
    state: &'a State,
    views: &'a Views,
    source: Source,
) -> Option<&'a Arc<Volume>> {
    match source {
        Source::Live(id) | Source::Checkpoint(id, _) => state.volume(id),
        // The spread only grows, so today's knows every place of then; the volume itself may be gone today.
        Source::Position(id, seq) => state.volume(id).or_else(|| views.0.get(&seq)?.volume(id)),
    }
}

/// Fills in the roots after a bulk cause.
pub(super) fn close_scope(volume: &mut Volume, cause: impl Fn(Cause) -> bool) {
    if volume
        .pending
        .last()
        .is_some_and(|p| p.after.is_none() && cause(p.cause))
    {
        let after = volume.roots();
        if let Some(open) = volume.pending.back_mut() {
            Arc::make_mut(open).after = Some(after);
        }
    }
}

fn blocks_of(ranges: &[Range]) -> u64 {
    ranges
        .iter()
        .map(|r: &Range| r.count)
        .fold(0, u64::wrapping_add)
}

fn add(n: &mut u64, blocks: u64) {
    *n = n.wrapping_add(blocks);
}

fn books(
    state: &mut State,
    volume: VolumeId,
    checkpoint: CheckpointId,
    change: impl FnOnce(&mut Ledger, &mut u64),
) {
    with_volume(state, volume, |v| {
        if let Some((ledger, marks)) = v.images.books(checkpoint) {
            change(ledger, marks);
        } else if let Some(image) = v.removed_images.get_mut(&checkpoint) {
            change(&mut image.ledger, &mut image.marks);
        }
    });
}

fn settle(state: &mut State, volume: VolumeId, shift: Shift) {
    match shift {
        Shift::CopiedOut { to, blocks } => {
            books(state, volume, to, |l, _| add(&mut l.copied_out, blocks));
        }
        Shift::HandedDown { from, to, blocks } => {
            books(state, volume, from, |l, _| add(&mut l.handed_down, blocks));
            books(state, volume, to, |l, _| add(&mut l.handed_in, blocks));
        }
        Shift::HandedIn { to, blocks } => {
            books(state, volume, to, |l, _| add(&mut l.handed_in, blocks));
        }
        Shift::Released { from, blocks } => {
            books(state, volume, from, |l, _| add(&mut l.released, blocks));
        }
        Shift::Marked { to, blocks } => books(state, volume, to, |_, marks| add(marks, blocks)),
        Shift::Unmarked { from, blocks } => {
            books(state, volume, from, |_, marks| {
                *marks = marks.wrapping_sub(blocks)
            });
        }
    }
}

/// The events before, in the same command, did the work and pushed their own changes: those go, the one undone is marked.
fn undone(state: &mut State, seq: u64, redo: bool, before: Option<CheckpointId>) {
    let boundary = state.boundary;
    let made = state.boundary_ino.0..state.next_ino.0;
    state.changes.retain(|c| c.seq <= boundary);
    let Some(change) = state.changes.iter_mut().find(|c| c.seq == seq) else {
        return;
    };
    let change = Arc::make_mut(change);
    change.undone = if redo { None } else { Some(before) };
    let (true, Some(now)) = (redo, before) else {
        return;
    };
    match &mut change.what {
        What::RolledBack { before } | What::Reset { before } => *before = now,
        What::FilesRolledBack {
            before, created, ..
        } => {
            *before = now;
            *created = made;
        }
        _ => {}
    }
}

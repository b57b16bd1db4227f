//! An image that holds blocks known to be bad is no target: going back to it would put them where sound ones are. What is known
//! is an input, like free space; the last verification that read the data left it. For each bad version one look-up in each image
//! concerned, whatever their sizes.

use crate::command::Request;
use crate::event::{Event, Source};
use crate::ids::{Ino, VolumeId};
use crate::last_verify::BadVersion;
use crate::refusal::{Kind, Refusal};
use crate::state::{Fileset, Place, Spread, State, Volume};
use crate::views::Views;

/// Refuses events that take a volume or a file to a bad version which its live tree does not show anyway.
pub(super) fn refuse_bad(
    state: &State,
    request: &Request<'_>,
    views: &Views,
    events: &[Event],
) -> Result<(), Refusal> {
    if request.bad.is_empty() {
        return Ok(());
    }
    for event in events {
        match event {
            Event::RolledBack { volumes, .. } => {
                for (id, source) in volumes {
                    Target::of(state, views, *id, *source).check(request.bad, None)?;
                }
            }
            Event::FileRestored {
                volume,
                source,
                from,
                ..
            } => Target::of(state, views, *volume, *source).check(request.bad, Some(*from))?,
            Event::CloneCreated { source, .. } => {
                Target::of(state, views, source.volume(), *source).check(request.bad, None)?;
            }
            Event::CloneReset { volume, .. } => {
                let target = state.volume(*volume).and_then(|v| {
                    let origin = v.origin.as_ref()?;
                    let name = image_name(state, origin.source);
                    Some((Some(origin.root.clone()), name))
                });
                let volume = state.volume(*volume).map(AsRef::as_ref);
                let (tree, name) = target.unwrap_or_default();
                Target { volume, tree, name }.check(request.bad, None)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// An image that a volume is to show.
struct Target<'a> {
    volume: Option<&'a Volume>,
    tree: Option<Fileset>,
    name: String,
}

impl<'a> Target<'a> {
    fn of(state: &'a State, views: &Views, volume: VolumeId, source: Source) -> Self {
        let tree = match source {
            Source::Live(_) => None, // it shows what it shows
            Source::Checkpoint(..) | Source::Position(..) => views.tree(state, source),
        };
        Target {
            volume: state.volume(volume).map(AsRef::as_ref),
            tree,
            name: image_name(state, source),
        }
    }

    /// `only`: of that file of the image alone.
    fn check(&self, bad: &[BadVersion], only: Option<Ino>) -> Result<(), Refusal> {
        let (Some(volume), Some(tree)) = (self.volume, &self.tree) else {
            return Ok(());
        };
        for version in bad {
            let Some(place) = place_in(tree, &volume.spread, version, only) else {
                continue;
            };
            if place_in(&volume.live, &volume.spread, version, None).is_some() {
                continue;
            }
            let path = tree.path_of(place.ino).map_or_else(
                || format!("inode {}", place.ino),
                |path| format!("/{}", printable(&path)),
            );
            return Err(
                Refusal::new(Kind::Damaged, format!("cannot use {}", self.name))
                    .why(format!(
                        "block {} of {path} is damaged: segment {} offset {}, as the last strand verify --data found",
                        place.block, version.segment, version.offset
                    ))
                    .next("choose another checkpoint, or other files; strand verify --data looks again"),
            );
        }
        Ok(())
    }
}

/// Where a tree shows a version, if it does: at the place it was written to, or at one that it was shared to.
fn place_in(
    tree: &Fileset,
    spread: &Spread,
    version: &BadVersion,
    only: Option<Ino>,
) -> Option<Place> {
    let first = Place {
        ino: version.ino,
        block: version.block,
    };
    let others = spread.get(version.addr).map_or(&[][..], |places| places);
    std::iter::once(&first)
        .chain(others)
        .copied()
        .find(|place| {
            only.is_none_or(|ino| ino == place.ino)
                && tree
                    .version(*place)
                    .is_some_and(|found| found.addr() == version.addr())
        })
}

/// A path for a message: no name can play with a terminal.
fn printable(path: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(path).chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

fn image_name(state: &State, source: Source) -> String {
    match source {
        Source::Live(volume) => match state.volume(volume) {
            Some(volume) => volume.name.to_string(),
            None => format!("volume number {volume}"),
        },
        Source::Checkpoint(_, id) => match state.checkpoints.get(&id) {
            Some(found) => format!("checkpoint {}", found.name),
            None => format!("checkpoint number {id}"),
        },
        Source::Position(_, seq) => format!("seq:{seq}"),
    }
}

//! The store at earlier positions.

use super::{Store, open::base_for};
use crate::command::Command;
use crate::decide::in_reach;
use crate::error::Error;
use crate::event::Source;
use crate::fold::{decode, fold_from};
use crate::ids::{EventTime, Seq};
use crate::refusal::{Kind, Refusal};
use crate::state::{Fileset, State, What};
use crate::statefile;
use crate::views::{Views, without_orphans};
use strand_journal::Start;

/// A state file is loaded, rather than events folded behind a state in memory, where these are more.
const MUCH_NEARER: u64 = 1 << 16;

impl Store {
    /// The tree that a source names: live, a checkpoint's image, or as it was at a commit boundary. Of a nodata image it can be walked, and
    /// compared with others; its files cannot be read ([`Fileset::nodata`]).
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::NotAllowed`] (a nomount checkpoint), [`Kind::OutOfRange`].
    pub fn view(&self, source: Source) -> Result<Fileset, Error> {
        self.journal.health()?;
        let missing = || {
            Refusal::new(
                Kind::NotFound,
                "the volume, or the checkpoint's image of it, is not there",
            )
        };
        match source {
            Source::Live(volume) => Ok(without_orphans(
                &self.state().volume(volume).ok_or_else(missing)?.live,
            )),
            Source::Checkpoint(volume, checkpoint) => {
                let state = self.state();
                if let Some(found) = state.checkpoints.get(&checkpoint).filter(|c| c.nomount) {
                    return Err(Refusal::new(
                        Kind::NotAllowed,
                        format!("cannot read checkpoint {}", found.name),
                    )
                    .why("it is flagged nomount")
                    .next(format!("strand checkpoint clear {} nomount", found.name))
                    .into());
                }
                let image = state.image(volume, checkpoint).ok_or_else(missing)?;
                Ok(Fileset {
                    nodata: image.nodata,
                    ..image.root.clone()
                })
            }
            Source::Position(volume, seq) => {
                in_reach(&self.state(), volume, seq)?;
                let state = self.state_at(seq)?;
                let then = state.volume(volume).ok_or_else(|| {
                    Refusal::new(
                        Kind::NotFound,
                        format!("the volume was not there at seq {seq}"),
                    )
                    .next("strand log --kind volume-created")
                })?;
                Ok(without_orphans(&then.live))
            }
        }
    }

    /// As [`Store::view`], for those who want its files: of a nodata image it is refused.
    ///
    /// # Errors
    /// As [`Store::view`]; [`Kind::NotAllowed`] for a nodata image.
    pub fn view_with_data(&self, source: Source) -> Result<Fileset, Error> {
        let tree = self.view(source)?;
        if tree.nodata {
            return Err(Refusal::new(Kind::NotAllowed, "cannot use that checkpoint")
                .why("it is nodata: it remembers what changed, and keeps none of it")
                .next("strand checkpoint list shows which have data")
                .into());
        }
        Ok(tree)
    }

    /// The state just after a commit boundary: folded from the nearest state at or before it that this process keeps, from a state file, or from the start.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`] for a position that is not reached yet, [`Error::Damage`].
    pub fn state_at(&self, boundary: Seq) -> Result<State, Error> {
        let now = self.state();
        if boundary == now.boundary {
            return Ok(now);
        }
        let first = self.first_reached();
        // The base state is the one just before the first event.
        if boundary > now.boundary || boundary == 0 || boundary + 1 < first {
            return Err(out_of_range(format!("seq {boundary}"), first, now.boundary).into());
        }
        drop(now);
        if self.journal.flushed() < boundary {
            self.sync()?;
        }
        let reader = self.journal.reader();
        let mut from_file = |first: Seq| base_for(&*self.disk, &self.journal, first);
        let mut nearest = |first: Seq| match self.kept_base(first) {
            Some(kept) => Ok(kept),
            None => from_file(first),
        };
        let until = Some(boundary);
        match fold_from(&reader, &mut nearest, until, &mut |_, _| {}) {
            Ok(state) => Ok(state),
            // What cannot be read may lie before a state file that is nearer.
            Err(_) => fold_from(&reader, &mut from_file, until, &mut |_, _| {}),
        }
    }

    /// The newest state kept at or before a position, and a place shortly before it, where no state file is much nearer. What is folded from it shares its
    /// tree with the present.
    fn kept_base(&self, first: Seq) -> Option<(State, Start)> {
        let kept = self.newest_kept(first)?;
        let files = statefile::list(&*self.disk).unwrap_or_default();
        let nearest = files
            .iter()
            .map(|(seq, _)| *seq)
            .filter(|seq| *seq <= first);
        if nearest.max().unwrap_or(0) > kept.state.seq + MUCH_NEARER {
            return None;
        }
        let reader = self.journal.reader();
        let segment = kept.young.0 / u64::from(self.journal.blocks_per_segment());
        let starts = [segment, segment.saturating_sub(1)].into_iter();
        let mut starts = starts.filter_map(|s| Some(reader.frame_at(s, 0).ok()?.behind()));
        let start = starts.find(|start| start.number <= kept.state.seq + 1)?;
        let is_ours = reader.holds(&start).unwrap_or(false);
        is_ours.then_some((kept.state, start))
    }

    /// The commit boundary at or before a number, and its time.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`].
    pub fn boundary_at_or_before(&self, seq: Seq) -> Result<(Seq, EventTime), Error> {
        let (first, now) = (self.first_reached(), self.state().boundary);
        if seq < first || seq > now {
            return Err(out_of_range(format!("seq {seq}"), first, now).into());
        }
        self.boundary(|number, _| number <= seq)?
            .ok_or_else(|| out_of_range(format!("seq {seq}"), first, now).into())
    }

    /// The first event that the store still has.
    pub(super) fn first_reached(&self) -> Seq {
        self.journal.reader().origin().number
    }

    /// The last commit boundary at or before a time, and its time.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`] for a time before the store, or in the future.
    pub fn boundary_at_time(&self, time: EventTime) -> Result<(Seq, EventTime), Error> {
        let now = self.state().boundary;
        if time > self.clock.wall().max(self.state().time) {
            return Err(Refusal::new(Kind::OutOfRange, "that time is in the future")
                .why(reach(self.first_reached(), now))
                .into());
        }
        self.boundary(|_, at| at <= time)?.ok_or_else(|| {
            let first = self.first_reached();
            let what = match first {
                0 | 1 => "the store did not exist at that time",
                _ => "the events of that time are not in the store",
            };
            Refusal::new(Kind::OutOfRange, what)
                .why(reach(first, now))
                .into()
        })
    }

    /// The last boundary that `reached` accepts; numbers and times fall together.
    fn boundary(
        &self,
        reached: impl Fn(Seq, EventTime) -> bool,
    ) -> Result<Option<(Seq, EventTime)>, Error> {
        if self.options.access == strand_journal::Access::ReadWrite {
            self.sync()?;
        }
        for frame in self.journal.reader().frames_back() {
            let frame = frame?;
            if frame.count == 0 || !reached(frame.first, frame.time) {
                continue;
            }
            let mut found = None;
            for entry in frame.entries() {
                let entry =
                    entry.map_err(|e| crate::damage::Damage::new(e.to_string()).at(frame.first))?;
                if !reached(entry.number, entry.time) {
                    break;
                }
                if decode(&entry)?.last {
                    found = Some((entry.number, entry.time));
                }
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The states that a command goes back to.
    pub(super) fn views_for(&self, command: &Command) -> Result<Views, Error> {
        let mut views = Views::none();
        let state = self.state();
        if let Some(Source::Position(volume, seq)) = goes_back_to(&state, command) {
            in_reach(&state, volume, seq)?;
            let (boundary, _) = self.boundary_at_or_before(seq)?;
            if boundary != seq {
                return Err(Refusal::new(
                    Kind::Invalid,
                    format!("seq {seq} is not a commit boundary"),
                )
                .next(format!("the one before it is seq:{boundary}"))
                .into());
            }
            views.0.insert(seq, self.state_at(seq)?);
        }
        Ok(views)
    }
}

/// What a command goes back to, if to anything.
fn goes_back_to(state: &State, command: &Command) -> Option<Source> {
    match command {
        Command::Rollback { source, .. }
        | Command::RollbackFiles { source, .. }
        | Command::CloneCreate { source, .. } => Some(*source),
        Command::Redo { volume } => {
            let mut changes = state.changes.iter();
            let change = changes
                .find(|c| c.undone.is_some() && volume.is_none_or(|v| c.volumes.contains(&v)))?;
            match &change.what {
                What::FilesRolledBack { source, .. } => Some(*source),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What can be reached, in words.
pub(super) fn reach(first: Seq, now: Seq) -> String {
    let mut text = format!("seq {first} to {now} can be reached");
    if first > 1 {
        text += "; older events have moved away";
    }
    text
}

fn out_of_range(what: String, first: Seq, now: Seq) -> Refusal {
    Refusal::new(Kind::OutOfRange, format!("{what} is out of reach"))
        .why(reach(first, now))
        .next("strand log shows what happened when")
}

//! What the state takes: bytes a mapped block, a small file, a change a checkpoint keeps. Real commands through decide, admit and
//! evolve, without a journal; counted by [`crate::heap`], allocator's rounding included.

use crate::Failure;
use crate::figure::{Figure, Goal, Unit};
use crate::heap::held;
use crate::setting::Setting;
use crate::stores::{checkpoint, create, write};
use crate::timing::{Dice, shuffled};
use imbl::OrdSet;
use strand_engine::{
    Actor, ActorId, Bytes, Command, Event, InUse, Ino, NewBody, Placed, Request, State, Views,
    VolumeId, admit, decide, evolve,
};
use strand_journal::{BlockAddr, Crcs, MAX_RECORD_PAYLOAD};

/// Entries of a directory.
const DIRECTORY: u64 = 1000;

/// A state that grows by commands.
struct Grown {
    state: State,
    actor: Actor,
    open: OrdSet<(VolumeId, Ino)>,
    volume: VolumeId,
    root: Ino,
    /// Where the next block is born.
    birth: u64,
    crcs: Vec<u8>,
}

impl Grown {
    fn new() -> Result<Self, Failure> {
        let mut grown = Self {
            state: State::empty(),
            actor: Actor::program(),
            open: OrdSet::new(),
            volume: VolumeId(1),
            root: Ino(1),
            birth: 1 << 14,
            crcs: Vec::new(),
        };
        grown.run(Command::CreateStore {
            program: "bench".into(),
        })?;
        let made = grown.run(Command::VolumeCreate {
            name: "bench".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        })?;
        for event in made {
            if let Event::VolumeCreated { volume, root, .. } = event {
                (grown.volume, grown.root) = (volume, root);
            }
        }
        Ok(grown)
    }

    /// Decides, places, admits and folds a command; its blocks are born behind those before.
    fn run(&mut self, command: Command) -> Result<Vec<Event>, Failure> {
        let blocks = match &command {
            Command::Write { runs, .. } => runs.iter().map(|run| run.count).sum(),
            _ => 0,
        };
        let request = Request {
            actor: &self.actor,
            free_blocks: u64::MAX,
            reserve_blocks: 0,
            open: &self.open,
            owner: None,
            bad: &[],
            in_use: &InUse::nothing(),
            command,
        };
        let events =
            decide(&self.state, &request, &Views::none()).map_err(|refusal| refusal.to_string())?;
        for (i, event) in events.iter().enumerate() {
            self.crcs.clear();
            if matches!(event, Event::Written { .. }) {
                self.crcs.extend(
                    (self.birth..self.birth + blocks)
                        .flat_map(|birth| (birth as u32).to_le_bytes()),
                );
            }
            let placed = Placed {
                seq: self.state.seq + 1,
                time: self.state.time + 1000,
                actor: self
                    .state
                    .actor_ids
                    .get(&self.actor)
                    .copied()
                    .unwrap_or(ActorId(1)),
                last: i + 1 == events.len(),
                event,
                first: BlockAddr(self.birth),
                crcs: Crcs::from_le_bytes(&self.crcs),
            };
            admit(&self.state, &placed, &Views::none()).map_err(|damage| damage.to_string())?;
            evolve(&mut self.state, &placed, &Views::none());
            self.birth += 1 + (self.crcs.len() / 4) as u64;
        }
        Ok(events)
    }

    fn create(&mut self, dir: Ino, name: &str, body: NewBody) -> Result<Ino, Failure> {
        let name: Bytes = name.as_bytes().into();
        let found = self
            .run(create(self.volume, dir, name, body))?
            .into_iter()
            .find_map(|event| match event {
                Event::Created { ino, .. } => Some(ino),
                _ => None,
            });
        found.ok_or_else(|| "a creation without its event".into())
    }

    fn write(&mut self, ino: Ino, block: u64) -> Result<(), Failure> {
        self.run(write(self.volume, ino, block, 1)).map(drop)
    }

    /// Maps the first blocks of a file, in order. Their number is a multiple of 256.
    fn fill(&mut self, ino: Ino, blocks: u64) -> Result<(), Failure> {
        let step = u64::from(MAX_RECORD_PAYLOAD);
        (0..blocks / step)
            .try_for_each(|n| self.run(write(self.volume, ino, n * step, step)).map(drop))
    }
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let million = setting.pick(1 << 20, 1 << 17);
    let dense = dense(4 * million)?;
    let sparse = sparse(16 * million)?;
    let files = small_files(setting.pick(200_000, 20_000))?;
    let changes = setting.pick(10_000, 1_000);
    let in_4_gib = changed(million, changes)?;
    let in_64_gib = changed(16 * million, changes)?;
    let figure = |name: &str, bound: f64, bytes: f64| {
        Figure::new(name, Goal::AtMost(bound), Unit::Bytes, &[bytes])
    };
    let gib = |blocks: u64| blocks as f64 / f64::from(1 << 18);
    Ok(vec![
        figure("memory a mapped block, dense, random order", 16.0, dense)
            .beside(format!("{} blocks", 4 * million)),
        figure("memory a mapped block, 1 in 16 mapped", 48.0, sparse)
            .beside(format!("{million} of {} blocks", 16 * million)),
        figure("memory a one-block file", 400.0, files)
            .beside(format!("directories of {DIRECTORY}")),
        figure("memory a changed block a checkpoint", 512.0, in_4_gib).beside(format!(
            "100 x {changes} random changes in {} GiB",
            gib(million)
        )),
        figure(
            "memory a changed block a checkpoint, large file",
            512.0,
            in_64_gib,
        )
        .beside(format!(
            "100 x {changes} random changes in {} GiB",
            gib(16 * million)
        )),
    ])
}

/// What `grow` left behind, for each of `count`, in bytes.
fn each(
    count: u64,
    grown: &mut Grown,
    grow: impl FnOnce(&mut Grown) -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let before = held();
    grow(grown)?;
    Ok((held() - before) as f64 / count as f64)
}

fn dense(blocks: u64) -> Result<f64, Failure> {
    let mut grown = Grown::new()?;
    let ino = grown.create(grown.root, "data", NewBody::File)?;
    let order = shuffled(blocks);
    each(blocks, &mut grown, |grown| {
        order
            .iter()
            .try_for_each(|block| grown.write(ino, u64::from(*block)))
    })
}

fn sparse(blocks: u64) -> Result<f64, Failure> {
    let mut grown = Grown::new()?;
    let ino = grown.create(grown.root, "data", NewBody::File)?;
    let mut order = shuffled(blocks);
    order.truncate(usize::try_from(blocks / 16)?);
    each(blocks / 16, &mut grown, |grown| {
        order
            .iter()
            .try_for_each(|block| grown.write(ino, u64::from(*block)))
    })
}

fn small_files(files: u64) -> Result<f64, Failure> {
    let mut grown = Grown::new()?;
    each(files, &mut grown, |grown| {
        let mut dir = grown.root;
        for file in 0..files {
            if file % DIRECTORY == 0 {
                dir = grown.create(
                    grown.root,
                    &format!("dir-{}", file / DIRECTORY),
                    NewBody::Dir,
                )?;
            }
            let ino = grown.create(dir, &format!("file-{file}"), NewBody::File)?;
            grown.write(ino, 0)?;
        }
        Ok(())
    })
}

/// 100 checkpoints of a file that is wholly mapped, each followed by so many random changes.
fn changed(blocks: u64, changes: u64) -> Result<f64, Failure> {
    let mut grown = Grown::new()?;
    let ino = grown.create(grown.root, "data", NewBody::File)?;
    grown.fill(ino, blocks)?;
    let mut dice = Dice(5);
    each(100 * changes, &mut grown, |grown| {
        for _ in 0..100 {
            grown.run(checkpoint(grown.volume))?;
            for _ in 0..changes {
                grown.write(ino, dice.below(blocks))?;
            }
        }
        Ok(())
    })
}

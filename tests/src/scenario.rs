//! A scenario: a random history once resolved to steps, that can be run again and again on disks that fail, with the state of every
//! commit boundary remembered by its digest.

use crate::history::{Profile, Step, choose, dice};
use crate::lockstep::{
    BEGIN, Depth, EngineSide, Lockstep, Pairs, SEGMENT_SIZE, actor, fresh_digest, open_options,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use strand_engine::fold::fold_from;
use strand_engine::{Error, Fileset, InitOptions, ManualClock, Seq, State, Store, StoreId};
use strand_journal::disk::{Disk, FaultyDisk};

/// Events between two state files of a scenario.
const STATE_EVERY: u64 = 30;

/// A scenario.
pub struct Scenario {
    steps: Vec<Step>,
    inos: Pairs,
    capacity: Option<u64>,
    /// The digest at every commit boundary of the undisturbed run.
    pub boundaries: BTreeMap<Seq, u128>,
    /// The disk calls of the undisturbed run.
    pub calls: u64,
}

/// How far a run came.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Everything up to here was acknowledged.
    pub acknowledged: Seq,
    /// Whether the store was made, by its own account.
    pub made: bool,
    /// The kind of the first failure that was no refusal of the undisturbed run.
    pub failed: Option<&'static str>,
    /// The digest after each step that was done.
    pub digests: BTreeMap<Seq, u128>,
}

impl Scenario {
    /// A random scenario of a seed.
    ///
    /// # Panics
    /// Where the undisturbed run fails: the model test says why.
    #[must_use]
    pub fn random(seed: u64, length: usize) -> Self {
        Self::random_of(Profile::Plain, seed, length)
    }

    /// A random scenario of a seed, of one sort of steps.
    ///
    /// # Panics
    /// As [`Scenario::random`].
    #[must_use]
    pub fn random_of(profile: Profile, seed: u64, length: usize) -> Self {
        let disk = FaultyDisk::new(seed);
        let mut lockstep = Lockstep::new(Arc::new(disk), 0).expect("a healthy disk");
        let mut steps = Vec::new();
        for (turn, die) in dice(seed, length).into_iter().enumerate() {
            let step = if turn % 4 == 3 {
                Step::Sync
            } else {
                choose(die, &lockstep.reference, profile)
            };
            if of_the_process(&step) || goes_back_to_a_position(&step) {
                continue;
            }
            let refused = lockstep
                .step(&step)
                .unwrap_or_else(|e| panic!("scenario {seed}: {step:?}: {e}"));
            lockstep
                .compare(Depth::Sampled(u64::MAX))
                .unwrap_or_else(|e| panic!("scenario {seed}: after {step:?}: {e}"));
            if profile == Profile::Space && matches!(step, Step::Sync) {
                lockstep.remember(); // windows begin there
            }
            if refused.is_none() {
                steps.push(step);
            }
        }
        Self::of(steps, lockstep.inos().clone(), None)
    }

    /// A scenario of given steps, on a store of at most so many bytes.
    ///
    /// # Panics
    /// Where the undisturbed run fails.
    #[must_use]
    pub fn of(steps: Vec<Step>, inos: Pairs, capacity: Option<u64>) -> Self {
        let mut scenario = Self {
            steps,
            inos,
            capacity,
            boundaries: BTreeMap::new(),
            calls: 0,
        };
        let disk = FaultyDisk::new(0);
        let (outcome, store) = scenario.run(&disk);
        assert_eq!(outcome.failed, None, "an undisturbed run");
        let store = store.expect("an undisturbed run");
        store.sync().expect("a healthy disk");
        scenario.calls = disk.calls();
        scenario.boundaries = boundaries(&store).expect("a healthy journal");
        drop(store);
        scenario.remember_what_moves_away();
        scenario
    }

    /// The boundaries of events that some step takes out of the store: they are seen before it only.
    fn remember_what_moves_away(&mut self) {
        let leaves = |step: &Step| matches!(step, Step::MoveArchives(_) | Step::TrimArchives);
        let steps = self.steps.clone();
        for until in (0..steps.len()).filter(|at| leaves(&steps[*at])) {
            self.steps.truncate(until);
            let (_, store) = self.run(&FaultyDisk::new(0));
            self.steps.clone_from(&steps);
            let store = store.expect("an undisturbed run");
            store.sync().expect("a healthy disk");
            let before = boundaries(&store).expect("a healthy journal");
            self.boundaries.extend(before);
        }
    }

    /// The disk of a store that went through all steps and was closed.
    ///
    /// # Panics
    /// Never on a healthy disk.
    #[must_use]
    pub fn closed_disk(&self) -> FaultyDisk {
        let disk = FaultyDisk::new(0);
        let (_, store) = self.run(&disk);
        store
            .expect("a healthy disk")
            .close()
            .expect("a healthy disk");
        disk
    }

    /// Runs it on a disk that may fail, to its end or its first failure. The store is given back as it is then.
    pub fn run(&self, disk: &FaultyDisk) -> (Outcome, Option<Store>) {
        self.run_to_failure(Arc::new(disk.clone()))
    }

    /// As [`Scenario::run`], on any disk.
    pub fn run_to_failure(&self, disk: Arc<dyn Disk>) -> (Outcome, Option<Store>) {
        let mut outcome = Outcome::default();
        let clock = Arc::new(ManualClock::new(BEGIN));
        let store = match self.make(disk, clock.clone()) {
            Ok(store) => store,
            Err(error) => {
                outcome.failed = Some(error.kind().name());
                return (outcome, None);
            }
        };
        outcome.made = true;
        outcome.acknowledged = 1;
        let actor = actor("model");
        for step in &self.steps {
            match (EngineSide {
                store: &store,
                actor: &actor,
                inos: &self.inos,
                clock: &clock,
            })
            .run(step)
            {
                Ok(ran) => {
                    outcome.acknowledged = outcome.acknowledged.max(ran.acknowledged.unwrap_or(0))
                }
                Err(error) => {
                    outcome.failed = Some(error.kind().name());
                    return (outcome, Some(store));
                }
            }
        }
        (outcome, Some(store))
    }

    /// Runs all its steps, whatever fails, with the digest after each remembered.
    pub fn run_on(
        &self,
        disk: &FaultyDisk,
        mut on: impl FnMut(&Store, &Step, &Result<(), Error>),
    ) -> (Outcome, Option<Store>) {
        let mut outcome = Outcome::default();
        let clock = Arc::new(ManualClock::new(BEGIN));
        let store = match self.make(Arc::new(disk.clone()), clock.clone()) {
            Ok(store) => store,
            Err(error) => {
                outcome.failed = Some(error.kind().name());
                return (outcome, None);
            }
        };
        outcome.made = true;
        outcome.acknowledged = 1;
        let actor = actor("model");
        for step in &self.steps {
            let ran = EngineSide {
                store: &store,
                actor: &actor,
                inos: &self.inos,
                clock: &clock,
            }
            .run(step);
            if let Ok(ran) = &ran {
                outcome.acknowledged = outcome.acknowledged.max(ran.acknowledged.unwrap_or(0));
            }
            let state = store.state();
            outcome.digests.insert(state.boundary, fresh_digest(&state));
            let ran = ran.map(|_| ());
            if let Err(error) = &ran {
                outcome.failed.get_or_insert(error.kind().name());
            }
            on(&store, step, &ran);
        }
        (outcome, Some(store))
    }

    fn make(&self, disk: Arc<dyn Disk>, clock: Arc<ManualClock>) -> Result<Store, Error> {
        let options = InitOptions {
            segment_size: SEGMENT_SIZE,
            capacity: self.capacity,
            store: StoreId([7; 16]),
        };
        drop(Store::init(
            disk.clone(),
            clock.clone(),
            options,
            &actor("model"),
        )?);
        Store::open(disk, clock, open_options(STATE_EVERY, false))
    }
}

/// What ends with the process, or is its end.
fn of_the_process(step: &Step) -> bool {
    matches!(
        step,
        Step::OpenHandle { .. }
            | Step::CloseHandle { .. }
            | Step::Reopen { .. }
            | Step::Lease(_)
            | Step::LeaseFor(..)
            | Step::EndLease(_)
    )
}

/// Numbers in a journal are the same in every run of a scenario only up to the first disturbance, so steps that name one are left out.
fn goes_back_to_a_position(step: &Step) -> bool {
    format!("{step:?}").contains("Position(")
}

/// Opens a store as a later process would.
///
/// # Errors
/// What the engine says.
pub fn reopen(disk: &FaultyDisk, ignore_state_files: bool) -> Result<Store, Error> {
    let clock = Arc::new(ManualClock::new(BEGIN + 60_000_000_000));
    Store::open(
        Arc::new(disk.clone()),
        clock,
        open_options(0, ignore_state_files),
    )
}

/// The digest at every commit boundary of the events that a store still has.
///
/// # Errors
/// What the fold says.
pub fn boundaries(store: &Store) -> Result<BTreeMap<Seq, u128>, Error> {
    let mut found = BTreeMap::new();
    let mut remember = |state: &State| {
        if state.seq == state.boundary {
            found.insert(state.seq, fresh_digest(state));
        }
    };
    let reader = store.journal().reader();
    let begin = &mut |_| store.beginning();
    let last = fold_from(&reader, begin, None, &mut |state, _| remember(state))?;
    remember(&last);
    Ok(found)
}

/// The bytes of every version that was read, by its address: a version is the same bytes for ever, wherever it is mapped.
pub type Versions = BTreeMap<u64, Vec<u8>>;

/// Reads every byte that any tree of the store maps; each is checked against its crc32 on the way, and against `known`, which learns what
/// it did not know.
///
/// # Errors
/// The first block that is not what was written, with the place.
///
/// # Panics
/// Where a read gives other bytes than were known.
pub fn read_versions(store: &Store, known: &mut Versions) -> Result<(), String> {
    let state = store.state();
    for (id, volume) in &state.volumes {
        read_tree(store, &volume.live, known).map_err(|e| format!("volume {id}: {e}"))?;
        for (checkpoint, image) in volume.images.iter().filter(|(_, i)| !i.nodata) {
            read_tree(store, &image.root, known)
                .map_err(|e| format!("volume {id}, checkpoint {checkpoint}: {e}"))?;
        }
    }
    Ok(())
}

/// Reads everything, as [`read_versions`].
///
/// # Errors
/// As [`read_versions`].
pub fn read_everything(store: &Store) -> Result<(), String> {
    read_versions(store, &mut Versions::new())
}

fn read_tree(store: &Store, tree: &Fileset, known: &mut Versions) -> Result<(), String> {
    let mut buffer = vec![0; 4096];
    for (ino, inode) in tree.inodes.iter() {
        let Some(file) = inode.file() else { continue };
        for (block, version) in file.map.iter() {
            let ino = strand_engine::Ino(ino);
            buffer.fill(0);
            let got = store
                .read(tree, ino, block * 4096, &mut buffer)
                .map_err(|e| format!("inode {ino}, block {block}: {e}"))?;
            let before = known
                .entry(version.addr().0)
                .or_insert_with(|| buffer[..got].to_vec());
            // Where it is the last of a file, less of it may be read.
            let both = got.min(before.len());
            assert!(
                before[..both] == buffer[..both],
                "inode {ino}, block {block}: a read gave other bytes than were written"
            );
        }
    }
    Ok(())
}

//! Stores to measure on.

use crate::Failure;
use crate::timing::{cpu, wall};
use std::sync::Arc;
use strand_engine::{
    Actor, Bytes, CheckpointId, Clock, Command, Done, Event, InitOptions, Ino, NewBody,
    OpenOptions, Source, Store, StoreId, SystemClock, VolumeId, WriteRun,
};
use strand_journal::{BLOCK_SIZE, Block, DEFAULT_SEGMENT_SIZE, Disk, MAX_RECORD_PAYLOAD};

/// Blocks placed between two commits of [`Bed::fill`]: 16 MiB.
const FILL_COMMIT: u64 = 4096;

/// A store with one volume.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) volume: VolumeId,
    pub(crate) root: Ino,
    pub(crate) actor: Actor,
    /// A block of content; cloning it costs nothing.
    pub(crate) block: Block,
}

/// Opens a store for writing; state files are written on demand only.
pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Store, Failure> {
    let options = OpenOptions {
        state_every: 0,
        ..OpenOptions::read_write()
    };
    Ok(Store::open(disk, clock(), options)?)
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

impl Bed {
    /// Makes a store.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Result<Self, Failure> {
        Self::sized(disk, DEFAULT_SEGMENT_SIZE, None)
    }

    /// Makes a store of this segment size and capacity.
    pub(crate) fn sized(
        disk: Arc<dyn Disk>,
        segment_size: u64,
        capacity: Option<u64>,
    ) -> Result<Self, Failure> {
        let actor = Actor {
            name: "bench".into(),
            pid: 1,
            ..Actor::program()
        };
        let options = InitOptions {
            segment_size,
            capacity,
            store: StoreId([7; 16]),
        };
        Store::init(disk.clone(), clock(), options, &actor)?.close()?;
        let mut bed = Self {
            store: open(disk)?,
            volume: VolumeId(0),
            root: Ino(0),
            actor,
            block: Block::from_slice(&[0xa5; BLOCK_SIZE]),
        };
        let command = Command::VolumeCreate {
            name: "bench".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        for event in bed.run(command)?.events {
            if let Event::VolumeCreated { volume, root, .. } = event {
                (bed.volume, bed.root) = (volume, root);
            }
        }
        Ok(bed)
    }

    /// Closes the store and opens it again on the same disk; gives the time that opening took and the
    /// processor's, in seconds.
    pub(crate) fn reopen(self, clean: bool) -> Result<(Self, f64, f64), Failure> {
        let disk = self.store.disk().clone();
        if clean {
            self.store.close()?;
        } else {
            drop(self.store);
        }
        let (time, (busy, store)) = wall(|| cpu(|| open(disk)));
        Ok((
            Self {
                store: store?,
                ..self
            },
            time,
            busy,
        ))
    }

    pub(crate) fn run(&self, command: Command) -> Result<Done, Failure> {
        Ok(self.store.run(&self.actor, command)?)
    }

    pub(crate) fn submit(&self, command: Command) -> Result<Done, Failure> {
        Ok(self.store.submit(&self.actor, command)?)
    }

    /// A new inode; not committed.
    pub(crate) fn create(&self, dir: Ino, name: &str, body: NewBody) -> Result<Ino, Failure> {
        let name: Bytes = name.as_bytes().into();
        let done = self.submit(create(self.volume, dir, name, body))?;
        let found = done.events.iter().find_map(|event| match event {
            Event::Created { ino, .. } => Some(*ino),
            _ => None,
        });
        found.ok_or_else(|| "a creation without its event".into())
    }

    /// Places one block of a file; not committed.
    pub(crate) fn place(&self, ino: Ino, block: u64) -> Result<Done, Failure> {
        Ok(self.store.submit_with(
            &self.actor,
            write(self.volume, ino, block, 1),
            std::slice::from_ref(&self.block),
        )?)
    }

    /// Writes 4 KiB as a program would, and waits until they are durable.
    pub(crate) fn durable_write(
        &self,
        ino: Ino,
        block: u64,
        bytes: &[u8; BLOCK_SIZE],
    ) -> Result<(), Failure> {
        let done = self.store.write(
            &self.actor,
            self.volume,
            ino,
            block * BLOCK_SIZE as u64,
            bytes,
        )?;
        Ok(self.store.commit(done.ticket)?)
    }

    /// Writes a range of blocks in pieces of 1 MiB, and commits.
    pub(crate) fn fill(&self, ino: Ino, blocks: std::ops::Range<u64>) -> Result<(), Failure> {
        let piece = u64::from(MAX_RECORD_PAYLOAD);
        let payload = vec![self.block.clone(); MAX_RECORD_PAYLOAD as usize];
        let (mut at, mut waiting) = (blocks.start, 0);
        while at < blocks.end {
            let count = piece.min(blocks.end - at);
            let payload = &payload[..usize::try_from(count)?];
            self.store
                .submit_with(&self.actor, write(self.volume, ino, at, count), payload)?;
            at += count;
            waiting += count;
            if waiting >= FILL_COMMIT {
                self.store.sync()?;
                waiting = 0;
            }
        }
        Ok(self.store.sync()?)
    }

    /// A checkpoint of the volume; not committed.
    pub(crate) fn checkpoint(&self) -> Result<CheckpointId, Failure> {
        let done = self.submit(checkpoint(self.volume))?;
        let found = done.events.iter().find_map(|event| match event {
            Event::CheckpointCreated { checkpoint, .. } => Some(*checkpoint),
            _ => None,
        });
        found.ok_or_else(|| "a checkpoint without its event".into())
    }
}

/// The command that makes an inode.
pub(crate) fn create(volume: VolumeId, dir: Ino, name: Bytes, body: NewBody) -> Command {
    Command::Create {
        volume,
        dir,
        name,
        body,
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

/// The command that writes whole blocks.
pub(crate) fn write(volume: VolumeId, ino: Ino, block: u64, count: u64) -> Command {
    let runs = vec![WriteRun {
        block,
        count,
        data: true,
    }];
    Command::Write {
        volume,
        ino,
        runs,
        size: (block + count) * BLOCK_SIZE as u64,
    }
}

/// The command that makes a checkpoint of one volume.
pub(crate) fn checkpoint(volume: VolumeId) -> Command {
    Command::CheckpointCreate {
        name: None,
        volumes: vec![volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    }
}

/// The command that rolls a volume back.
pub(crate) fn rollback(volume: VolumeId, to: CheckpointId) -> Command {
    Command::Rollback {
        volume,
        source: Source::Checkpoint(volume, to),
        only: true,
    }
}

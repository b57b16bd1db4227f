//! The largest events there can be.

use strand_engine::schedule::MAX_KEEPS;
use strand_engine::*;
use strand_journal::{MAX_ADDRESS, MAX_RECORD_BYTES};

/// The event of every kind that takes the most bytes, in the order of the kinds.
pub(crate) fn greatest() -> Vec<Event> {
    let volume = VolumeId(u32::MAX);
    let checkpoint = CheckpointId(u32::MAX);
    let (ino, dir, seq) = (Ino(u64::MAX), Ino(u64::MAX), u64::MAX);
    let (mode, uid, gid) = (0o7777, u32::MAX, u32::MAX);
    let text = || "t".repeat(MAX_TEXT);
    let object = || "n".repeat(MAX_OBJECT_NAME);
    let name = || Bytes::from(vec![b'n'; MAX_FILE_NAME]);
    let source = Source::Position(volume, seq);
    let size = Some(MAX_FILE_SIZE);
    let range = Range {
        block: MAX_FILE_BLOCKS - 1,
        count: MAX_FILE_BLOCKS,
    };
    let who = Actor {
        grade: Grade::Program,
        uid,
        pid: u32::MAX,
        started: u64::MAX,
        name: text(),
        command: text(),
        login: text(),
        reason: text(),
    };
    let shift = Shift::HandedDown {
        from: checkpoint,
        to: checkpoint,
        blocks: u64::MAX,
    };
    // Together as much as a record holds: its 65,536 bytes less 35 for the other fields and 2 for each path's length.
    let mut paths = vec![Bytes::from(vec![b'p'; 4096]); 15];
    paths.push(vec![b'p'; MAX_RECORD_BYTES - 35 - 15 * (2 + 4096) - 2].into());
    let set = SetAttributes {
        mode: Some(mode),
        uid: Some(uid),
        gid: Some(gid),
        atime: Some(i64::MIN),
        mtime: Some(i64::MIN),
    };
    vec![
        Event::StoreCreated { program: text() },
        Event::ActorSeen {
            actor: ActorId(u32::MAX),
            who,
        },
        Event::ClockJumped {
            expected: u64::MAX,
            found: u64::MAX,
        },
        Event::Refused {
            kind: text(),
            message: text(),
            count: u32::MAX,
        },
        Event::DigestRecorded {
            at: seq,
            digest: u128::MAX,
        },
        Event::VolumeCreated {
            volume,
            name: object(),
            root: dir,
            mode,
            uid,
            gid,
        },
        Event::VolumeRenamed {
            volume,
            name: object(),
        },
        Event::VolumeRemoved { volume },
        Event::VolumeRestored { volume },
        Event::CloneCreated {
            volume,
            name: object(),
            source,
        },
        Event::CloneReset {
            volume,
            before: checkpoint,
        },
        Event::Created {
            volume,
            dir,
            name: name(),
            ino,
            body: NewBody::Symlink(vec![b'l'; MAX_SYMLINK].into()),
            mode,
            uid,
            gid,
        },
        Event::Linked {
            volume,
            dir,
            name: name(),
            ino,
        },
        Event::Unlinked {
            volume,
            dir,
            name: name(),
            ino,
            keep: true,
        },
        Event::Renamed {
            volume,
            from_dir: dir,
            from_name: name(),
            to_dir: dir,
            to_name: name(),
            over: Some((ino, true)),
        },
        Event::Exchanged {
            volume,
            a_dir: dir,
            a_name: name(),
            b_dir: dir,
            b_name: name(),
        },
        Event::OrphanDropped { volume, ino },
        Event::Written {
            volume,
            ino,
            block: MAX_FILE_BLOCKS - 1,
            size,
        },
        Event::Punched {
            volume,
            ino,
            range,
            size,
        },
        Event::Truncated {
            volume,
            ino,
            size: MAX_FILE_SIZE,
        },
        Event::Preallocated { volume, ino, size },
        Event::Shared {
            volume,
            from: ino,
            from_block: MAX_FILE_BLOCKS - 1,
            to: ino,
            to_block: MAX_FILE_BLOCKS - 1,
            count: MAX_EVENT_BLOCKS,
            size,
        },
        Event::AttributesSet { volume, ino, set },
        Event::XattrSet {
            volume,
            ino,
            name: name(),
            value: vec![b'v'; MAX_XATTR_VALUE].into(),
        },
        Event::XattrRemoved {
            volume,
            ino,
            name: name(),
        },
        Event::CopiedOut {
            volume,
            checkpoint,
            cause: Cause::Resync,
            ino,
            ranges: vec![range; MAX_RANGES],
        },
        Event::CopiedOutScope {
            volume,
            cause: Cause::Resync,
        },
        Event::Settled {
            volume,
            scope: seq,
            shifts: vec![shift; MAX_SHIFTS],
            last: true,
        },
        Event::CheckpointCreated {
            checkpoint,
            name: object(),
            volumes: vec![volume; MAX_MEMBERS],
            removable: true,
            nomount: true,
            note: text(),
        },
        Event::CheckpointRemoved { checkpoint },
        Event::CheckpointRestored { checkpoint },
        Event::CheckpointRenamed {
            checkpoint,
            name: object(),
        },
        Event::CheckpointHeld {
            checkpoint,
            held: true,
        },
        Event::CheckpointFlagged {
            checkpoint,
            removable: true,
            nomount: true,
        },
        Event::RolledBack {
            volumes: vec![(volume, source); MAX_MEMBERS],
            before: checkpoint,
        },
        Event::FileRestored {
            volume,
            ino,
            source,
            from: ino,
            attributes: true,
        },
        Event::FilesRolledBack {
            volume,
            source,
            before: checkpoint,
            paths,
            attributes: true,
            delete_new: true,
        },
        Event::Undone {
            change: seq,
            redo: true,
            before: Some(checkpoint),
        },
        Event::ChangeMarked {
            volume,
            checkpoint,
            cause: Cause::Conversion,
            ino,
            ranges: vec![range; MAX_RANGES],
        },
        Event::CheckpointConverted {
            checkpoint,
            volumes: vec![volume; MAX_MEMBERS],
        },
        Event::QuotaSet {
            volume,
            quota: Quota {
                soft: Some(u64::MAX),
                hard: Some(u64::MAX),
                on: true,
                fail_writes: true,
            },
        },
        Event::QuotaReached {
            volume,
            limit: Limit::Hard,
            owned: u64::MAX,
        },
        Event::CheckpointDropped { checkpoint, volume },
        Event::Relocated {
            births: vec![(MAX_ADDRESS - 1, 1); MAX_RELOCATED as usize],
        },
        Event::SegmentsReclaimed {
            ranges: vec![(MAX_ADDRESS - 1, 1 << 18); MAX_RECLAIMED],
        },
        Event::RetentionSet {
            volume,
            retention: Retention {
                age: Some(u64::MAX),
                bytes: Some(u64::MAX),
            },
        },
        Event::HistoryReleased {
            volume,
            before: seq,
        },
        Event::CheckpointGivenUp {
            checkpoint,
            cause: GiveUp::Asked,
        },
        Event::ScheduleSet {
            volume,
            schedule: Some(Schedule {
                every: u64::MAX,
                keep: vec![
                    Keep {
                        age: u64::MAX,
                        every: u64::MAX,
                    };
                    MAX_KEEPS
                ],
            }),
        },
        Event::ArchiveMoved {
            before: seq,
            chain: [0xff; 32],
        },
        Event::AuditSet {
            keep: Some(u64::MAX),
        },
    ]
}

//! Samples of every kind of event.

use super::b;
use strand_engine::*;

/// At least one event of every kind, and every choice of every field's type at least once. All numbers differ, so that no two fields
/// can change places unseen.
pub(crate) fn samples() -> Vec<Event> {
    let volume = VolumeId(3);
    let checkpoint = CheckpointId(5);
    let ino = Ino(300);
    let dir = Ino(2);
    let who = |grade| Actor {
        grade,
        uid: 1000,
        pid: 4711,
        started: 123_456_789,
        name: "sqlite3".into(),
        command: "strand rm pg:/data".into(),
        login: "ada".into(),
        reason: "too old".into(),
    };
    let created = |body| Event::Created {
        volume,
        dir,
        name: b("name"),
        ino,
        body,
        mode: 0o4755,
        uid: 1000,
        gid: 100,
    };
    let copied = |cause| Event::CopiedOut {
        volume,
        checkpoint,
        cause,
        ino,
        ranges: vec![
            Range { block: 0, count: 1 },
            Range {
                block: 130,
                count: 16_384,
            },
        ],
    };
    let scope = |cause| Event::CopiedOutScope { volume, cause };
    let mut all = vec![Event::StoreCreated {
        program: "strand 0.1.0".into(),
    }];
    all.extend(
        [Grade::Caller, Grade::Handle, Grade::Command, Grade::Program].map(|grade| {
            Event::ActorSeen {
                actor: ActorId(7),
                who: who(grade),
            }
        }),
    );
    all.extend([
        Event::ClockJumped {
            expected: 1_800_000_000_000_000_000,
            found: 0,
        },
        Event::Refused {
            kind: "held".into(),
            message: "cannot remove before: it is held".into(),
            count: 200,
        },
        Event::DigestRecorded {
            at: 70_000,
            digest: 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210,
        },
        Event::DigestRecorded { at: 0, digest: 0 },
        Event::VolumeCreated {
            volume,
            name: "pg".into(),
            root: dir,
            mode: 0o755,
            uid: 1000,
            gid: 100,
        },
        Event::VolumeRenamed {
            volume,
            name: "main".into(),
        },
        Event::VolumeRemoved { volume },
        Event::VolumeRestored { volume },
    ]);
    all.extend(
        [
            Source::Live(VolumeId(1)),
            Source::Checkpoint(VolumeId(1), checkpoint),
            Source::Position(VolumeId(1), 70_000),
        ]
        .map(|source| Event::CloneCreated {
            volume,
            name: "trial".into(),
            source,
        }),
    );
    all.push(Event::CloneReset {
        volume,
        before: checkpoint,
    });
    all.extend(
        [
            NewBody::File,
            NewBody::Dir,
            NewBody::Symlink(b("../target")),
            NewBody::Fifo,
            NewBody::Socket,
            NewBody::Char(0x0103),
            NewBody::Block(0x0800),
        ]
        .map(created),
    );
    all.extend([
        Event::Linked {
            volume,
            dir,
            name: Bytes::from(&b"\xff\xfe"[..]),
            ino,
        },
        Event::Unlinked {
            volume,
            dir,
            name: b("name"),
            ino,
            keep: false,
        },
        Event::Unlinked {
            volume,
            dir,
            name: b("name"),
            ino,
            keep: true,
        },
    ]);
    all.extend(
        [None, Some((Ino(301), false)), Some((Ino(301), true))].map(|over| Event::Renamed {
            volume,
            from_dir: dir,
            from_name: b("from"),
            to_dir: Ino(9),
            to_name: b("to"),
            over,
        }),
    );
    all.extend([
        Event::Exchanged {
            volume,
            a_dir: dir,
            a_name: b("a"),
            b_dir: Ino(9),
            b_name: b("b"),
        },
        Event::OrphanDropped { volume, ino },
        Event::Written {
            volume,
            ino,
            block: 1 << 20,
            size: None,
        },
        Event::Written {
            volume,
            ino,
            block: 0,
            size: Some(5000),
        },
        Event::Punched {
            volume,
            ino,
            range: Range {
                block: 4,
                count: 1 << 40,
            },
            size: None,
        },
        Event::Punched {
            volume,
            ino,
            range: Range { block: 4, count: 2 },
            size: Some(24_576),
        },
        Event::Truncated {
            volume,
            ino,
            size: MAX_FILE_SIZE,
        },
        Event::Preallocated {
            volume,
            ino,
            size: None,
        },
        Event::Preallocated {
            volume,
            ino,
            size: Some(1 << 30),
        },
        Event::Shared {
            volume,
            from: ino,
            from_block: 10,
            to: Ino(301),
            to_block: 20,
            count: 200,
            size: None,
        },
        Event::Shared {
            volume,
            from: ino,
            from_block: 10,
            to: Ino(301),
            to_block: 20,
            count: 200,
            size: Some(901_120),
        },
        Event::AttributesSet {
            volume,
            ino,
            set: SetAttributes::default(),
        },
        Event::AttributesSet {
            volume,
            ino,
            set: SetAttributes {
                mode: Some(0o600),
                uid: Some(1),
                gid: Some(2),
                atime: Some(-1),
                mtime: Some(1_800_000_000_000_000_000),
            },
        },
        Event::XattrSet {
            volume,
            ino,
            name: b("user.kind"),
            value: b("table"),
        },
        Event::XattrSet {
            volume,
            ino,
            name: b("user.empty"),
            value: b(""),
        },
        Event::XattrRemoved {
            volume,
            ino,
            name: b("user.kind"),
        },
    ]);
    let causes = [
        Cause::Write,
        Cause::Truncate,
        Cause::Punch,
        Cause::Unlink,
        Cause::RenameOver,
        Cause::Share,
        Cause::Rollback,
        Cause::FileRollback,
        Cause::Reset,
        Cause::Removal,
        Cause::Restoration,
        Cause::Resync,
    ];
    all.extend(causes.map(copied));
    all.extend(causes.map(scope));
    all.extend([
        Event::Settled {
            volume,
            scope: 900,
            shifts: vec![],
            last: true,
        },
        Event::Settled {
            volume,
            scope: 900,
            shifts: vec![
                Shift::CopiedOut {
                    to: checkpoint,
                    blocks: 1,
                },
                Shift::HandedDown {
                    from: checkpoint,
                    to: CheckpointId(4),
                    blocks: 1000,
                },
                Shift::HandedIn {
                    to: checkpoint,
                    blocks: 3,
                },
                Shift::Released {
                    from: checkpoint,
                    blocks: 1 << 40,
                },
            ],
            last: false,
        },
    ]);
    all.extend([(false, true), (true, false)].map(|(removable, nomount)| {
        Event::CheckpointCreated {
            checkpoint,
            name: "before-upgrade".into(),
            volumes: vec![VolumeId(1), volume],
            removable,
            nomount,
            note: "said ünï".into(),
        }
    }));
    all.extend([
        Event::CheckpointRemoved { checkpoint },
        Event::CheckpointRestored { checkpoint },
        Event::CheckpointRenamed {
            checkpoint,
            name: "after".into(),
        },
        Event::CheckpointHeld {
            checkpoint,
            held: true,
        },
        Event::CheckpointHeld {
            checkpoint,
            held: false,
        },
        Event::CheckpointFlagged {
            checkpoint,
            removable: false,
            nomount: true,
        },
        Event::CheckpointFlagged {
            checkpoint,
            removable: true,
            nomount: false,
        },
        Event::RolledBack {
            volumes: vec![
                (VolumeId(1), Source::Checkpoint(VolumeId(1), checkpoint)),
                (volume, Source::Position(volume, 70_000)),
            ],
            before: CheckpointId(6),
        },
        Event::FileRestored {
            volume,
            ino,
            source: Source::Checkpoint(volume, checkpoint),
            from: Ino(301),
            attributes: false,
        },
        Event::FileRestored {
            volume,
            ino,
            source: Source::Position(volume, 70_000),
            from: ino,
            attributes: true,
        },
    ]);
    all.extend(
        [(false, true), (true, false)].map(|(attributes, delete_new)| Event::FilesRolledBack {
            volume,
            source: Source::Checkpoint(volume, checkpoint),
            before: CheckpointId(6),
            paths: vec![b("base/1"), b("")],
            attributes,
            delete_new,
        }),
    );
    all.extend([
        Event::Undone {
            change: 70_000,
            redo: false,
            before: None,
        },
        Event::Undone {
            change: 70_000,
            redo: true,
            before: Some(CheckpointId(6)),
        },
        scope(Cause::Conversion),
        Event::Settled {
            volume,
            scope: 900,
            shifts: vec![
                Shift::Marked {
                    to: checkpoint,
                    blocks: 2,
                },
                Shift::Unmarked {
                    from: CheckpointId(4),
                    blocks: 1 << 40,
                },
            ],
            last: true,
        },
        Event::ChangeMarked {
            volume,
            checkpoint,
            cause: Cause::Write,
            ino,
            ranges: vec![
                Range { block: 0, count: 1 },
                Range {
                    block: 130,
                    count: 16_384,
                },
            ],
        },
        Event::CheckpointConverted {
            checkpoint,
            volumes: vec![VolumeId(1), volume],
        },
        scope(Cause::Quota),
        Event::QuotaSet {
            volume,
            quota: Quota {
                soft: Some(1 << 30),
                hard: Some(1 << 31),
                on: true,
                fail_writes: false,
            },
        },
        Event::QuotaSet {
            volume,
            quota: Quota {
                soft: None,
                hard: Some(4096),
                on: false,
                fail_writes: true,
            },
        },
        Event::QuotaReached {
            volume,
            limit: Limit::Soft,
            owned: 300,
        },
        Event::QuotaReached {
            volume,
            limit: Limit::Hard,
            owned: 1 << 40,
        },
        Event::CheckpointDropped { checkpoint, volume },
        Event::Relocated {
            births: vec![(16_390, 3), (40_000, 1)],
        },
        Event::SegmentsReclaimed {
            ranges: vec![(16_384, 16_384), (49_152, 16_384)],
        },
        Event::RetentionSet {
            volume,
            retention: Retention::default(),
        },
        Event::RetentionSet {
            volume,
            retention: Retention {
                age: Some(86_400_000_000_000),
                bytes: Some(10 << 30),
            },
        },
        Event::HistoryReleased {
            volume,
            before: 48_211,
        },
        Event::CheckpointGivenUp {
            checkpoint,
            cause: GiveUp::Capacity,
        },
        Event::CheckpointGivenUp {
            checkpoint,
            cause: GiveUp::Schedule,
        },
        Event::CheckpointGivenUp {
            checkpoint,
            cause: GiveUp::Asked,
        },
        Event::ScheduleSet {
            volume,
            schedule: None,
        },
        Event::ScheduleSet {
            volume,
            schedule: Some(Schedule {
                every: 900_000_000_000,
                keep: vec![
                    Keep {
                        age: 14_400_000_000_000,
                        every: 0,
                    },
                    Keep {
                        age: 172_800_000_000_000,
                        every: 3_600_000_000_000,
                    },
                ],
            }),
        },
        Event::ArchiveMoved {
            before: 1_000_000,
            chain: [0xab; 32],
        },
        Event::AuditSet { keep: None },
        Event::AuditSet {
            keep: Some(1 << 30),
        },
    ]);
    all
}

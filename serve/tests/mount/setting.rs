//! A store with one volume, mounted; taken down whatever happens.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strand_engine::{
    Actor, Command, Grade, InitOptions, OpenOptions, Source, Store, StoreId, SystemClock, VolumeId,
};
use strand_journal::{Disk, FileDisk};
use strand_serve::{Live, LiveOptions, MountRequest};

/// A mounted store.
pub(crate) struct Setting {
    pub(crate) live: Option<Arc<Live>>,
    pub(crate) volume: VolumeId,
    /// The mount point.
    pub(crate) at: PathBuf,
    mounted: Vec<PathBuf>,
    pub(crate) scratch: tempfile::TempDir,
}

pub(crate) fn me() -> Actor {
    Actor {
        grade: Grade::Command,
        uid: 0,
        pid: std::process::id(),
        name: "test".into(),
        ..Actor::program()
    }
}

/// Says whether this machine can mount; a skip is a failure where nothing may be skipped.
pub(crate) fn can_mount() -> bool {
    let able = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    if !able {
        assert!(
            std::env::var_os("STRAND_NO_SKIP").is_none_or(|v| v != "1"),
            "no /dev/fuse, and nothing may be skipped"
        );
        eprintln!("skipped: /dev/fuse cannot be opened here");
    }
    able
}

/// A mounted volume, or nothing where this machine cannot mount.
pub(crate) fn setting() -> Option<Setting> {
    setting_with(LiveOptions::default())
}

pub(crate) fn setting_with(options: LiveOptions) -> Option<Setting> {
    if !can_mount() {
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    let disk = FileDisk::create(scratch.path().join("store")).unwrap();
    Some(on_disk(scratch, Arc::new(disk), options))
}

pub(crate) fn on_disk(
    scratch: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    options: LiveOptions,
) -> Setting {
    on_disk_of(scratch, disk, options, (64 << 20, None))
}

/// With segments of this size, and so much room.
pub(crate) fn on_disk_of(
    scratch: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    options: LiveOptions,
    (segment_size, capacity): (u64, Option<u64>),
) -> Setting {
    let init = InitOptions {
        segment_size,
        capacity,
        store: StoreId([7; 16]),
    };
    let store = Store::init(disk, Arc::new(SystemClock::new()), init, &me()).unwrap();
    let create = Command::VolumeCreate {
        name: "pg".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    store.run(&me(), create).unwrap();
    let volume = store.state().volume_named("pg").unwrap().id;
    let live = Live::of_directory(store, options, &scratch.path().join("store"));
    let mut setting = Setting {
        live: Some(live),
        volume,
        at: scratch.path().join("mnt"),
        mounted: Vec::new(),
        scratch,
    };
    setting.at = setting.mount(Source::Live(volume), "mnt");
    setting
}

impl Setting {
    pub(crate) fn live(&self) -> &Arc<Live> {
        self.live.as_ref().unwrap()
    }

    /// Mounts a view at a new directory.
    pub(crate) fn mount(&mut self, source: Source, name: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let request = self.request(source, &path);
        self.mounted.push(path.clone());
        self.live().mount(request).unwrap();
        path
    }

    pub(crate) fn request(&self, source: Source, path: &Path) -> MountRequest {
        MountRequest {
            source,
            label: "pg".into(),
            at: File::open(path).unwrap(),
            path: path.to_owned(),
            uid: 0,
            read_only: false,
            allow_other: true,
        }
    }

    /// Unmounts, closes the store and opens it again, not mounted.
    pub(crate) fn reopen(&mut self) {
        self.live.take().unwrap().close().unwrap();
        self.mounted.clear();
        let disk: Arc<dyn Disk> =
            Arc::new(FileDisk::open(self.scratch.path().join("store")).unwrap());
        let store = Store::open(
            disk,
            Arc::new(SystemClock::new()),
            OpenOptions::read_write(),
        )
        .unwrap();
        self.live = Some(Live::of_directory(
            store,
            LiveOptions::default(),
            &self.scratch.path().join("store"),
        ));
    }

    /// The content of a file of the live tree, as the store has it.
    pub(crate) fn stored(&self, path: &str) -> Option<Vec<u8>> {
        let tree = self.live().store().live(self.volume).unwrap();
        let ino = tree.lookup(path.as_bytes())?;
        let size = usize::try_from(tree.inode(ino)?.size()).unwrap();
        let mut bytes = vec![0; size];
        let got = self.live().store().read(&tree, ino, 0, &mut bytes).unwrap();
        assert_eq!(got, size);
        Some(bytes)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        for path in &self.mounted {
            // Whatever a failed test left open must not keep the mount.
            let _ = rustix::mount::unmount(
                path,
                rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::FORCE,
            );
        }
        if let Some(live) = self.live.take() {
            let closed = live.close();
            if !std::thread::panicking() {
                closed.unwrap();
            }
        }
    }
}

//! The scripted store: two volumes, three checkpoints, a clone, and some history. Made once, copied for every test.

use crate::strand::{Place, data};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

static TOWN: OnceLock<Place> = OnceLock::new();

/// A copy of the scripted store in a working directory of its own, with files to import beside it.
pub(crate) fn town() -> Place {
    let original = TOWN.get_or_init(build);
    let copy = Place::empty();
    copy_tree(original.path(), copy.path());
    copy
}

/// `pg` with a database's files, `web` with a site; `monday` (pg), `nightly` (both), `before-upgrade` (pg); the clone `test`.
fn build() -> Place {
    let place = Place::with_volumes(&["pg", "web"]);
    place.file("data.bin", &data(10 * 4096, 1));
    fs::create_dir_all(place.path().join("site/images")).expect("writable");
    place.file("site/index.html", b"<h1>a strandline</h1>\n");
    place.file("site/images/wave.png", &data(5000, 2));
    for line in [
        "mkdir pg /base",
        "import pg data.bin /base/16384",
        "import web site",
        "mkdir web /old",
        "checkpoint create monday --volume pg",
        "checkpoint create nightly --volume pg --volume web --note both",
    ] {
        place.line(line).well();
    }
    place
        .feed("write pg /postgresql.conf --offset 0", b"port = 5432\n")
        .well();
    place
        .feed("write pg /base/16384 --offset 4096", &data(2 * 4096, 3))
        .well();
    place
        .feed("write web /old/a.html --offset 0", b"old\n")
        .well();
    place
        .line("checkpoint create before-upgrade --volume pg")
        .well();
    place
        .feed("write pg /base/16384 --offset 12288", &data(3 * 4096, 4))
        .well();
    place
        .feed("write pg /postgresql.conf --offset 7", b"5433")
        .well();
    place
        .line("clone create test --from pg@before-upgrade")
        .well();
    // Something for undo.
    place.line("rollback pg --to before-upgrade").well();
    // It is copied, not used.
    place.at_rest();
    place
}

/// Copies a directory with everything in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

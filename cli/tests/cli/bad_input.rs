//! Every row of bad input that reaches the command line: a clear error in the contract's form, nothing lost, no panic.

use crate::strand::{Place, command, data, finish, golden};
use crate::town::town;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

/// Runs lines that all fail, and pins what they say.
fn refusals(name: &str, place: &Place, lines: &[&str]) {
    let mut text = String::new();
    for line in lines {
        let ran = place.line(line);
        assert_ne!(ran.code, 0, "{line}: {}", ran.out);
        assert!(
            ran.err.starts_with("strand: ") && ran.err.lines().count() <= 3,
            "{line}: {}",
            ran.err
        );
        assert!(!ran.err.contains("panicked"), "{line}: {}", ran.err);
        text += &format!("$ strand {line}\n{}", ran.whole());
    }
    golden(name, &text);
}

#[test]
fn what_is_no_store() {
    let place = Place::empty();
    fs::create_dir(place.path().join("dir")).expect("made");
    place.file("file", b"text");
    refusals(
        "bad-no-store",
        &place,
        &[
            "-s missing status",
            "-s dir status",
            "-s file status",
            "-s dir volume create x",
            "-s missing verify",
            "-s / checkpoint list",
        ],
    );
    let ran = finish(
        {
            let mut none = command(place.path(), None);
            none.arg("status");
            none
        },
        b"",
    );
    golden("bad-no-store-named", &ran.failed(2).whole());
}

#[test]
fn stores_where_none_can_be_made() {
    let place = town();
    fs::create_dir(place.path().join("full")).expect("made");
    place.file("full/x", b"x");
    refusals(
        "bad-init",
        &place,
        &[
            "init full",
            "init data.bin",
            "init store",
            "init store/inner",
            "init store/journal/inner",
            "init missing/deep",
            "init new --segment-size 3MiB",
            "init new --segment-size 4KiB",
            "init new --segment-size 2GiB",
            "init new --segment-size 99999999999999999999",
            "init new --segment-size many",
            "init new --capacity 1MiB",
            "init new --capacity 1MiB --segment-size 512KiB",
        ],
    );
    assert!(
        !place.path().join("new").exists(),
        "a refused init leaves nothing"
    );
}

/// The crc32 (IEEE) of some bytes, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_newer_format_is_refused_and_not_touched() {
    let place = town();
    place.at_rest();
    let path = place.store().join("STORE");
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 9;
    let end = bytes.len() - 4;
    let crc = crc32(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).expect("writable");
    let ran = place.line("status").failed(1);
    assert!(ran.err.contains("newer"), "{}", ran.err);
    place.line("volume create x").failed(1);
    assert_eq!(fs::read(&path).expect("readable"), bytes);
}

#[test]
fn names_that_are_not_there_and_names_that_cannot_be() {
    refusals(
        "bad-names",
        &town(),
        &[
            "volume show gp",
            "volume create pg",
            "volume create live",
            "volume create 10m",
            "volume create 2026-11-21",
            "volume create -- -x",
            "volume create auto-x",
            "volume create a/b",
            "volume rename pg web",
            "volume rename nothing x",
            "volume remove nothing --yes",
            "checkpoint create monday --volume pg",
            "checkpoint create x",
            "checkpoint create x --volume pq",
            "checkpoint show befor-upgrade",
            "checkpoint rename monday nightly",
            "checkpoint map web@before-upgrade",
            "checkpoint map before-upgrade /no",
            "checkpoint diff before-upgrade web",
            "checkpoint diff pg web",
            "clone create pg --from pg",
            "clone create x --from pg@mondya",
            "clone reset pg",
            "clone remove pg --yes",
            "ls web@before-upgrade",
            "log --volume nothing",
            "log --kind copied-uot",
            "log --path /no --volume pg",
            "help nothing",
        ],
    );
}

#[test]
fn files_that_are_not_there_or_of_another_kind() {
    refusals(
        "bad-files",
        &town(),
        &[
            "cat pg /no",
            "cat pg /base",
            "cat pg /base/16385",
            "cat pg /postgresql.conf/x",
            "ls pg /base/no",
            "stat web /indx.html",
            "write pg /no/x --offset 0",
            "write pg /base --offset 0",
            "write pg /.. --offset 0",
            "rm pg /no",
            "rm pg /base",
            "rm pg /",
            "mkdir pg /base",
            "mkdir pg /a/b",
            "mv pg /no /x",
            "mv pg /base /base/inner",
            "mv pg /postgresql.conf /base --exchange --no-replace",
            "mv pg /postgresql.conf /base/16384 --no-replace",
            "truncate pg /no --size 0",
            "truncate pg /base --size 0",
            "import pg missing",
            "import pg site /postgresql.conf",
            "import pg store",
            "export pg /no out",
            "export pg /base store/out",
            "export pg /base site",
            "versions pg /no",
            "versions pg /base",
            "rollback pg --to before-upgrade --file /no",
        ],
    );
}

#[test]
fn sizes_and_offsets_at_their_extremes() {
    let place = town();
    place.file("one", b"1");
    refusals(
        "bad-extremes",
        &place,
        &[
            "write pg /postgresql.conf --input one --offset 9223372036854775807",
            "write pg /postgresql.conf --input one --offset 18446744073709551615",
            "write pg /postgresql.conf --input one --offset 18446744073709551616",
            "write pg /postgresql.conf --input one --offset -1",
            "truncate pg /postgresql.conf --size 9223372036854775807",
            "truncate pg /postgresql.conf --size 16EiB",
            "ls pg@seq:18446744073709551615",
            "ls pg@seq:18446744073709551616",
            "ls pg@seq:-1",
            "ls pg@seq:x",
            "log --expand 18446744073709551615",
            "log --expand 2",
            "replay --to seq:18446744073709551615",
            "verify --anchor 5",
            "verify --anchor 5:abc",
            "status --lock-timeout 99999999999999999999",
            "status --lock-timeout 5y",
        ],
    );
    // Nothing of it happened, and a size that a file can have is one.
    assert_eq!(
        place.line("cat pg /postgresql.conf").well().out,
        "port = 5432\n"
    );
    place
        .line("truncate pg /postgresql.conf --size 9223372036854771712")
        .well();
    place
        .line("write pg /postgresql.conf --input one --offset 9223372036854771711")
        .well();
    let stat = place.line("stat pg /postgresql.conf --json").well().json();
    assert_eq!(stat["size"], 9_223_372_036_854_771_712_u64);
    assert_eq!(stat["allocated"], 8192);
    place.line("verify --data").well();
}

#[test]
fn names_are_bytes() {
    let place = town();
    for name in [
        &b"\xff\xfe"[..],
        b"a\nb",
        b"\x1b[2J",
        "é—ü".as_bytes(),
        &[b'x'; 255],
    ] {
        let name = [b"/", name].concat();
        let os = OsStr::from_bytes(&name);
        let ran = finish(
            place.command([
                OsStr::new("write"),
                OsStr::new("web"),
                os,
                OsStr::new("--offset"),
                OsStr::new("0"),
            ]),
            b"x",
        )
        .well();
        assert!(!ran.out.contains('\x1b'), "{}", ran.out);
        let cat = place.run([OsStr::new("cat"), OsStr::new("web"), os]).well();
        assert_eq!(cat.out, "x");
    }
    let long = format!("/{}", "x".repeat(256));
    let ran = place.run(["mkdir", "web", &long]).failed(1);
    assert!(ran.err.contains("255"), "{}", ran.err);
    let json = place.line("ls web --json").well().json();
    let hex = json["entries"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|e| e["name_hex"].as_str())
        .collect::<Vec<_>>();
    assert_eq!(hex, ["fffe"]);
    let ls = place.line("ls web").well().out;
    assert!(ls.contains("\\xff\\xfe\n") && ls.contains("a\\x0ab\n") && !ls.contains('\x1b'));
    place.line("export web / out").well();
    assert_eq!(
        fs::read(place.path().join(OsStr::from_bytes(b"out/\xff\xfe"))).expect("there"),
        b"x"
    );
    place.line("import web out /again").well();
    // A volume's name is for people: bytes that are no text are wrong usage.
    place
        .run([
            OsStr::new("volume"),
            OsStr::new("show"),
            OsStr::from_bytes(b"\xff"),
        ])
        .failed(2);
}

#[test]
fn views_outside_what_can_be_reached() {
    let place = town();
    let mut text = String::new();
    for view in [
        "pg@2001-01-01T00:00:00Z",
        "pg@2200-01-01T00:00:00Z",
        "pg@9w",
        "pg@0:99",
        "pg@",
        "@monday",
        "pg@seq:1",
    ] {
        let ran = place.run(["ls", view]);
        assert_ne!(ran.code, 0, "{view}: {}", ran.out);
        assert!(!ran.err.contains("panicked"));
        text += &format!("{view}: exit {}\n", ran.code);
    }
    golden("bad-views", &text);
    let mut ambiguous = place.command(["ls", "pg@2026-10-25 02:30"]);
    ambiguous.env("TZ", "Europe/Berlin");
    let ran = finish(ambiguous, b"").failed(1);
    assert!(ran.err.contains("twice"), "{}", ran.err);
}

#[test]
fn checkpoints_that_cannot_serve() {
    let place = town();
    place
        .line("checkpoint create closed --volume pg --nomount")
        .well();
    place.line("checkpoint hold monday").well();
    refusals(
        "bad-checkpoints",
        &place,
        &[
            "ls pg@closed",
            "rollback pg --to closed",
            "clone create x --from pg@closed",
            "rollback pg --to nightly",
            "rollback web --to before-upgrade",
            "rollback --to 1m",
            "rollback --to nothing",
            "checkpoint remove monday --yes",
            "checkpoint remove nightly",
            "volume remove pg",
            "clone remove test",
            "redo",
            "undo web",
        ],
    );
    place.line("checkpoint clear closed nomount").well();
    place.line("ls pg@closed").well();
}

#[test]
fn checkpoints_without_data_cannot_be_read_or_gone_back_to() {
    let place = town();
    place
        .line("checkpoint create marks --volume pg --nodata")
        .well();
    place.line("checkpoint hold monday").well();
    refusals(
        "bad-nodata",
        &place,
        &[
            "cat pg@marks /postgresql.conf",
            "export pg@marks / out",
            "rollback pg --to marks",
            "rollback pg --to marks --file /postgresql.conf",
            "rollback --to marks",
            "clone create x --from pg@marks",
            "checkpoint clear marks nodata",
            "checkpoint set before-upgrade nodata",
            "checkpoint set monday nodata --yes",
        ],
    );
    place.line("ls pg@marks").well();
}

#[test]
fn wrong_usage_has_three_lines_and_exit_2() {
    let place = Place::empty();
    refusals(
        "bad-usage",
        &place,
        &[
            "chekpoint list",
            "checkpoint create x --volum pg",
            "checkpoint remvoe x",
            "rollback",
            "write pg /x",
            "mkdir pg",
            "checkpoint set x frozen",
            "log --block 3",
            "rollback --to x --file /y",
            "import pg",
            "--nonsense",
        ],
    );
}

#[test]
fn a_full_store_refuses_and_stays_whole() {
    let place = Place::empty();
    place
        .line("init store --segment-size 64KiB --capacity 1MiB")
        .well();
    place.line("volume create v").well();
    place.file("big", &data(4 << 20, 9));
    place.file("small", &data(8192, 10));
    place.line("import v small").well();
    place.line("checkpoint create keep").well();
    let ran = place.line("import v big").failed(1);
    assert!(
        ran.err.contains("full") || ran.err.contains("space"),
        "{}",
        ran.err
    );
    let ran = place.line("import v big --json").failed(1);
    let error: serde_json::Value =
        serde_json::from_str(ran.err.lines().last().expect("a line")).expect("JSON");
    assert_eq!(error["error"]["kind"], "no-space");
    // What was there is there, and a checkpoint can still go.
    place.line("export v /small out").well();
    assert_eq!(
        fs::read(place.path().join("out")).expect("there"),
        data(8192, 10)
    );
    place.line("checkpoint remove keep --yes").well();
    place.line("verify --data").well();
}

#[test]
fn a_directory_that_cannot_be_written() {
    if rustix::process::geteuid().is_root() {
        // To the superuser every directory can be written; a file in the way cannot.
        let place = town();
        place.line("init data.bin/store").failed(1);
        return;
    }
    let place = town();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).expect("made");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("set");
    let ran = place.line("init closed/store").failed(1);
    assert!(ran.err.contains("permission"), "{}", ran.err);
    place.line("export pg /base closed/out").failed(1);
    place.at_rest();
    let store = place.store();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o000)).expect("set");
    place.line("status").failed(1);
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).expect("set");
}

#[test]
fn a_journal_cut_anywhere_opens_or_says_why() {
    let place = town();
    place.at_rest();
    let journal = place.store().join("journal");
    let mut segments: Vec<_> = fs::read_dir(&journal)
        .expect("there")
        .map(|e| e.expect("readable").path())
        .collect();
    segments.sort();
    let last = segments.last().expect("a segment").clone();
    let whole = fs::read(&last).expect("readable");
    for cut in [
        0,
        1,
        4095,
        4096,
        5000,
        whole.len() / 3,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        fs::write(&last, &whole[..cut]).expect("writable");
        for line in ["status", "verify --data", "log -n 3", "checkpoint list"] {
            let ran = place.line(line);
            assert!(
                [0, 1, 3].contains(&ran.code),
                "{line} at {cut}: {}{}",
                ran.out,
                ran.err
            );
            assert!(
                !ran.err.contains("panicked"),
                "{line} at {cut}: {}",
                ran.err
            );
        }
    }
    fs::write(&last, &whole).expect("writable");
    place.line("verify --data").well();
}

#[test]
fn a_flipped_bit_in_a_block_is_found_with_its_file() {
    let place = town();
    place.at_rest();
    let journal = place.store().join("journal");
    let wanted = data(10 * 4096, 1);
    let mut flipped = false;
    for entry in fs::read_dir(&journal).expect("there") {
        let path = entry.expect("readable").path();
        let mut bytes = fs::read(&path).expect("readable");
        if let Some(at) = bytes.windows(64).position(|w| w == &wanted[..64]) {
            bytes[at + 100] ^= 4;
            fs::write(&path, &bytes).expect("writable");
            flipped = true;
        }
    }
    assert!(flipped);
    let ran = place.line("verify --data");
    assert_eq!(ran.code, 3, "{}", ran.out);
    let finding = ran
        .out
        .lines()
        .find(|l| l.starts_with("damage"))
        .expect("a finding")
        .to_owned();
    for part in ["segment", "offset", "seq", "volume pg", "16384"] {
        assert!(finding.contains(part), "{part} is missing in {finding}");
    }
    // Reading never gives wrong bytes, and says so.
    let ran = place.line("cat pg /base/16384").failed(3);
    assert!(ran.err.starts_with("strand: "), "{}", ran.err);
    let json = place.line("verify --data --json");
    assert_eq!(
        (json.code, &json.json()["ok"]),
        (3, &serde_json::Value::from(false))
    );
}

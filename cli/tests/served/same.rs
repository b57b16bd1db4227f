//! That this suite is the suite `cli`, but for what is named here.

use std::collections::BTreeSet;

/// What is not run again, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "damaged",
        "it changes files past the program, and a damaged store is not served at all",
    ),
    ("verified", "so does this"),
    (
        "locking",
        "it is about two commands that want the lock of a store at rest",
    ),
    ("room", "it fills small disks at rest"),
    ("help", "it needs no store"),
];
/// What only this suite has.
const OWN: [&str; 4] = ["daemon", "mounts", "same", "work"];

/// The modules of a test program, each with the file that it is read from where that is said.
fn modules(main: &str) -> BTreeSet<(&str, Option<&str>)> {
    let mut found = BTreeSet::new();
    let mut path = None;
    for line in main.lines() {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.strip_suffix("\"]");
        } else if let Some(rest) = line.strip_prefix("mod ") {
            let name = rest.strip_suffix(';').expect("a file of its own");
            found.insert((name, path.take()));
        }
    }
    found
}

#[test]
fn every_module_of_the_suite_cli_is_run_again() {
    let (cli, served) = (include_str!("../cli/main.rs"), include_str!("main.rs"));
    let paths: Vec<(&str, String)> = modules(cli)
        .into_iter()
        .filter(|(name, _)| LEFT_OUT.iter().all(|(out, _)| out != name))
        .map(|(name, _)| (name, format!("../cli/{name}.rs")))
        .collect();
    assert!(paths.len() > 10, "{paths:?}");
    let again = paths
        .iter()
        .map(|(name, path)| (*name, Some(path.as_str())));
    let wanted: BTreeSet<_> = again.chain(OWN.map(|name| (name, None))).collect();
    assert_eq!(modules(served), wanted);
    let known = modules(cli);
    for (name, why) in LEFT_OUT {
        assert!(known.contains(&(*name, None)), "there is no {name}: {why}");
    }
}

//! Every `--help` has an example, and it runs as pasted: into a shell, on the scripted store.

use crate::strand::Place;
use crate::town::town;
use std::process::Command;

/// Every command of the grammar, as its own help lists them; the program itself first.
pub(crate) fn commands(place: &Place) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut stack = vec![Vec::new()];
    while let Some(path) = stack.pop() {
        let help = place
            .run(path.iter().map(String::as_str).chain(["--help"]))
            .well()
            .out;
        let listed = help
            .lines()
            .skip_while(|l| *l != "Commands:")
            .skip(1)
            .take_while(|l| !l.is_empty());
        let names: Vec<&str> = listed
            .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
            .filter_map(|l| l.split_whitespace().next())
            .collect();
        for name in names.iter().rev() {
            let mut sub: Vec<String> = path.clone();
            sub.push((*name).to_owned());
            stack.push(sub);
        }
        found.push(path);
    }
    found
}

/// Live use needs FUSE and a mount point in /mnt, and a daemon that goes on: the tests of live use run these.
const LIVE: [&str; 5] = ["serve", "mount", "umount", "stop", "top"];

#[test]
fn every_example_runs_as_pasted() {
    let place = Place::empty();
    let all = commands(&place);
    assert!(all.len() > 45, "{} commands", all.len());
    let (program, _) = env!("CARGO_BIN_EXE_strand")
        .rsplit_once('/')
        .expect("a path");
    for path in all {
        let help = place
            .run(path.iter().map(String::as_str).chain(["--help"]))
            .well()
            .out;
        let (_, after) = help
            .split_once("Example:\n")
            .unwrap_or_else(|| panic!("strand {} has no example", path.join(" ")));
        let mut lines = after.lines();
        let example = lines.next().expect("a line").trim();
        assert!(
            lines.next().is_none_or(str::is_empty),
            "the example of {path:?} is one line"
        );
        assert!(example.contains("strand"), "{example}");
        if path == ["demo"] {
            continue; // it takes seconds; the demo's own tests run it
        }
        if LIVE.iter().any(|name| path == [*name]) {
            continue;
        }
        let town = town();
        let shell = Command::new("sh")
            .args(["-euc", example])
            .current_dir(town.path())
            .env(
                "PATH",
                format!("{program}:{}", std::env::var("PATH").unwrap_or_default()),
            )
            .env("STRAND_STORE", town.store())
            .output()
            .expect("a shell");
        assert!(
            shell.status.success(),
            "{example}\n{}{}",
            String::from_utf8_lossy(&shell.stdout),
            String::from_utf8_lossy(&shell.stderr)
        );
    }
}

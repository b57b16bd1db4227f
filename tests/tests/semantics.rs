//! `docs/semantics.md` promises nothing without a test: every test that it names exists.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// `crate::file::function`: a test of that name, in a file or folder of that name, under the crate's `tests` or `src`.
fn exists(root: &Path, name: &str) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let [krate, places @ .., function] = parts.as_slice() else {
        return false;
    };
    let mut files = Vec::new();
    sources(&root.join(krate).join("tests"), &mut files);
    sources(&root.join(krate).join("src"), &mut files);
    let in_place = |path: &Path| {
        let names: Vec<String> = path
            .with_extension("")
            .iter()
            .map(|p| p.to_string_lossy().into_owned())
            .collect();
        places.iter().all(|place| names.iter().any(|n| n == place))
    };
    files.iter().filter(|path| in_place(path)).any(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.iter().enumerate().any(|(i, line)| {
            let is_it = line
                .strip_prefix("fn ")
                .is_some_and(|rest| rest.starts_with(&format!("{function}(")));
            is_it
                && lines[..i]
                    .iter()
                    .rev()
                    .take_while(|l| l.starts_with('#') || l.starts_with("//"))
                    .any(|l| *l == "#[test]")
        })
    })
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/semantics.md")).unwrap();
    let (mut rows, mut missing) = (0, Vec::new());
    for line in page
        .lines()
        .filter(|l| l.starts_with('|') && !l.starts_with("| promise") && !l.starts_with("|---"))
    {
        rows += 1;
        let last = line
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let names: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "a promise without a test: {line}");
        missing.extend(names.into_iter().filter(|name| !exists(root, name)));
    }
    assert!(rows >= 20, "{rows} rows");
    assert!(
        missing.is_empty(),
        "tests that docs/semantics.md names and that are not there: {missing:#?}"
    );
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert!(exists(
        root,
        "tests::semantics::a_test_that_is_not_there_is_missed"
    ));
    for absent in [
        "tests::semantics::no_such",
        "tests::model::a_test_that_is_not_there_is_missed",
        "tests::semantics::exists",
        "tests",
    ] {
        assert!(!exists(root, absent), "{absent}");
    }
}

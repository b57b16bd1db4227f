//! Help: goldens of every page, the first page's length, topics, manual pages, completions.

use crate::strand::{Place, golden};
use crate::town::town;

#[test]
fn the_first_page_fits_a_small_screen() {
    let place = Place::empty();
    let ran = crate::strand::finish(crate::strand::command(place.path(), None), b"").well();
    assert!(ran.out.lines().count() <= 24, "{}", ran.out);
    assert!(
        ran.out.lines().all(|l| l.chars().count() <= 80),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .starts_with("no store: try strand demo or strand init DIR\n")
    );
    golden("home-without-store", &ran.out);
    let ran = town().line("").well();
    assert!(ran.out.lines().count() <= 24);
    golden("home", &ran.out);
}

#[test]
fn every_help_page_is_as_agreed() {
    let place = Place::empty();
    let mut text = String::new();
    for path in crate::examples::commands(&place) {
        let ran = place
            .run(path.iter().map(String::as_str).chain(["--help"]))
            .well();
        for line in ran.out.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        // What holds everywhere is shown once.
        let own = ran.out.split("\nEverywhere:").next().unwrap_or_default();
        let example = ran.out.split_once("\nExample:").map_or("", |(_, e)| e);
        let own = if path.is_empty() {
            ran.out.clone()
        } else {
            format!("{}\n\nExample:{example}", own.trim_end())
        };
        text += &format!("==== strand {}\n{}\n", path.join(" "), own.trim_end());
    }
    golden("help", &text);
}

#[test]
fn topics_are_as_agreed() {
    let place = Place::empty();
    for topic in [
        "views",
        "time",
        "space",
        "exit-codes",
        "events",
        "rollback",
        "live",
        "classic",
    ] {
        let ran = place.run(["help", topic]).well();
        golden(&format!("topic-{topic}"), &ran.out);
    }
    // The same page by either way.
    let one = place.line("help checkpoint create").well().out;
    let other = place.line("checkpoint create --help").well().out;
    assert_eq!(one.trim_end(), other.trim_end());
    golden("topic-unknown", &place.line("help viws").failed(2).whole());
}

#[test]
fn manual_pages_and_completions_cover_every_command() {
    let place = Place::empty();
    place.line("man pages/man1").well();
    let pages: Vec<String> = std::fs::read_dir(place.path().join("pages/man1"))
        .expect("made")
        .map(|e| {
            e.expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    for path in crate::examples::commands(&place) {
        let name = [&["strand".to_owned()][..], &path].concat().join("-");
        assert!(pages.contains(&format!("{name}.1")), "{name} has no page");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(["completions", shell]).well().out;
        assert!(
            script.contains("checkpoint") && script.contains("rollback"),
            "{shell}"
        );
    }
    place.line("completions tcsh").failed(2);
}

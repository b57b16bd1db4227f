//! What is kept by the clock and how far back: schedules, history windows, forecasts.

use crate::strand::{Place, golden};
use crate::town::town;

fn session(name: &str, place: &Place, lines: &[&str]) {
    let mut text = String::new();
    for line in lines {
        text += &format!("$ strand {line}\n{}", place.line(line).whole());
    }
    golden(name, &text);
}

#[test]
fn schedules() {
    let place = town();
    // A daemon would take checkpoints meanwhile.
    place.at_rest();
    let lines = [
        "schedule",
        "schedule set pg --every 15m --keep 4h:all,2d:hourly,30d:daily",
        "schedule set pg --every 15m --keep 4h:all,2d:hourly,30d:daily --json",
        "schedule set web --every 1d --keep 365d:weekly",
        "schedule show",
        "schedule show pg --json",
        "schedule show test",
        "log --kind schedule-set",
        "schedule clear web",
        "schedule clear web",
        "undo",
        "checkpoint create auto-20261121T100000Z --volume pg",
        "schedule set pg --every 15 --keep 4h:all",
        "schedule set pg --every 0s --keep 4h:all",
        "schedule set pg --every 15m --keep 2d:hourly,4h:all",
        "schedule set pg --every 15m --keep 2d",
        "schedule set nothing --every 15m --keep 2d:all",
    ];
    session("out-schedule", &place, &lines);
    place.line("verify").well();
}

#[test]
fn history_windows() {
    let lines = [
        "retention",
        "retention set pg --keep 48h",
        "retention set pg --keep 10m",
        "retention set pg --keep 10MiB --keep 1d --yes",
        "retention show pg --json",
        "retention set pg --keep default --yes",
        "retention set pg --keep often",
        "log --kind retention-set",
    ];
    session("out-retention", &town(), &lines);
}

/// The record of the scripted store is seconds long: the numbers of blocks are what they are, the times are not.
#[test]
fn forecasts_tell_what_changed_in_the_record() {
    let place = town();
    let found = place
        .line("space forecast pg --for 3h --json")
        .well()
        .json();
    assert!(found["window_seconds"].as_f64() < Some(600.0));
    assert_eq!(found["windows"], 1);
    let (p50, most) = (&found["p50_bytes"], &found["most_bytes"]);
    assert_eq!(p50, most);
    // All of it was written within the record, for the first time: nothing of that is what a checkpoint at its beginning owns.
    assert!(
        most.as_u64() > found["owned_most_bytes"].as_u64(),
        "{found}"
    );
    let mapped = found["mapped_bytes"].as_u64().expect("a number");
    assert_eq!(found["rule_bytes"], mapped / 10);
    let shown = place.line("space forecast pg --for 3h").well().out;
    assert!(shown.contains("the 10 % rule says"), "{shown}");
    assert!(shown.contains("less than 3h"), "{shown}");
    place.line("space forecast nothing --for 3h").failed(1);
    place.line("space forecast pg --for soon").failed(2);
    place.line("space forecast pg --for 0s").failed(2);

    let plan = "schedule plan pg --every 1s --keep 1d:all";
    let found = place.line(&format!("{plan} --json")).well().json();
    assert!(found["taken"].as_u64() >= Some(1));
    let end = &found["end"];
    assert!(end["owned_bytes"].as_u64() <= found["peak"]["owned_bytes"].as_u64());
    let shown = place.line(plan).well().out;
    assert!(
        shown.starts_with("pg: every 1s, keep 1d:all, had it been set "),
        "{shown}"
    );
    assert!(shown.contains("on average"));
    // Looking changes nothing.
    assert_eq!(place.line("schedule").well().out.lines().count(), 1);
}

#[test]
fn a_checkpoint_that_goes_says_what_that_frees() {
    let place = town();
    let gone = place
        .line("checkpoint remove before-upgrade --yes --json")
        .well()
        .json();
    let row = &gone["removed"][0];
    assert_eq!(row["frees_now_bytes"], 0);
    assert_eq!(row["frees_later_bytes"], row["released_bytes"]);
    place.line("undo").well();
    place.line("checkpoint remove nightly --now").failed(1);
    let told = place
        .line("checkpoint remove nightly --now --yes")
        .well()
        .out;
    assert!(told.starts_with("removed nightly"), "{told}");
    let undo = place.line("undo").whole();
    assert!(!undo.contains("nightly"), "it is gone for good: {undo}");
    place.line("checkpoint show nightly").failed(1);
    place.line("verify --data").well();
}

#[test]
fn what_a_clone_shows_is_not_promised() {
    let place = town();
    let fill = |byte| {
        place
            .feed("write pg /base/16384 --offset 4096", &[byte; 2 * 4096])
            .well();
    };
    fill(8);
    place.line("checkpoint create base --volume pg").well();
    // It begins there, and can go back to it for ever.
    place.line("clone create copy --from pg@base").well();
    fill(9);
    let removed = || {
        let gone = place.line("checkpoint remove base --yes --json").well();
        gone.json()["removed"][0].clone()
    };
    let row = removed();
    assert_eq!(row["released_bytes"], 8192, "{row}");
    assert_eq!(row["frees_later_bytes"], 0, "{row}");
    place.line("undo").well();
    let told = place.line("checkpoint remove base --yes").well().out;
    assert!(told.contains("frees nothing"), "{told}");
    place.line("undo").well();
    place.line("clone remove copy --yes").well();
    let row = removed();
    assert_eq!(row["frees_later_bytes"], 8192, "{row}");
}

#[test]
fn quotas_are_on_the_first_screen() {
    let place = town();
    place
        .line("quota set pg --hard 1GiB --soft 4KiB --yes")
        .well();
    let shown = place.line("status").well().out;
    let line = shown
        .lines()
        .find(|l| l.starts_with("quota"))
        .expect("a line");
    assert!(
        line.contains("pg: its checkpoints own") && line.contains("above soft"),
        "{line}"
    );
    let found = place.line("status --json").well().json();
    assert_eq!(found["quotas"][0]["state"], "above soft");
}

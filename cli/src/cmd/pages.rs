//! The first page, help, manual pages and completions: what the program says about itself.

use super::store::health;
use crate::args::Cli;
use crate::args::store::{Completions, Help, Man};
use crate::context::Context;
use crate::error::{Outcome, on_path, refuse};
use crate::names::nearest;
use crate::output::units;
use crate::topics::{TOPICS, print};
use clap::CommandFactory;
use serde_json::json;
use std::fs;
use strand_engine::{Kind, Refusal};

/// The commands by task: at most 24 lines with the store's line and the rest.
const BY_TASK: &str = "\
start      demo · init DIR · doctor · info · status
volumes    volume create/list/show/rename/remove
in and out import VOL SRC [DEST] · export VIEW PATH DEST
files      ls, cat, stat VIEW [PATH] · write, rm, mkdir, mv, truncate
freeze     checkpoint create/list/show/rename/remove/hold/release/set/clear
compare    checkpoint map NAME [PATH] · checkpoint diff A B · versions VOL PATH
go back    rollback VOL --to CHECKPOINT|seq:N|TIME [--file PATH] [--dry-run]
           undo [VOL] · redo [VOL]
live       mount VIEW DIR [--rw] · umount DIR · serve [--mount VIEW=DIR] · stop
branch     clone create NAME --from VIEW · clone list/remove/reset
space      space show/reclaim/defrag/forecast · job list/wait/cancel
keep       schedule set/show/clear/plan · retention set/show · quota set/show
look back  log [--volume --path --actor --kind --events --follow] · replay
trust      verify [--data] [--anchor SEQ:HASH] · anchor · journal archive/audit
more       completions SHELL · man DIR · help TOPIC · COMMAND --help

VIEW is VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME.
topics: views, time, space, exit-codes, events, rollback, live, classic";

/// `strand` alone.
pub(crate) fn home(context: &mut Context) -> Outcome {
    let line = match context.global.store.clone() {
        None => Err("no store: try strand demo or strand init DIR".to_owned()),
        Some(path) => match context.read_as_it_is() {
            Ok(store) => {
                let (well, health) = health(&store);
                let state = store.state();
                let volumes = units::counted(state.volumes.len() as u64, "volume");
                Ok((
                    path,
                    well,
                    format!("{health}; {volumes}, seq {}", state.boundary),
                ))
            }
            Err(crate::error::Failure::Refused(refusal)) => Err(refusal.to_string()),
            Err(other) => return Err(other),
        },
    };
    if context.out.json {
        return context.out.object(match line {
            Ok((path, well, text)) => {
                json!({"store": path.to_string_lossy(), "healthy": well, "health": text})
            }
            Err(why) => json!({"store": null, "why": why}),
        });
    }
    match line {
        Ok((path, well, text)) => {
            let text = context.out.tinted(well, &text);
            context
                .out
                .line(format!("store {}: {text}", path.display()))?;
        }
        Err(why) => context.out.line(why)?,
    }
    context.out.line("")?;
    context.out.line(BY_TASK)
}

/// `help`
pub(crate) fn help(context: &mut Context, args: &Help) -> Outcome {
    let mut command = Cli::command();
    command.build();
    let Some(first) = args.topic.first() else {
        let text = command.render_help();
        return styled(context, &text);
    };
    if args.topic.len() == 1 && print(&mut context.out, first)? {
        return Ok(());
    }
    let mut found = &mut command;
    for word in &args.topic {
        let names: Vec<String> = found
            .get_subcommands()
            .flat_map(|c| [c.get_name()].into_iter().chain(c.get_all_aliases()))
            .map(str::to_owned)
            .collect();
        match found.find_subcommand_mut(word) {
            Some(next) => found = next,
            None => {
                let known = names
                    .iter()
                    .map(String::as_str)
                    .chain(TOPICS.iter().map(|(name, _)| *name));
                let refusal =
                    Refusal::new(Kind::Usage, format!("there is no topic or command {word}"))
                        .next("strand help");
                return refuse(match nearest(word, known) {
                    Some(near) => refusal.why(format!("the nearest is {near}")),
                    None => refusal,
                });
            }
        }
    }
    let text = found.render_help();
    styled(context, &text)
}

fn styled(context: &mut Context, text: &clap::builder::StyledStr) -> Outcome {
    let text = if context.out.colour {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    context.out.line(text.trim_end())
}

/// `completions`
pub(crate) fn completions(context: &mut Context, args: &Completions) -> Outcome {
    // The generator panics on a writer that fails: it gets one that cannot.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "strand", &mut script);
    context.out.raw(&script)
}

/// `man`
pub(crate) fn man(context: &mut Context, args: &Man) -> Outcome {
    fs::create_dir_all(&args.dir).map_err(on_path("make", &args.dir))?;
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    let mut stack = vec![(String::from("strand"), command)];
    while let Some((name, command)) = stack.pop() {
        for sub in command.get_subcommands() {
            stack.push((format!("{name}-{}", sub.get_name()), sub.clone()));
        }
        let mut page = Vec::new();
        let title: &'static str = name.clone().leak(); // clap keeps names for the life of the process
        clap_mangen::Man::new(command.name(title)).render(&mut page)?;
        let path = args.dir.join(format!("{name}.1"));
        fs::write(&path, page).map_err(on_path("write", &path))?;
        pages.push(format!("{name}.1"));
    }
    pages.sort();
    if context.out.json {
        return context
            .out
            .object(json!({"dir": args.dir.to_string_lossy(), "pages": pages}));
    }
    context.out.line(format!(
        "wrote {} to {}",
        units::counted(pages.len() as u64, "page"),
        args.dir.display()
    ))
}

//! `strand top`: what a store in live use does, as it does it.

mod draw;
mod moment;

use crate::args::live::Top;
use crate::context::{Context, Opened};
use crate::error::{Outcome, refuse};
use crate::interrupt::{self, Listening};
use draw::Screen;
use moment::{Moment, Passed, as_json, owned, passed};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};
use strand_engine::{Kind, Refusal};

/// How often a sleep looks whether it is to end.
const STEP: Duration = Duration::from_millis(100);

/// Runs it.
pub(crate) fn run(context: &mut Context, args: &Top) -> Outcome {
    if args.interval.is_zero() {
        return refuse(
            Refusal::new(Kind::Usage, "an interval of nothing").next("give --interval 1s or more"),
        );
    }
    let store = context.read()?;
    if store.daemon().is_none() {
        return refuse(
            Refusal::new(Kind::NotAllowed, "nobody uses the store live")
                .why("strand top shows what a daemon does, and the store is at rest")
                .next("strand serve, or strand mount VIEW DIR"),
        );
    }
    let _listening = Listening::start();
    let name = context.store_path()?.display().to_string();
    let terminal = !context.out.json && context.out.terminal && io::stdin().is_terminal();
    if terminal {
        on_terminal(context, &store, &name, args)
    } else {
        as_text(context, &store, &name, args)
    }
}

fn look(store: &Opened) -> Outcome<Moment> {
    store.look_again()?;
    match store.daemon() {
        Some(daemon) => Ok(Moment {
            status: daemon.status()?,
            space: owned(&store.state()),
        }),
        None => refuse(Refusal::new(Kind::NotAllowed, "nobody uses the store live")),
    }
}

/// Compares with the look before, which this one replaces.
fn compare(before: &mut Option<Moment>, now: Moment) -> (Moment, Passed) {
    let earlier = before.as_ref().map(|moment| &moment.status.figures);
    let passed = passed(earlier, &now.status.figures);
    *before = Some(now.clone());
    (now, passed)
}

/// One screen after the other, or one JSON object a line.
fn as_text(context: &mut Context, store: &Opened, name: &str, args: &Top) -> Outcome {
    let mut before = None;
    let mut shown = 0;
    loop {
        let (moment, passed) = compare(&mut before, look(store)?);
        if context.out.json {
            context.out.object(as_json(&moment, &passed))?;
        } else {
            let screen = Screen {
                store: name,
                moment: &moment,
                passed: &passed,
                keys: false,
                colour: false,
            };
            if shown > 0 {
                context.out.line("")?;
            }
            for line in screen.lines() {
                context.out.line(line)?;
            }
        }
        context.out.flush()?;
        shown += 1;
        let until = Instant::now() + args.interval;
        while args.count.is_none_or(|count| shown < count) && Instant::now() < until {
            if interrupt::asked() {
                return Ok(());
            }
            std::thread::sleep(STEP.min(until.saturating_duration_since(Instant::now())));
        }
        if interrupt::asked() || args.count.is_some_and(|count| shown >= count) {
            return Ok(());
        }
    }
}

fn on_terminal(context: &Context, store: &Opened, name: &str, args: &Top) -> Outcome {
    let mut terminal = ratatui::try_init()?;
    let ended = draw_until_asked(context, store, name, args, &mut terminal);
    // The terminal is given back whatever happened; what went wrong is told on the user's own screen.
    ratatui::restore();
    ended
}

fn draw_until_asked(
    context: &Context,
    store: &Opened,
    name: &str,
    args: &Top,
    terminal: &mut ratatui::DefaultTerminal,
) -> Outcome {
    let mut before = None;
    let mut shown = 0;
    loop {
        let (moment, passed) = compare(&mut before, look(store)?);
        let screen = Screen {
            store: name,
            moment: &moment,
            passed: &passed,
            keys: true,
            colour: context.out.colour,
        };
        terminal.draw(|frame| frame.render_widget(&screen, frame.area()))?;
        shown += 1;
        if args.count.is_some_and(|count| shown >= count) {
            return Ok(());
        }
        let until = Instant::now() + args.interval;
        while Instant::now() < until {
            let wait = STEP.min(until.saturating_duration_since(Instant::now()));
            if interrupt::asked() || (event::poll(wait)? && ends(&event::read()?)) {
                return Ok(());
            }
        }
    }
}

/// `q`, Escape and Ctrl-C end it: in raw mode the terminal sends no signal.
fn ends(event: &Event) -> bool {
    match event {
        Event::Key(key) => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        },
        _ => false,
    }
}

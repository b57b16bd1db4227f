//! PostgreSQL on the mount, beside one on the disk below.

use super::bed::{Bed, VOLUME};
use super::server::{Installation, Server};
use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut bed = Bed::new(setting)?;
    let installation = Installation::new(&bed.path().join("scratch"))?;
    let data = [
        installation.initialise(&bed.mounted())?,
        installation.initialise(&bed.plain())?,
    ];
    let servers = [
        Server::start(&installation, "mounted", &data[0])?,
        Server::start(&installation, "plain", &data[1])?,
    ];
    for server in &servers {
        server.fill(setting.pick(20, 2))?;
        server.rate(8, 2)?;
    }
    let mut figures = Vec::new();
    for clients in [8, 1] {
        figures.push(beside_ext4(setting, &servers, clients)?);
    }
    figures.push(with_checkpoints(setting, &bed, &servers[0])?);
    figures.push(after_clones(setting, &bed, &servers[0])?);
    figures.push(a_clone_answers(
        setting,
        &mut bed,
        &installation,
        &servers[0],
    )?);
    drop(servers);
    Ok(figures)
}

fn seconds(setting: &Setting) -> u32 {
    setting.pick(10, 3)
}

/// Two ways of doing the same, measured in turns: a round's medians are compared.
struct InTurns {
    ratios: Vec<f64>,
    rates: [Vec<f64>; 2],
}

impl InTurns {
    /// `rate` measures one way (0 is ours, 1 what it is compared with) in a round; who begins changes from round to round.
    fn measure(
        setting: &Setting,
        mut rate: impl FnMut(usize, usize) -> Result<f64, Failure>,
    ) -> Result<Self, Failure> {
        let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
        for round in 0..setting.pick(5, 2) {
            let mut found = [0.0; 2];
            for way in [round % 2, 1 - round % 2] {
                found[way] = rate(way, round)?;
                rates[way].push(found[way]);
            }
            ratios.push(found[0] / found[1]);
        }
        Ok(Self { ratios, rates })
    }

    fn figure(&self, name: impl Into<String>, least: f64) -> Figure {
        let [ours, other] = &self.rates;
        Figure::new(name, Goal::AtLeast(least), Unit::Times, &self.ratios).beside(format!(
            "{} beside {}",
            Unit::PerSecond.show(median(ours)),
            Unit::PerSecond.show(median(other))
        ))
    }
}

fn beside_ext4(setting: &Setting, servers: &[Server; 2], clients: u32) -> Result<Figure, Failure> {
    let measured = InTurns::measure(setting, |way, _| {
        servers[way].settle()?;
        servers[way].rate(clients, seconds(setting))
    })?;
    let plural = if clients == 1 { "client" } else { "clients" };
    Ok(measured.figure(format!("pgbench, {clients} {plural}, beside ext4"), 0.9))
}

/// Runs pgbench and, once a second meanwhile, a command on the store.
fn with_commands(
    bed: &Bed,
    server: &Server,
    seconds: u32,
    mut command: impl FnMut() -> Vec<String> + Send,
) -> Result<f64, Failure> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let commands = scope.spawn(|| -> Result<(), Failure> {
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                bed.strand(command())?;
                while !done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(1) {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            Ok(())
        });
        let rate = server.rate(8, seconds);
        done.store(true, Ordering::Relaxed);
        commands.join().map_err(|_| "the commands panicked")??;
        rate
    })
}

fn with_checkpoints(setting: &Setting, bed: &Bed, server: &Server) -> Result<Figure, Failure> {
    let mut taken = 0;
    let measured = InTurns::measure(setting, |way, _| {
        server.settle()?;
        if way == 1 {
            return server.rate(8, seconds(setting));
        }
        with_commands(bed, server, seconds(setting), || {
            taken += 1;
            let name = format!("c{taken}");
            ["checkpoint", "create", &name, "--volume", VOLUME]
                .map(String::from)
                .to_vec()
        })
    })?;
    let name = format!("pgbench, 8 clients, a checkpoint a second ({taken}), beside none");
    Ok(measured.figure(name, 0.95))
}

fn after_clones(setting: &Setting, bed: &Bed, server: &Server) -> Result<Figure, Failure> {
    let measured = InTurns::measure(setting, |way, round| {
        server.settle()?;
        if way == 0 {
            let name = format!("clone{round}");
            bed.strand(["clone", "create", &name, "--from", VOLUME])?;
        }
        server.rate(8, seconds(setting))
    })?;
    let name = "pgbench, 8 clients, right after a clone, beside before";
    Ok(measured.figure(name, 0.95))
}

/// From the wish for a clone of a database at work to the first answer of a server on it.
fn a_clone_answers(
    setting: &Setting,
    bed: &mut Bed,
    installation: &Installation,
    server: &Server,
) -> Result<Figure, Failure> {
    let mut times = Vec::new();
    for round in 0..setting.pick(5, 2) {
        server.settle()?;
        let mut load = server.load(4)?;
        thread::sleep(Duration::from_secs(2));
        let (clone, name) = (format!("answer{round}"), format!("answer-{round}"));
        let begun = Instant::now();
        let answered = (|| -> Result<f64, Failure> {
            bed.strand(["clone", "create", &clone, "--from", VOLUME])?;
            let data = bed.mount(&clone, &name, &[])?.join("data");
            fs::remove_file(data.join("postmaster.pid"))?;
            let second = Server::start(installation, &name, &data)?;
            let branches = second.query("SELECT count(*) FROM pgbench_branches")?;
            let time = begun.elapsed().as_secs_f64();
            drop(second);
            bed.unmount(&name)?;
            if branches.trim() == setting.pick("20", "2") {
                Ok(time)
            } else {
                Err(format!("the clone has {branches} branches").into())
            }
        })();
        load.kill()?;
        load.wait()?;
        times.push(answered?);
    }
    let goal = Goal::AtMost(2.0);
    let name = "clone of PostgreSQL at work, to its first answer";
    Ok(Figure::new(name, goal, Unit::Seconds, &times)
        .beside("2 s of pgbench since PostgreSQL's own checkpoint to recover"))
}

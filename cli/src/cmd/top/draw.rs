//! The screen of `strand top`: the same text on a terminal, in a pipe and in a test.

use super::moment::{Moment, Passed};
use crate::output::units;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table, Widget};

/// The screen where there is no terminal to ask.
pub(super) const PLAIN: Rect = Rect {
    x: 0,
    y: 0,
    width: 80,
    height: 24,
};

/// The whole screen.
pub(super) struct Screen<'a> {
    pub(super) store: &'a str,
    pub(super) moment: &'a Moment,
    pub(super) passed: &'a Passed,
    /// A line at the foot for those who can press keys.
    pub(super) keys: bool,
    pub(super) colour: bool,
}

impl Screen<'_> {
    /// The lines of a screen of 80 columns, as text.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut buffer = Buffer::empty(PLAIN);
        self.render(PLAIN, &mut buffer);
        let mut lines: Vec<String> = buffer
            .content
            .chunks(usize::from(PLAIN.width))
            .map(|row| {
                let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
                line.trim_end().to_owned()
            })
            .collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn bold(&self) -> Style {
        if self.colour {
            Style::new().add_modifier(Modifier::BOLD)
        } else {
            Style::new()
        }
    }

    fn head(&self) -> Vec<Line<'static>> {
        let (status, passed) = (&self.moment.status, self.passed);
        let mounts = units::counted(status.mounts.len() as u64, "mount");
        let flush = match (passed.flush_micros, passed.flush_p99) {
            (None, _) => "none".to_owned(),
            (Some(mean), Some(p99)) => {
                format!("mean {}, 99 % below {}", micros(mean), micros(p99 as f64))
            }
            (Some(mean), None) => format!("mean {}", micros(mean)),
        };
        let group = passed.group.map_or("none".to_owned(), |mean| {
            format!(
                "mean {mean:.1}, largest ever {}",
                status.figures.largest_group
            )
        });
        vec![
            Line::styled(
                format!("strand top  {}  pid {}, {mounts}", self.store, status.pid),
                self.bold(),
            ),
            Line::raw(format!(
                "position    seq {}, durable to {}; {} not flushed yet",
                status.position,
                status.flushed,
                units::size(status.unflushed_bytes)
            )),
            Line::raw(format!(
                "operations  {:.0}/s; read {}/s, written {}/s",
                passed.operations,
                bytes(passed.read_bytes),
                bytes(passed.written_bytes)
            )),
            Line::raw(format!("flushes     {:.0}/s; {flush}", passed.flushes)),
            Line::raw(format!("group       {group}")),
        ]
    }
}

impl Widget for &Screen<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let foot = u16::from(self.keys);
        let [head, _, tables, _, slow, keys] = Layout::vertical([
            Constraint::Length(5),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
            Constraint::Max(7),
            Constraint::Length(foot),
        ])
        .areas(area);
        Paragraph::new(self.head()).render(head, buffer);
        let [kinds, _, space] = Layout::horizontal([
            Constraint::Fill(1),
            Constraint::Length(2),
            Constraint::Fill(1),
        ])
        .areas(tables);
        let rows = self.passed.kinds.iter().map(|kind| {
            let numbers = [
                format!("{:>8.0}", kind.per_second),
                format!("{:>8}", micros(kind.micros)),
                format!("{:>6}", kind.errors),
            ];
            Row::new(std::iter::once(kind.name.clone()).chain(numbers))
        });
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(6),
        ];
        Table::new(rows, widths)
            .header(Row::new(["OPERATION", "     1/S", "    MEAN", "ERRORS"]).style(self.bold()))
            .render(kinds, buffer);
        let rows = self.moment.space.iter().map(|owned| {
            let size = if owned.settling {
                "settling".to_owned()
            } else {
                units::size(owned.bytes)
            };
            Row::new([owned.checkpoint.clone(), format!("{size:>10}")])
        });
        Table::new(rows, [Constraint::Fill(1), Constraint::Length(10)])
            .header(Row::new(["CHECKPOINT", "     OWNED"]).style(self.bold()))
            .render(space, buffer);
        let rows = self.passed.slow.iter().map(|one| {
            let file = one.path.as_deref().map_or_else(
                || format!("inode {}", one.ino),
                |path| units::path(path.as_bytes()),
            );
            let took = micros(one.micros as f64);
            Row::new([
                units::short_time(one.at),
                one.name.clone(),
                format!("{took:>8}"),
                one.actor.clone(),
                file,
            ])
        });
        let widths = [
            Constraint::Length(19),
            Constraint::Length(9),
            Constraint::Length(8),
            Constraint::Length(16),
            Constraint::Fill(1),
        ];
        Table::new(rows, widths)
            .header(
                Row::new(["SLOWEST OF LATE", "WHAT", "    TOOK", "WHO", "FILE"]).style(self.bold()),
            )
            .render(slow, buffer);
        if self.keys {
            Line::raw("q: end").render(keys, buffer);
        }
    }
}

fn bytes(number: f64) -> String {
    units::size(number as u64)
}

/// A time given in µs.
fn micros(number: f64) -> String {
    if number < 1000.0 {
        format!("{number:.0} µs")
    } else if number < 1_000_000.0 {
        format!("{:.1} ms", number / 1000.0)
    } else {
        format!("{:.1} s", number / 1_000_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::moment::{Owned, Rate};
    use super::*;
    use strand_serve::control::Status;
    use strand_serve::{Figures, SlowFigures};

    fn screen_of(kinds: usize) -> Vec<String> {
        let figures = Figures {
            up_millis: 60_000,
            ops: Vec::new(),
            read_bytes: 0,
            written_bytes: 0,
            flushes: 0,
            flush_micros: 0,
            flush_buckets: Vec::new(),
            grouped: 0,
            largest_group: 12,
            held_back: 0,
            nodes: 0,
            handles: 0,
            slow: Vec::new(),
        };
        let moment = Moment {
            status: Status {
                program: "strand 0.1.0".into(),
                pid: 4711,
                since: 0,
                position: 48_211,
                flushed: 48_200,
                unflushed_bytes: 81_920,
                clients: 1,
                mounts: Vec::new(),
                figures,
            },
            space: vec![
                Owned {
                    checkpoint: "before-upgrade".into(),
                    bytes: 5 << 30,
                    settling: false,
                },
                Owned {
                    checkpoint: "auto-before-48100".into(),
                    bytes: 0,
                    settling: true,
                },
            ],
        };
        let slow = SlowFigures {
            name: "fsync".into(),
            volume: 1,
            ino: 77,
            path: Some("base/5/16384".into()),
            micros: 12_345,
            at: 1_800_000_000_000_000_000,
            actor: "postgres[812]".into(),
        };
        let passed = Passed {
            seconds: 1.0,
            operations: 1234.0,
            read_bytes: 4096.0,
            written_bytes: 12e6,
            flushes: 420.0,
            flush_micros: Some(180.0),
            flush_p99: Some(1024),
            group: Some(2.5),
            kinds: (0..kinds)
                .map(|n| Rate {
                    name: format!("kind{n}"),
                    per_second: 900.0,
                    micros: 21.5,
                    errors: 3,
                })
                .collect(),
            slow: vec![slow; 30],
        };
        let screen = Screen {
            store: "/srv/tank",
            moment: &moment,
            passed: &passed,
            keys: false,
            colour: false,
        };
        screen.lines()
    }

    #[test]
    fn the_screen_says_it_all_in_eighty_columns() {
        let lines = screen_of(3).join("\n");
        for wanted in [
            "strand top  /srv/tank  pid 4711",
            "seq 48211, durable to 48200; 80.0 KiB not flushed yet",
            "1234/s; read 4.0 KiB/s, written 11.4 MiB/s",
            "420/s; mean 180 µs, 99 % below 1.0 ms",
            "mean 2.5, largest ever 12",
            "before-upgrade",
            "5.0 GiB",
            "settling",
            "12.3 ms",
            "base/5/16384",
        ] {
            assert!(lines.contains(wanted), "{wanted} in\n{lines}");
        }
    }

    #[test]
    fn more_than_fits_is_cut() {
        assert!(screen_of(200).len() <= usize::from(PLAIN.height));
    }
}

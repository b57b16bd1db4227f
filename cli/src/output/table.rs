//! Aligned tables. On a terminal the widest text column gives way so that a row fits; into a pipe nothing is cut.

use super::Out;
use crate::error::Outcome;

/// How a column stands.
#[derive(Copy, Clone, Eq, PartialEq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
    /// Text that may be cut with `…` where a terminal is too narrow.
    Flexible,
}

/// Rows under a head.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// The narrowest terminal that tables are laid out for, in columns.
const NARROWEST: usize = 80;

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// One more row; as many cells as columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(
            cells.len(),
            self.columns.len(),
            "a row has a cell for every column"
        );
        self.rows.push(cells);
    }

    /// Says whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints it.
    pub(crate) fn print(&self, out: &mut Out) -> Outcome {
        let width = if out.terminal {
            Some(terminal_width())
        } else {
            None
        };
        for (i, line) in self.lines(width).into_iter().enumerate() {
            if i == 0 {
                let head = out.bold(&line);
                out.line(head)?;
            } else {
                out.line(line)?;
            }
        }
        Ok(())
    }

    fn lines(&self, width: Option<usize>) -> Vec<String> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| name.len()).collect();
        for row in &self.rows {
            for (i, cell) in row.iter().enumerate() {
                widths[i] = widths[i].max(cell.chars().count());
            }
        }
        if let Some(width) = width {
            let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            let mut excess = total.saturating_sub(width);
            for i in (0..widths.len())
                .rev()
                .filter(|i| self.columns[*i].1 == Align::Flexible)
            {
                let give = excess.min(widths[i].saturating_sub(self.columns[i].0.len().max(8)));
                widths[i] -= give;
                excess -= give;
            }
        }
        let head = self
            .columns
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect::<Vec<_>>();
        std::iter::once(&head)
            .chain(&self.rows)
            .map(|row| self.lay(row, &widths))
            .collect()
    }

    fn lay(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            if i > 0 {
                line.push_str("  ");
            }
            let length = cell.chars().count();
            let cell = if length > widths[i] {
                cell.chars()
                    .take(widths[i].saturating_sub(1))
                    .chain(['…'])
                    .collect()
            } else {
                cell.clone()
            };
            let pad = " ".repeat(widths[i].saturating_sub(length));
            match self.columns[i].1 {
                Align::Right => line.extend([pad.as_str(), &cell]),
                Align::Left | Align::Flexible => line.extend([cell.as_str(), &pad]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The columns of the terminal on standard output.
pub(crate) fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(NARROWEST, |w| usize::from(w.ws_col).max(NARROWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_the_flexible_one_gives_way() {
        let mut table = Table::new(&[("NAME", Align::Flexible), ("SIZE", Align::Right)]);
        table.row(vec!["x".repeat(30), "1".into()]);
        table.row(vec!["y".into(), "1,000".into()]);
        assert_eq!(table.lines(None)[2], format!("y{}  1,000", " ".repeat(29)));
        let narrow = table.lines(Some(20));
        assert!(narrow.iter().all(|l| l.chars().count() <= 20), "{narrow:?}");
        assert!(narrow[1].contains('…'));
    }
}

//! Names that were mistyped: the nearest one there is.

/// The name among `known` that is most like `wanted`, if any is like it at all.
pub(crate) fn nearest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted_lower = wanted.to_ascii_lowercase();
    let limit = 1 + wanted.chars().count().min(12) / 4;
    known
        .into_iter()
        .map(|name| {
            let prefix = wanted.len() >= 3 && name.starts_with(wanted);
            (
                if prefix {
                    1
                } else {
                    distance(&wanted_lower, &name.to_ascii_lowercase())
                },
                name,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, name)| (*distance, *name))
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap neighbours) from `a` to `b`. Names are short (127 bytes at most): quadratic is fine.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(256).collect(), b.chars().take(256).collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let known = ["before-upgrade", "monday", "pg"];
        assert_eq!(nearest("before-upgarde", known), Some("before-upgrade"));
        assert_eq!(nearest("gp", known), Some("pg"));
        assert_eq!(nearest("before", known), Some("before-upgrade"));
        assert_eq!(nearest("mondy", known), Some("monday"));
        assert_eq!(nearest("nightly", known), None);
        assert_eq!(distance("", "abc"), 3);
    }
}

//! `strand checkpoint map` and `checkpoint diff`: what a checkpoint holds, and what changed between two.

use crate::args::checkpoint::{Diff, Map};
use crate::context::{Context, checkpoint, list, volume};
use crate::error::{Outcome, refuse};
use crate::output::table::{Align, Table};
use crate::output::units;
use crate::tree::{self, Last};
use crate::view::{self, View};
use serde_json::{Value, json};
use std::sync::Arc;
use strand_engine::{Body, Fileset, Ino, Kind, Refusal, State, Store, Volume};
use strand_replay::diff::{DiffKind, FileDiff, RangeKind, diff as compare};
use strand_replay::map::{CopyOuts, MapKind, MapRange, checkpoint_map};

/// Ranges of one file that are listed for people; `--json` has them all.
const RANGES_SHOWN: usize = 64;

/// `checkpoint map`
pub(crate) fn map(context: &mut Context, args: Map) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let (wanted, name) = match args.name.split_once('@') {
        Some((volume, name)) => (Some(volume), name),
        None => (None, args.name.as_str()),
    };
    let c = checkpoint(&state, name)?;
    let members: Vec<Arc<Volume>> = match wanted {
        Some(name) => vec![Arc::clone(volume(&state, name)?)],
        None => c
            .volumes
            .iter()
            .filter_map(|id| state.volume(*id))
            .cloned()
            .collect(),
    };
    let mut files: Vec<(Arc<Volume>, Ino, Vec<u8>)> = Vec::new();
    for member in members {
        let Some(image) = member.images.get(&c.id) else {
            let why = format!("it keeps no image of {}", member.name);
            return refuse(
                Refusal::new(Kind::NotFound, format!("cannot map {}", args.name)).why(why),
            );
        };
        match &args.path {
            Some(path) => match tree::find(&image.root, path, Last::Follow) {
                Ok((ino, inode)) => collect(&image.root, ino, &inode.body, &member, &mut files),
                Err(error) if wanted.is_some() || c.volumes.len() == 1 => return Err(error),
                Err(_) => {}
            },
            None => {
                let root = image.root.root;
                if let Some(inode) = image.root.inode(root) {
                    collect(&image.root, root, &inode.body, &member, &mut files);
                }
            }
        }
    }
    if files.is_empty() {
        return refuse(
            Refusal::new(Kind::NotFound, format!("{name} has no such file"))
                .next(format!("strand ls -R VOL@{name}")),
        );
    }
    let single = args.path.is_some() && files.len() == 1;
    let mut rows = Vec::new();
    for (member, ino, path) in &files {
        // Looking up who passed what walks the journal: for one file, not for all of them.
        let causes = if single {
            Some(CopyOuts::scan(&store, member.id, c.id, *ino)?)
        } else {
            None
        };
        let ranges =
            checkpoint_map(&state, member.id, c.id, *ino, causes.as_ref()).unwrap_or_default();
        if context.out.json {
            rows.push(json!({"volume": member.name.as_ref(), "path": units::rooted(path), "ino": ino.0, "ranges": ranges}));
        } else {
            let head = context
                .out
                .bold(&format!("{}@{name}:{}", member.name, units::rooted(path)));
            context.out.line(head)?;
            map_table(&ranges).print(&mut context.out)?;
        }
    }
    if context.out.json {
        return context
            .out
            .object(json!({"checkpoint": name, "files": rows}));
    }
    Ok(())
}

fn collect(
    tree: &Fileset,
    ino: Ino,
    body: &Body,
    volume: &Arc<Volume>,
    into: &mut Vec<(Arc<Volume>, Ino, Vec<u8>)>,
) {
    let mut stack = vec![(ino, body.clone(), tree.path_of(ino).unwrap_or_default())];
    let first = into.len();
    while let Some((ino, body, path)) = stack.pop() {
        match body {
            Body::File(_) => into.push((Arc::clone(volume), ino, path)),
            Body::Dir(names) => {
                for (name, child) in &names {
                    if let Some(inode) = tree.inode(*child) {
                        let path = if path.is_empty() {
                            name.to_vec()
                        } else {
                            [path.as_slice(), b"/", name].concat()
                        };
                        stack.push((*child, inode.body.clone(), path));
                    }
                }
            }
            _ => {}
        }
    }
    into[first..].sort_by(|a, b| a.2.cmp(&b.2));
}

fn map_table(ranges: &[MapRange]) -> Table {
    let mut table = Table::new(&[
        ("  BLOCKS", Align::Right),
        ("COUNT", Align::Right),
        ("SIZE", Align::Right),
        ("WHOSE", Align::Flexible),
    ]);
    for range in ranges {
        let whose = match &range.kind {
            MapKind::Own { copied_out, crcs } => {
                let crc = match crcs.as_slice() {
                    [one] => format!(", crc {one:08x}"),
                    [first, .., last] => format!(", crc {first:08x} … {last:08x}"),
                    [] => String::new(),
                };
                match copied_out {
                    Some(by) => format!(
                        "own: {} at seq {}{crc}",
                        strand_replay::log::cause_name(by.cause),
                        by.seq
                    ),
                    None => format!("own{crc}"),
                }
            }
            MapKind::SharedWithLive => "shared with live".into(),
            MapKind::Via { checkpoint } => format!("via {checkpoint}"),
            MapKind::Marked => "changed since, not kept".into(),
            MapKind::Hole => "hole".into(),
        };
        let last = range.block + range.count.saturating_sub(1);
        let blocks = if last == range.block {
            range.block.to_string()
        } else {
            format!("{}–{last}", range.block)
        };
        table.row(vec![
            format!("  {blocks}"),
            units::count(range.count),
            units::blocks_size(range.count),
            whose,
        ]);
    }
    table
}

/// `checkpoint diff`
pub(crate) fn diff(context: &mut Context, args: Diff) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let pairs = pairs(context, &store, &state, &args)?;
    let mut rows = Vec::new();
    let mut changed = 0;
    for (before, after) in &pairs {
        let files = compare(&before.open(&store)?, &after.open(&store)?);
        changed += files.len();
        if context.out.json {
            rows.push(json!({"before": before.json(), "after": after.json(), "files": files.iter().map(rooted_json).collect::<Vec<_>>()}));
            continue;
        }
        if pairs.len() > 1 {
            let head = context.out.bold(&after.volume.name);
            context.out.line(head)?;
        }
        for file in &files {
            print_file(context, file)?;
        }
    }
    if context.out.json {
        return context.out.object(json!({"pairs": rows}));
    }
    if changed == 0 {
        context.out.line("no differences")?;
    }
    Ok(())
}

/// What is compared with what: each side names a checkpoint or a view; a bare checkpoint stands for all its volumes.
fn pairs(
    context: &Context,
    store: &Store,
    state: &State,
    args: &Diff,
) -> Outcome<Vec<(View, View)>> {
    let side = |text: &str| -> Outcome<(Option<View>, Option<view::Image>)> {
        if text.contains('@')
            || state.checkpoint_named(text).is_none() && state.volume_named(text).is_some()
        {
            return Ok((Some(view::resolve(context, store, text)?), None));
        }
        Ok((
            None,
            Some(view::resolve_image(context, store, state, text)?),
        ))
    };
    let (before, after) = (side(&args.before)?, side(&args.after)?);
    let of = |volume: &Arc<Volume>, image: &view::Image| View {
        volume: Arc::clone(volume),
        image: Some(image.clone()),
    };
    let keeps = |volume: &Volume, image: &view::Image| match image {
        view::Image::Checkpoint(c) => c.volumes.contains(&volume.id),
        view::Image::Position(..) => true,
    };
    let none = |name: &str, other: &str| {
        refuse(
            Refusal::new(
                Kind::NotFound,
                format!("cannot compare {} with {}", args.before, args.after),
            )
            .why(format!("{name} keeps no image of {other}"))
            .next("strand checkpoint show NAME"),
        )
    };
    match (before, after) {
        ((Some(a), _), (Some(b), _)) => {
            if a.volume.id != b.volume.id && a.volume.origin.is_none() && b.volume.origin.is_none()
            {
                return refuse(
                    Refusal::new(
                        Kind::Invalid,
                        format!("cannot compare {} with {}", args.before, args.after),
                    )
                    .why("they are views of two volumes that have nothing in common"),
                );
            }
            Ok(vec![(a, b)])
        }
        ((Some(a), _), (_, Some(image))) => {
            if !keeps(&a.volume, &image) {
                return none(&args.after, &a.volume.name);
            }
            let b = of(&a.volume, &image);
            Ok(vec![(a, b)])
        }
        ((_, Some(image)), (Some(b), _)) => {
            if !keeps(&b.volume, &image) {
                return none(&args.before, &b.volume.name);
            }
            Ok(vec![(of(&b.volume, &image), b)])
        }
        ((_, Some(a)), (_, Some(b))) => {
            let common: Vec<_> = state
                .volumes
                .values()
                .filter(|v| keeps(v, &a) && keeps(v, &b))
                .collect();
            if common.is_empty() {
                return none(
                    &args.after,
                    &list(member_names(state, &a).iter().map(AsRef::as_ref)),
                );
            }
            Ok(common.into_iter().map(|v| (of(v, &a), of(v, &b))).collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn member_names(state: &State, image: &view::Image) -> Vec<Arc<str>> {
    match image {
        view::Image::Checkpoint(c) => c
            .volumes
            .iter()
            .filter_map(|id| state.volume(*id))
            .map(|v| Arc::clone(&v.name))
            .collect(),
        view::Image::Position(..) => Vec::new(),
    }
}

/// A row of replay's, its paths from the root as everywhere else.
fn rooted_json(file: &FileDiff) -> Value {
    let mut value = serde_json::to_value(file).unwrap_or(Value::Null);
    value["path"] = units::rooted(&file.path).into();
    if let DiffKind::Renamed { from } = &file.kind {
        value["from"] = units::rooted(from).into();
    }
    value
}

fn print_file(context: &mut Context, file: &FileDiff) -> Outcome {
    let path = units::rooted(&file.path);
    let sizes = if file.size_before == file.size_after {
        units::size(file.size_after)
    } else {
        format!(
            "{} → {}",
            units::size(file.size_before),
            units::size(file.size_after)
        )
    };
    let line = match &file.kind {
        DiffKind::Added => format!("+ {path}  {}", units::size(file.size_after)),
        DiffKind::Removed => format!("- {path}  {}", units::size(file.size_before)),
        DiffKind::Changed => format!("~ {path}  {sizes}"),
        DiffKind::Renamed { from } => format!("> {path}  was {}", units::rooted(from)),
        DiffKind::Attributes => format!("@ {path}  attributes"),
    };
    context.out.line(line)?;
    if matches!(file.kind, DiffKind::Added | DiffKind::Removed) {
        return Ok(());
    }
    for range in file.ranges.iter().take(RANGES_SHOWN) {
        let what = match range.kind {
            RangeKind::Changed => "changed",
            RangeKind::Extended => "extended",
            RangeKind::Hole => "hole now",
        };
        context.out.line(format!(
            "    {what:<8}  {:>12}  {}",
            range.offset,
            units::size(range.length)
        ))?;
    }
    if file.ranges.len() > RANGES_SHOWN {
        context.out.line(format!(
            "    … {} more: --json has them all",
            units::counted((file.ranges.len() - RANGES_SHOWN) as u64, "range")
        ))?;
    }
    Ok(())
}

//! Every version that a tree maps is to be found: its space was not given back, and where it was moved, the copy is of that version. What lies before the
//! horizon is read here too: the frames that wrote it have moved away.

use super::place::Trees;
use super::report::{Finding, Findings, Report};
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::last_verify::{BadVersion, MAX_BAD};
use strand_engine::marks::{each_version, roots_of};
use strand_engine::{BLOCK, Error, Store};
use strand_journal::{BLOCK_SIZE, BlockAddr};

/// Findings of this sort beyond so many are counted together.
const MOST_TOLD: usize = 16;

/// Looks where the versions of all roots lie; reads those that were moved where `data` says so.
pub(crate) fn check(
    store: &Store,
    data: bool,
    findings: &mut Findings,
    report: &mut Report,
) -> Result<(), Error> {
    let state = store.state();
    let mut roots = Vec::new();
    roots_of(&state, &mut roots);
    let per_segment = u64::from(store.journal().blocks_per_segment());
    let there: Vec<u64> = store.journal().reader().segments();
    // Beside a writer, segments may go while this runs, by events that are not seen yet.
    let beside = store.opening().recovery.is_none();
    let is_there =
        |lies: &BlockAddr| beside || there.binary_search(&(lies.0 / per_segment)).is_ok();
    let mut lost = 0_u64;
    let mut first_lost = None;
    let origin = store.journal().reader().origin();
    let horizon = origin.segment * per_segment + u64::from(origin.block);
    let (mut moved, mut older) = (0, 0);
    // By place, so that they are read in the order in which they lie.
    let mut apart: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
    each_version(&roots, &mut || true, &mut |version| {
        let birth = version.addr();
        match state.places.find(birth).filter(is_there) {
            None => {
                lost += 1;
                first_lost = first_lost.or(Some(birth.0));
            }
            Some(lies) => {
                let elsewhere = lies != birth;
                if (elsewhere || lies.0 < horizon)
                    && apart.insert(lies.0, (birth.0, version.crc())).is_none()
                {
                    moved += u64::from(elsewhere);
                    older += u64::from(lies.0 < horizon);
                }
            }
        }
    });
    if let Some(birth) = first_lost {
        let what = format!(
            "{lost} blocks that a tree shows are not there any more; the first was written at segment {}, offset {}",
            birth / per_segment,
            birth % per_segment * BLOCK
        );
        findings.push(Finding::damage("moved", what));
    }
    (report.totals.moved, report.totals.older) = (moved, older);
    if data {
        read(store, &apart, findings, report)?;
        report.totals.bytes_read += apart.len() as u64 * BLOCK;
    }
    Ok(())
}

/// A version that cannot be read where it lies.
struct Lost {
    lies: u64,
    birth: u64,
    what: &'static str,
}

fn read(
    store: &Store,
    apart: &BTreeMap<u64, (u64, u32)>,
    findings: &mut Findings,
    report: &mut Report,
) -> Result<(), Error> {
    let mut bytes = [0; BLOCK_SIZE];
    let mut bad = Vec::new();
    for (&lies, &(birth, crc)) in apart {
        let what = match store.journal().read_block(BlockAddr(lies), &mut bytes) {
            Ok(()) if crc32fast::hash(&bytes) == crc => continue,
            Ok(()) if birth != lies => "is not a copy of the block it was moved for",
            Ok(()) => "is not what was written",
            // Moved on since.
            Err(strand_journal::Error::Gone { .. }) => continue,
            Err(error) if error.is_unreadable() => "cannot be read",
            Err(error) => return Err(error.into()),
        };
        bad.push(Lost { lies, birth, what });
    }
    // The look at the frames' payloads may have told of a copy already.
    let known: BTreeSet<u64> = report.bad_versions.iter().map(|bad| bad.addr).collect();
    bad.retain(|lost| !known.contains(&lost.birth));
    if !bad.is_empty() {
        tell(store, &bad, findings, report);
    }
    Ok(())
}

/// Says whose blocks they are, and notes them: an image that shows one is no target.
fn tell(store: &Store, bad: &[Lost], findings: &mut Findings, report: &mut Report) {
    let per_segment = u64::from(store.journal().blocks_per_segment());
    let trees = Trees::showing(&store.state(), bad.iter().map(|lost| lost.birth));
    for (told, Lost { lies, birth, what }) in bad.iter().enumerate() {
        let (segment, offset) = (lies / per_segment, lies % per_segment * BLOCK);
        let of = trees.first_place(*birth);
        if told < MOST_TOLD {
            let what = format!("a block that was born at address {birth} {what}");
            let mut finding = Finding::damage("moved", what).on_disk(segment, offset);
            if let Some(of) = of {
                finding.volume = Some(trees.volume(of.volume));
                finding.file = Some(trees.file(of.volume, of.ino));
                finding.block = Some(of.block);
            }
            finding.shown_by = trees.shown_by(*birth);
            findings.push(finding);
        }
        let Some(of) = of else { continue };
        if report.bad_versions.len() == MAX_BAD {
            report.more_bad_versions += 1;
            continue;
        }
        report.bad_versions.push(BadVersion {
            addr: *birth,
            segment,
            offset,
            ino: of.ino,
            block: of.block,
        });
    }
    if let Some(first) = bad.get(MOST_TOLD) {
        let more = bad.len() - MOST_TOLD;
        let what =
            format!("{more} more blocks cannot be read, or are not what was written, or moved");
        let (segment, offset) = (first.lies / per_segment, first.lies % per_segment * BLOCK);
        let mut finding = Finding::damage("moved", what).on_disk(segment, offset);
        finding.blocks = more as u64;
        findings.push(finding);
    }
}

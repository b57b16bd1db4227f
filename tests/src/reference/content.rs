//! The bytes of files: writes, holes, sizes, sharing, extended attributes.

use super::tree::{BLOCK, Block, Ino, Kind, Version};
use super::{Reference, Refused, VolumeNumber};
use std::collections::BTreeMap;

const MAX_FILE_SIZE: u64 = (i64::MAX as u64) / BLOCK * BLOCK;

impl Reference {
    fn file(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
    ) -> Result<(&mut u64, &mut BTreeMap<u64, Block>), Refused> {
        let node = self.node(volume, ino)?;
        match &mut node.kind {
            Kind::File { size, blocks } => {
                node.mtime = None;
                Ok((size, blocks))
            }
            Kind::Dir { .. } => Err("is-a-directory"),
            _ => Err("invalid"),
        }
    }

    /// Says whether the file takes content.
    fn check_file(&self, volume: VolumeNumber, ino: Ino) -> Result<u64, Refused> {
        let node = self
            .volume(volume)?
            .live
            .nodes
            .get(&ino)
            .ok_or("not-found")?;
        match &node.kind {
            Kind::File { size, .. } => Ok(*size),
            Kind::Dir { .. } => Err("is-a-directory"),
            _ => Err("invalid"),
        }
    }

    /// Replaces bytes of one block: a new version, or a hole where nothing but zeros is left.
    fn put(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        block: u64,
        at: usize,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let version = self.next_version;
        let (_, blocks) = self.file(volume, ino)?;
        let mut content = blocks
            .get(&block)
            .map_or_else(|| vec![0; BLOCK as usize], |b| b.bytes.clone());
        content[at..at + bytes.len()].copy_from_slice(bytes);
        if content.iter().all(|b| *b == 0) {
            blocks.remove(&block);
        } else {
            blocks.insert(
                block,
                Block {
                    version,
                    bytes: content,
                },
            );
            self.next_version += 1;
        }
        Ok(())
    }

    /// Writes bytes anywhere.
    ///
    /// # Errors
    /// `not-found`, `is-a-directory`, `invalid`, `too-large`.
    pub fn write(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Refused> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|e| *e <= MAX_FILE_SIZE)
            .ok_or("too-large")?;
        self.check_file(volume, ino)?;
        let most = self.write_blocks * BLOCK;
        let mut at = offset;
        while at < end {
            let upto = (at / most + 1).saturating_mul(most).min(end);
            let part = &data[(at - offset) as usize..(upto - offset) as usize];
            self.within_quota(volume, true, |r| r.write_part(volume, ino, at, part))?;
            at = upto;
        }
        Ok(())
    }

    /// What one command writes.
    fn write_part(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Refused> {
        let end = offset + data.len() as u64;
        let mut at = offset;
        while at < end {
            let upto = (at / BLOCK + 1).saturating_mul(BLOCK).min(end);
            let part = &data[(at - offset) as usize..(upto - offset) as usize];
            self.put(volume, ino, at / BLOCK, (at % BLOCK) as usize, part)?;
            at = upto;
        }
        let (size, _) = self.file(volume, ino)?;
        *size = (*size).max(end);
        Ok(())
    }

    /// Sets the size.
    ///
    /// # Errors
    /// As [`Reference::write`].
    pub fn truncate(&mut self, volume: VolumeNumber, ino: Ino, to: u64) -> Result<(), Refused> {
        let before = self.check_file(volume, ino)?;
        if to > MAX_FILE_SIZE {
            return Err("too-large");
        }
        self.within_quota(volume, true, |r| r.cut(volume, ino, before, to))
    }

    fn cut(&mut self, volume: VolumeNumber, ino: Ino, before: u64, to: u64) -> Result<(), Refused> {
        let version = self.next_version;
        let (size, blocks) = self.file(volume, ino)?;
        *size = to;
        blocks.retain(|block, _| *block < to.div_ceil(BLOCK));
        let within = (to % BLOCK) as usize;
        if to < before
            && within > 0
            && let Some(last) = blocks.get_mut(&(to / BLOCK))
        {
            // The block with the new end is written again, even where nothing but zeros is left of it.
            last.version = version;
            last.bytes[within..].fill(0);
            self.next_version += 1;
        }
        Ok(())
    }

    /// Zeros a range; the file grows only where `grow`, else what lies past its end does not matter.
    ///
    /// # Errors
    /// As [`Reference::write`]; `invalid` for an empty range that could grow the file.
    pub fn zero(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        offset: u64,
        length: u64,
        grow: bool,
    ) -> Result<(), Refused> {
        if grow && length == 0 {
            return Err("invalid");
        }
        let end = offset.checked_add(length).filter(|e| *e <= MAX_FILE_SIZE);
        if grow && end.is_none() {
            return Err("too-large");
        }
        let size = self.check_file(volume, ino)?;
        let end = if grow {
            offset + length
        } else {
            offset.saturating_add(length).min(size)
        };
        if offset >= end {
            return Ok(());
        }
        self.within_quota(volume, true, |r| r.clear(volume, ino, (offset, end), size))
    }

    fn clear(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        (offset, end): (u64, u64),
        size: u64,
    ) -> Result<(), Refused> {
        // Past the end of the file everything is zeros already, in its last block too.
        let cut = end.min(size);
        let (_, blocks) = self.file(volume, ino)?;
        let touched: Vec<u64> = blocks
            .keys()
            .copied()
            .filter(|block| {
                offset < cut && *block >= offset / BLOCK && *block < cut.div_ceil(BLOCK)
            })
            .collect();
        for block in touched {
            let from = offset.max(block * BLOCK);
            let upto = cut.min((block + 1) * BLOCK);
            self.put(
                volume,
                ino,
                block,
                (from % BLOCK) as usize,
                &vec![0; (upto - from) as usize],
            )?;
        }
        let (size, _) = self.file(volume, ino)?;
        *size = (*size).max(end);
        Ok(())
    }

    /// Promises room.
    ///
    /// # Errors
    /// As [`Reference::write`]; `invalid` for an empty range.
    pub fn preallocate(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        offset: u64,
        length: u64,
        keep_size: bool,
    ) -> Result<(), Refused> {
        if length == 0 {
            return Err("invalid");
        }
        self.check_file(volume, ino)?;
        let end = offset
            .checked_add(length)
            .filter(|e| *e <= MAX_FILE_SIZE)
            .ok_or("too-large")?;
        if !keep_size {
            let (size, _) = self.file(volume, ino)?;
            *size = (*size).max(end);
        }
        Ok(())
    }

    /// Copies a range from file to file; whole blocks that lie alike in both are shared. Gives the number of bytes:
    /// fewer where the rest cannot be copied.
    ///
    /// # Errors
    /// Where nothing was copied: as [`Reference::write`]; `invalid` where the ranges overlap in one file.
    pub fn copy_range(
        &mut self,
        volume: VolumeNumber,
        (from, from_offset): (Ino, u64),
        (to, to_offset): (Ino, u64),
        length: u64,
    ) -> Result<u64, Refused> {
        let source_size = self.check_file(volume, from)?;
        let length = length.min(source_size.saturating_sub(from_offset));
        let overlap = from_offset < to_offset.saturating_add(length)
            && to_offset < from_offset.saturating_add(length);
        if from == to && overlap {
            return Err("invalid");
        }
        if to_offset
            .checked_add(length)
            .is_none_or(|end| end > MAX_FILE_SIZE)
        {
            return Err("too-large");
        }
        if length == 0 {
            return Ok(0);
        }
        self.check_file(volume, to)?;
        let alike = from_offset % BLOCK == to_offset % BLOCK;
        let mut at = 0;
        while at < length {
            // Commands: up to the first edge of a block, the whole blocks, what is left. Where edges differ all of it is written.
            let (source, target, left) = (from_offset + at, to_offset + at, length - at);
            let most = self.write_blocks * BLOCK;
            let to_edge = |edge: u64| (edge - target % edge).min(left);
            let count = match (alike, target.is_multiple_of(BLOCK)) {
                (true, true) if left >= BLOCK => left / BLOCK * BLOCK,
                (true, false) => to_edge(BLOCK),
                _ => to_edge(most),
            };
            let whole = alike && target.is_multiple_of(BLOCK) && count >= BLOCK;
            let part = self.within_quota(volume, true, |r| {
                r.copy_part(volume, (from, source), (to, target), count, whole)
            });
            match part {
                Ok(()) => at += count,
                // What was copied stays.
                Err(_) if at > 0 => return Ok(at),
                Err(refused) => return Err(refused),
            }
        }
        Ok(length)
    }

    /// What one command copies: whole blocks are shared.
    fn copy_part(
        &mut self,
        volume: VolumeNumber,
        (from, source): (Ino, u64),
        (to, target): (Ino, u64),
        count: u64,
        whole: bool,
    ) -> Result<(), Refused> {
        let node = self.volume(volume)?.live.nodes[&from].clone();
        if !whole {
            let bytes = node.read(source, count);
            return self.write_part(volume, to, target, &bytes);
        }
        let (size, blocks) = self.file(volume, to)?;
        for n in 0..count / BLOCK {
            let shared = node.blocks().and_then(|b| b.get(&(source / BLOCK + n)));
            match shared {
                Some(block) => blocks.insert(target / BLOCK + n, block.clone()),
                None => blocks.remove(&(target / BLOCK + n)),
            };
        }
        *size = (*size).max(target + count);
        Ok(())
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `not-found`, `exists`.
    pub fn set_xattr(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        create: Option<bool>,
    ) -> Result<(), Refused> {
        let node = self.node(volume, ino)?;
        match create {
            Some(true) if node.xattrs.contains_key(name) => return Err("exists"),
            Some(false) if !node.xattrs.contains_key(name) => return Err("not-found"),
            _ => {}
        }
        node.xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `not-found`.
    pub fn remove_xattr(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        name: &[u8],
    ) -> Result<(), Refused> {
        self.node(volume, ino)?
            .xattrs
            .remove(name)
            .map(|_| ())
            .ok_or("not-found")
    }

    /// The highest version written so far.
    #[must_use]
    pub fn newest_version(&self) -> Version {
        self.next_version - 1
    }
}

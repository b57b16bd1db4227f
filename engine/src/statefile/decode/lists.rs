//! Lists that may take several records: names, attributes, places, images.

use super::{Decoder, Images, Wrong, named};
use crate::event::{Bytes, MAX_XATTR_VALUE};
use crate::ids::{CheckpointId, Ino};
use crate::name::{MAX_FILE_NAME, file_name_is_valid};
use crate::state::{Image, Names, Place, Xattrs};
use crate::statefile::record::{ImageRecord, Record};
use std::collections::BTreeMap;
use std::sync::Arc;
use strand_journal::BlockAddr;

/// A list whose last part has not been read.
pub(super) enum Open {
    Nothing,
    Names(Names),
    Xattrs(Xattrs),
    Places(Vec<Place>),
    Images(Images),
}

impl Decoder {
    /// A record that is part of a list.
    pub(super) fn go_on(&mut self, open: Open, record: Record<'_>) -> Result<(), Wrong> {
        self.open = match (open, record) {
            (
                Open::Names(mut names),
                Record::Names {
                    base: None,
                    removed,
                    set,
                    more,
                },
            ) => {
                for name in removed {
                    names
                        .remove(name)
                        .ok_or("a name is removed that is not there")?;
                }
                for (name, ino) in set {
                    if !file_name_is_valid(name) {
                        return Err("a name cannot be a file name".into());
                    }
                    names.insert(Bytes::from(name), Ino(ino));
                }
                if more {
                    Open::Names(names)
                } else {
                    self.names.push(names);
                    Open::Nothing
                }
            }
            (Open::Xattrs(mut xattrs), Record::Xattrs { set, more }) => {
                for (name, value) in set {
                    if name.is_empty()
                        || name.len() > MAX_FILE_NAME
                        || value.len() > MAX_XATTR_VALUE
                    {
                        return Err("an extended attribute is too long, or has no name".into());
                    }
                    xattrs.insert(Bytes::from(name), Bytes::from(value));
                }
                if more {
                    Open::Xattrs(xattrs)
                } else {
                    self.xattrs.push(Arc::new(xattrs));
                    Open::Nothing
                }
            }
            (Open::Places(mut places), Record::Places { places: part, more }) => {
                places.extend(part.into_iter().map(|(ino, block)| Place {
                    ino: Ino(ino),
                    block,
                }));
                if more {
                    Open::Places(places)
                } else {
                    if !places.is_sorted_by(|a, b| a < b) {
                        return Err("places are not in order".into());
                    }
                    self.places.push(places.into());
                    Open::Nothing
                }
            }
            (
                Open::Images(mut images),
                Record::Images {
                    base: None,
                    removed,
                    set,
                    more,
                },
            ) => {
                for id in removed {
                    images
                        .remove(&CheckpointId(id))
                        .ok_or("an image is removed that is not there")?;
                }
                for record in set {
                    images.insert(CheckpointId(record.checkpoint), self.image(&record)?);
                }
                if more {
                    Open::Images(images)
                } else {
                    self.mark_nodata(&mut images)?;
                    self.images.push(images);
                    Open::Nothing
                }
            }
            _ => return Err("a list breaks off".into()),
        };
        Ok(())
    }

    /// Those of a finished list that are nodata, and no others.
    fn mark_nodata(&mut self, images: &mut Images) -> Result<(), Wrong> {
        let mut wanted = BTreeMap::new();
        for (id, marks) in std::mem::take(&mut self.nodata) {
            let id = CheckpointId(id);
            if !images.contains_key(&id) || wanted.insert(id, marks).is_some() {
                return Err("a nodata image is not there, or is there twice".into());
            }
        }
        let changes: Vec<(CheckpointId, Option<u64>)> = images
            .iter()
            .map(|(id, image)| (*id, image, wanted.get(id).copied()))
            .filter(|(_, image, marks)| image.nodata.then_some(image.marks) != *marks)
            .map(|(id, _, marks)| (id, marks))
            .collect();
        for (id, marks) in changes {
            if let Some(image) = images.get_mut(&id) {
                image.nodata = marks.is_some();
                image.marks = marks.unwrap_or(0);
            }
        }
        Ok(())
    }

    fn image(&self, record: &ImageRecord) -> Result<Image, Wrong> {
        let root = named(&self.trees, record.fileset)?;
        Ok(Image {
            root,
            born: BlockAddr(record.born),
            ledger: record.ledger(),
            nodata: false,
            marks: 0,
        })
    }
}

impl Record<'_> {
    /// A list's first part as if it were a later one.
    pub(super) fn without_base(mut self) -> Self {
        if let Self::Names { base, .. } | Self::Images { base, .. } = &mut self {
            *base = None;
        }
        self
    }
}

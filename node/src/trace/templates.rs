//! The frames of section A: as templates, with the fields zeroed that the columns hold, many are equal. Owns their
//! deduplication and encoding; must never keep a frame as a template from which it would not come back exactly.

use como_anonymize::{Dissection, Frames, Layer, LinkType, PacketRow, View, dissect, restore, strip};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use super::MAX_BLOCK_BYTES;
use super::codec::{Reader, put_column, put_u32};
use super::error::TraceError;

/// The frames of a block while it is being made: the distinct templates, and which one each packet has.
#[derive(Default)]
pub struct FrameTemplates {
    bytes: Vec<u8>,
    layers: Vec<Layer>,
    distinct: Vec<Template>,
    index: Vec<u32>,
    seen: HashTable<u32>,
    hasher: DefaultHashBuilder,
    stripped: Vec<u8>,
    restored: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Template {
    /// Whether it is the whole frame already.
    whole: bool,
    from: u32,
    to: u32,
    layers_from: u32,
    layers_to: u32,
}

impl FrameTemplates {
    /// The templates of a view that was made elsewhere.
    pub fn of_view(view: &View) -> Self {
        let mut templates = Self::default();
        for at in 0..view.len() {
            let frame = view.frames.get(at).unwrap_or_default();
            let row = view.columns.row(at).expect("every column has all rows");
            templates.push(view.link, frame, &dissect(view.link, frame), &row);
        }
        templates
    }

    /// Forgets every frame, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.layers.clear();
        self.distinct.clear();
        self.index.clear();
        self.seen.clear();
    }

    /// Frames taken.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Takes the next packet's frame, its dissection and its row. A frame that would not come back exactly from its
    /// template is kept as it is.
    pub fn push(&mut self, link: LinkType, frame: &[u8], found: &Dissection, row: &PacketRow) {
        self.stripped.clear();
        self.stripped.extend_from_slice(frame);
        strip(found, &mut self.stripped);
        self.restored.clear();
        self.restored.extend_from_slice(&self.stripped);
        restore(found, &mut self.restored, row);
        let number = if self.restored == frame {
            self.number_of_stripped(link, frame, found)
        } else {
            self.add(true, frame, &[])
        };
        self.index.push(number);
    }

    fn number_of_stripped(&mut self, link: LinkType, frame: &[u8], found: &Dissection) -> u32 {
        let hash = self.hasher.hash_one(&self.stripped[..]);
        // Equal bytes are restored by one dissection: what was found in this frame must be it.
        let is_same = |number: &u32| {
            let template = self.distinct[*number as usize];
            self.bytes[template.from as usize..template.to as usize] == self.stripped
                && self.layers[template.layers_from as usize..template.layers_to as usize] == *found.layers()
        };
        if let Some(number) = self.seen.find(hash, is_same) {
            return *number;
        }
        if dissect(link, &self.stripped).layers() != found.layers() {
            return self.add(true, frame, &[]);
        }
        let stripped = std::mem::take(&mut self.stripped);
        let number = self.add(false, &stripped, found.layers());
        self.stripped = stripped;
        let (hasher, distinct, bytes) = (&self.hasher, &self.distinct, &self.bytes);
        self.seen.insert_unique(hash, number, |number| {
            let template = distinct[*number as usize];
            hasher.hash_one(&bytes[template.from as usize..template.to as usize])
        });
        number
    }

    fn add(&mut self, whole: bool, bytes: &[u8], layers: &[Layer]) -> u32 {
        let (from, layers_from) = (self.bytes.len() as u32, self.layers.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self.layers.extend_from_slice(layers);
        self.distinct.push(Template {
            whole,
            from,
            to: self.bytes.len() as u32,
            layers_from,
            layers_to: self.layers.len() as u32,
        });
        self.distinct.len() as u32 - 1
    }

    /// Appends: number of distinct templates u32, column of their lengths (twice, plus one where whole), column of
    /// each packet's template, the templates.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.distinct.len() as u32);
        let lengths: Vec<u32> = self
            .distinct
            .iter()
            .map(|template| (template.to - template.from) << 1 | u32::from(template.whole))
            .collect();
        put_column(out, &lengths);
        put_column(out, &self.index);
        out.extend_from_slice(&self.bytes);
    }
}

/// The frames of a block before the columns are put back into them.
pub(super) struct StoredTemplates<'a> {
    /// Whether it is the whole frame already, and the bytes.
    distinct: Vec<(bool, &'a [u8])>,
    index: Vec<u32>,
}

impl<'a> StoredTemplates<'a> {
    /// Reads what [`FrameTemplates::encode`] wrote for `rows` packets.
    pub fn read(data: &mut Reader<'a>, rows: usize) -> Result<Self, TraceError> {
        let count = bounded(data.u32()?, rows)?;
        let lengths: Vec<u32> = data.column(count)?;
        let index: Vec<u32> = data.column(rows)?;
        let template = |length: u32| Ok((length & 1 != 0, data.bytes((length >> 1) as usize)?));
        let distinct = lengths
            .into_iter()
            .map(template)
            .collect::<Result<_, TraceError>>()?;
        Ok(Self { distinct, index })
    }

    /// The frames of the given rows of the block, which are the rows of `view`, one by one. All columns of `view` must be
    /// there.
    pub fn restore(&self, view: &View, rows: impl Iterator<Item = usize>) -> Result<Frames, TraceError> {
        let dissections: Vec<Option<Dissection>> = self
            .distinct
            .iter()
            .map(|(whole, bytes)| (!whole).then(|| dissect(view.link, bytes)))
            .collect();
        let mut frames = Frames::default();
        for (row, of_block) in rows.enumerate() {
            let number = *self.index.get(of_block).ok_or(OUTSIDE)?;
            let (_, template) = self.distinct.get(number as usize).ok_or(OUTSIDE)?;
            let start = frames.bytes.len();
            if start + template.len() > MAX_BLOCK_BYTES {
                return Err(TraceError::damaged(
                    0,
                    "the frames of a block are longer than any block",
                ));
            }
            frames.bytes.extend_from_slice(template);
            if let (Some(found), Some(row)) = (&dissections[number as usize], view.columns.row(row)) {
                restore(found, &mut frames.bytes[start..], &row);
            }
            frames.offsets.push(frames.bytes.len() as u32);
        }
        Ok(frames)
    }
}

pub(super) const OUTSIDE: TraceError = TraceError::Damaged {
    position: 0,
    what: "a dictionary index points outside",
};

/// A dictionary has at most one entry per row.
pub(super) fn bounded(count: u32, rows: usize) -> Result<usize, TraceError> {
    if count as usize > rows {
        Err(OUTSIDE)
    } else {
        Ok(count as usize)
    }
}

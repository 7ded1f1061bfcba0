//! The index file of an append-only writable layer, replayed in the plainest way.

use overlaybd_format::Segment;

/// One entry: sectors of the device, and where they are in the data file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) stored_at: u64,
    pub(crate) zeroed: bool,
}

impl Entry {
    /// The entry in two stored words.
    pub(crate) fn decode(first: u64, second: u64) -> Self {
        Self {
            start: first & ((1 << 50) - 1),
            len: first >> 50,
            stored_at: second & ((1 << 55) - 1),
            zeroed: second >> 55 & 1 != 0,
        }
    }

    fn end(self) -> u64 {
        self.start + self.len
    }

    /// The part from sector `start` up to sector `end`.
    fn between(self, start: u64, end: u64) -> Option<Self> {
        let (from, to) = (self.start.max(start), self.end().min(end));
        let skipped = if self.zeroed { 0 } else { from - self.start.min(from) };
        (from < to).then_some(Self {
            start: from,
            len: to.saturating_sub(from),
            stored_at: self.stored_at + skipped,
            ..self
        })
    }

    pub(crate) fn segment(self) -> Segment {
        let Self { start, len, stored_at, zeroed } = self;
        if zeroed { Segment::zeroed(start, len) } else { Segment::data(start, len, stored_at) }.unwrap()
    }
}

/// What is left of the entries of `file` when each has hidden what was there before it.
pub(crate) fn replay(file: &[u8]) -> Vec<Segment> {
    let mut entries: Vec<Entry> = Vec::new();
    for words in file[4096..].as_chunks::<16>().0 {
        let word = |at: usize| u64::from_le_bytes(*words[at..].first_chunk().unwrap());
        let entry = Entry::decode(word(0), word(8));
        if entry.len == 0 {
            continue;
        }
        let keep = |old: Entry| [old.between(0, entry.start), old.between(entry.end(), u64::MAX)];
        entries = entries.into_iter().flat_map(keep).flatten().collect();
        entries.push(entry);
    }
    entries.sort_by_key(|entry| entry.start);
    entries.into_iter().map(Entry::segment).collect()
}

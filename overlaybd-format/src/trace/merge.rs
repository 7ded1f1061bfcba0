//! One trace of several starts.

use super::range_set::RangeSet;
use super::{Record, Trace};

impl Trace {
    /// Appends what `other` has and this one has not, byte for byte, in its order, until there are `most`
    /// records. Of both, each byte is kept once.
    ///
    /// ```
    /// use overlaybd_format::trace::{Record, Trace};
    ///
    /// let mut start = Trace { records: vec![Record::read(0, 0..4096)] };
    /// let another = Trace { records: vec![Record::read(1, 0..512), Record::read(0, 0..8192)] };
    /// start.merge(&another, 1000);
    /// assert_eq!(start.records[1..], [Record::read(1, 0..512), Record::read(0, 4096..8192)]);
    /// ```
    pub fn merge(&mut self, other: &Self, most: usize) {
        let mut seen = std::collections::BTreeMap::<u32, RangeSet>::new();
        let mut merged: Vec<Record> = Vec::new();
        for Record { op, layer, content } in self.records.drain(..).chain(other.records.iter().cloned()) {
            seen.entry(layer).or_default().add(content, |content| {
                if merged.len() < most {
                    merged.push(Record { op, layer, content });
                }
            });
        }
        self.records = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace() -> impl Strategy<Value = Trace> {
        let record = (0..3_u32, 0..100_u64, 0..30_u64);
        prop::collection::vec(record, 0..20).prop_map(|records| Trace {
            records: records.into_iter().map(|(layer, at, len)| Record::read(layer, at..at + len)).collect(),
        })
    }

    fn bytes(trace: &Trace) -> Vec<(u32, u64)> {
        let of =
            |record: &Record| record.content.clone().map(|byte| (record.layer, byte)).collect::<Vec<_>>();
        trace.records.iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn a_merged_trace_has_each_byte_of_both_where_it_came_first(mut first in trace(), second in trace()) {
            let mut seen = std::collections::BTreeSet::new();
            let both = bytes(&first).into_iter().chain(bytes(&second));
            let expected: Vec<_> = both.filter(|&byte| seen.insert(byte)).collect();
            first.merge(&second, usize::MAX);
            prop_assert_eq!(bytes(&first), expected);
        }
    }

    #[test]
    fn a_full_trace_takes_no_more() {
        let mut trace = Trace { records: vec![Record::read(0, 0..1)] };
        let other = Trace { records: vec![Record::read(0, 5..6), Record::read(0, 8..9)] };
        trace.merge(&other, 2);
        assert_eq!(trace.records, [Record::read(0, 0..1), Record::read(0, 5..6)]);
    }
}

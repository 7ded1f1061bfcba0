//! Bytes that were named before, so that none is named twice.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of bytes as ranges that do not touch.
#[derive(Debug, Default)]
pub(super) struct RangeSet {
    /// The end of each range, by its start.
    ends: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds `range`, and hands the parts of it that are new to `take`, in ascending order.
    pub(super) fn add(&mut self, range: Range<u64>, mut take: impl FnMut(Range<u64>)) {
        let Range { start, end } = range;
        if start >= end {
            return;
        }
        // The range that this and all that it touches become, and how far into it nothing is new.
        let (mut whole, mut at) = (start..end, start);
        if let Some((&before, &stop)) =
            self.ends.range(..start).next_back().filter(|&(_, &stop)| stop >= start)
        {
            (whole, at) = (before..end.max(stop), stop);
        }
        while let Some((&next, &stop)) = self.ends.range(start..=end).next() {
            if at < next {
                take(at..next);
            }
            at = at.max(stop);
            whole.end = whole.end.max(stop);
            self.ends.remove(&next);
        }
        if at < end {
            take(at..end);
        }
        self.ends.insert(whole.start, whole.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn what_is_new_is_what_a_set_of_bytes_says(ranges in prop::collection::vec((0..200_u64, 0..30_u64), 1..60)) {
            let (mut set, mut bytes) = (RangeSet::default(), BTreeSet::new());
            for (start, len) in ranges {
                let mut new = Vec::new();
                set.add(start..start + len, |part| new.push(part));
                prop_assert!(new.iter().all(|part| !part.is_empty()));
                let expected: Vec<u64> = (start..start + len).filter(|byte| bytes.insert(*byte)).collect();
                prop_assert_eq!(new.into_iter().flatten().collect::<Vec<_>>(), expected);
                let held: Vec<u64> = set.ends.iter().flat_map(|(&start, &end)| start..end).collect();
                prop_assert!(held.iter().eq(&bytes));
            }
        }
    }
}

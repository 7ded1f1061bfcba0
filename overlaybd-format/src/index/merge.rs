//! Laying layers over one another.
//!
//! Laying a list over another is associative, so a stack is merged in pairs, then pairs of pairs. A
//! segment is then visited once per doubling of the number of layers. An upper segment cuts at most
//! one lower segment in two, so the result is never longer than all lists together, twice.

use crate::lsmt::Segment;

/// Merges the sorted segments of each layer, bottom first.
pub(super) fn stack(layers: Vec<Vec<Segment>>) -> Vec<Segment> {
    let mut level: Vec<Vec<Segment>> = (0..=u8::MAX)
        .zip(layers)
        .map(|(layer, mut segments)| {
            segments.iter_mut().for_each(|segment| *segment = segment.in_layer(layer));
            segments
        })
        .collect();
    while level.len() > 1 {
        let mut lists = level.into_iter();
        let mut next = Vec::with_capacity(lists.len().div_ceil(2));
        while let Some(lower) = lists.next() {
            next.push(match lists.next() {
                Some(upper) => overlay(&upper, &lower),
                None => lower,
            });
        }
        level = next;
    }
    level.pop().unwrap_or_default()
}

fn overlay(upper: &[Segment], lower: &[Segment]) -> Vec<Segment> {
    let mut merged = Vec::with_capacity(upper.len().saturating_add(lower.len()));
    let mut rest = lower.iter().copied();
    let mut below = rest.next();
    for &above in upper {
        while let Some(segment) = below {
            if segment.end() <= above.start() {
                merged.push(segment);
            } else {
                if segment.start() < above.start() {
                    merged.push(segment.before(above.start()));
                }
                if segment.end() > above.end() {
                    below = Some(segment.from(above.end().max(segment.start())));
                    break;
                }
            }
            below = rest.next();
        }
        merged.push(above);
    }
    merged.extend(below);
    merged.extend(rest);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What each sector of a small device reads: the layer and the stored sector, or zeros.
    type Sectors = BTreeMap<u64, Option<(usize, u64)>>;

    fn sectors(segments: &[Segment]) -> Sectors {
        let each = |s: &Segment| {
            let s = *s;
            s.sectors()
                .map(move |at| (at, (!s.is_zeroed()).then(|| (s.layer(), s.stored_at() + at - s.start()))))
        };
        segments.iter().flat_map(each).collect()
    }

    /// A layer as runs of (gap before, length, zeroed); neighbours and one-sector runs included.
    fn layer() -> impl Strategy<Value = Vec<Segment>> {
        prop::collection::vec((0..6u64, 1..9u64, any::<bool>()), 0..40).prop_map(|runs| {
            let (mut at, mut stored) = (0, 8);
            runs.into_iter()
                .map(|(gap, len, zeroed)| {
                    let segment = Segment::new(at + gap, len, stored, zeroed).unwrap();
                    at += gap + len;
                    stored += if zeroed { 0 } else { len + gap % 2 };
                    segment
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_topmost_layer_wins_every_sector(layers in prop::collection::vec(layer(), 0..9)) {
            let mut expected = Sectors::new();
            for (number, layer) in layers.iter().enumerate() {
                let tagged: Vec<_> = layer.iter().map(|s| s.in_layer(number as u8)).collect();
                expected.extend(sectors(&tagged));
            }
            let merged = stack(layers);
            prop_assert!(merged.is_sorted_by(|a, b| a.end() <= b.start()));
            prop_assert!(merged.iter().all(|s| !s.is_empty()));
            prop_assert_eq!(sectors(&merged), expected);
        }
    }
}

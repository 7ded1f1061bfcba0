//! The `Range` request header, by RFC 9110 §14.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::ops::Range;

/// What a `Range` header asks of a representation of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything: there is no header, it is malformed, of another unit, or lists several ranges.
    /// RFC 9110 lets a server ignore each of these.
    Whole,
    /// The bytes of this range, which is not empty and inside the representation.
    Part(Range<u64>),
    /// No byte of the representation.
    Nothing,
}

/// Reads the header `value` for a representation of `size` bytes.
pub(crate) fn asked(value: Option<&str>, size: u64) -> Asked {
    let Some((first, last)) = value.and_then(|value| value.strip_prefix("bytes=")).and_then(single) else {
        return Asked::Whole;
    };
    let range = match (first, last) {
        (Some(first), Some(last)) if last < first => return Asked::Whole,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        (Some(first), None) => first..size,
        (None, Some(count)) => size.saturating_sub(count)..size,
        (None, None) => return Asked::Whole,
    };
    if range.is_empty() { Asked::Nothing } else { Asked::Part(range) }
}

/// The two numbers of `a-b`, `a-` or `-n`.
fn single(spec: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = spec.trim().split_once('-')?;
    Some((number(first)?, number(last)?))
}

/// Digits only (`u64::from_str` would take a sign). `None` is malformed, `Some(None)` is absent.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    text.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_to_bytes() {
        let cases = [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-5", Asked::Part(2..6)),
            ("bytes=9-9", Asked::Part(9..10)),
            ("bytes=5-100", Asked::Part(5..10)),
            ("bytes=5-18446744073709551615", Asked::Part(5..10)),
            ("bytes=3-", Asked::Part(3..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=10-12", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=1-2,4-5", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
            ("items=0-1", Asked::Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(asked(Some(value), 10), expected, "{value}");
        }
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Nothing);
    }
}

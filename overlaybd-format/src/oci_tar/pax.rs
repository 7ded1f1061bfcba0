//! Records of pax headers.

use std::collections::BTreeMap;

use super::entry::Timestamp;

/// What pax headers say of an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The sparse map of the form in which its records repeat.
    pub(super) sparse: Vec<(u64, u64)>,
}

impl Pax {
    /// Adds the records in `bytes`, `"<length> <key>=<value>\n"` each. Later ones win, and an empty value
    /// takes a record back.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        let mut sparse_offset = None;
        while !bytes.is_empty() {
            let (record, rest) = split_record(bytes).ok_or("a pax record that does not parse")?;
            bytes = rest;
            let equals =
                record.iter().position(|&byte| byte == b'=').ok_or("a pax record without a value")?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"GNU.sparse.offset" => sparse_offset = Some(decimal(value).ok_or(SPARSE)?),
                b"GNU.sparse.numbytes" => {
                    let offset = sparse_offset.take().ok_or(SPARSE)?;
                    self.sparse.push((offset, decimal(value).ok_or(SPARSE)?));
                }
                _ if value.is_empty() => {
                    self.records.remove(key);
                }
                _ => {
                    self.records.insert(key.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// A number of a record; none if there is no such record.
    ///
    /// # Errors
    ///
    /// If the record is no number.
    pub(super) fn number(&self, key: &'static str) -> Result<Option<u64>, &'static str> {
        self.get(key).map(|value| decimal(value).ok_or("a pax record that is no number")).transpose()
    }

    /// The time of a record, likewise.
    ///
    /// # Errors
    ///
    /// If the record is no time.
    pub(super) fn time(&self, key: &str) -> Result<Option<Timestamp>, &'static str> {
        self.get(key).map(|value| time(value).ok_or("a pax record that is no time")).transpose()
    }

    /// Extended attributes, in the records of the two archivers that write any.
    pub(super) fn xattrs(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let attribute = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            key.strip_prefix(XATTR).filter(|name| !name.is_empty()).map(|name| (name.to_vec(), value.clone()))
        };
        self.records.iter().filter_map(attribute).collect()
    }
}

/// The first record without its length and newline, and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(MAX_DIGITS).position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let record = record.get(space.checked_add(1)?..)?.strip_suffix(b"\n")?;
    Some((record, rest))
}

/// A number of digits alone.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with a sign and a fraction, of which nine digits count.
fn time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nine = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nine.fold(0_u32, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u32::from(digit.saturating_sub(b'0')))
    });
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: seconds.checked_neg()?, nanoseconds: 0 },
        (true, nanoseconds) => Timestamp {
            seconds: seconds.checked_neg()?.checked_sub(1)?,
            nanoseconds: BILLION.saturating_sub(nanoseconds),
        },
    })
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &str = "a sparse map whose records do not pair";
/// Digits of a record's length, and the blank behind them.
const MAX_DIGITS: usize = 21;
const BILLION: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_binary_and_the_last_one_wins() {
        let mut pax = Pax::default();
        pax.add(b"11 path=\xff\n\n12 path=b=c\n27 SCHILY.xattr.user.a=\0\n\x01\n").unwrap();
        assert_eq!(pax.get("path"), Some(&b"b=c"[..]));
        assert_eq!(pax.xattrs(), BTreeMap::from([(b"user.a".to_vec(), b"\0\n\x01".to_vec())]));
        pax.add(b"8 path=\n").unwrap();
        assert_eq!(pax.get("path"), None);
        for bad in
            [&b"x"[..], b"5 a=b\n", b"7 a=b\n", b"0 ", b"6 a=bc", b"4 a\n", b"99999999999999999999999 a=b\n"]
        {
            assert!(pax.add(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn times_have_signs_and_fractions() {
        for (text, seconds, nanoseconds) in [
            (&b"0"[..], 0, 0),
            (b"1700000000.123456789123", 1_700_000_000, 123_456_789),
            (b"1.5", 1, 500_000_000),
            (b"-1", -1, 0),
            (b"-1.25", -2, 750_000_000),
            (b"-0.000000001", -1, 999_999_999),
        ] {
            assert_eq!(time(text), Some(Timestamp { seconds, nanoseconds }), "{}", text.escape_ascii());
        }
        for bad in [&b""[..], b"-", b"1.x", b"1e3", b"--1", b"99999999999999999999"] {
            assert_eq!(time(bad), None, "{}", bad.escape_ascii());
        }
    }
}

//! Extended attributes behind an inode.
//!
//! ```text
//!  ┌ filter, 4 │ shared, 1 │ –, 7 ┐ then for each: ┌ name length, 1 │ prefix, 1 │ value length, 2 │ name │ value ┐ to 4 bytes
//! ```
//!
//! The part of a name up to its namespace is a number. None are shared among inodes here: the filesystems of
//! images have few, and these differ.

use std::collections::BTreeMap;

use crate::fields::u16_at;
use crate::{Error, Result};

/// Attributes by name.
pub(crate) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Whether `name` is in a namespace that EROFS has.
pub(crate) fn has_namespace(name: &[u8]) -> bool {
    split(name).is_some()
}

/// What stands behind the inode: nothing if there are no attributes.
///
/// # Errors
///
/// [`Error::Limit`] for names, values and all of them together if they are longer than the format can say.
pub(crate) fn encode(xattrs: &Xattrs) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in xattrs {
        let Some((prefix, rest)) = split(name) else { continue };
        let limit = |what, value: usize, limit| Error::Limit { what, value: value as u64, limit };
        let name_len = u8::try_from(rest.len())
            .map_err(|_| limit("bytes in the name of an attribute", rest.len(), u8::MAX.into()))?;
        let value_len = u16::try_from(value.len())
            .map_err(|_| limit("bytes in the value of an attribute", value.len(), u16::MAX.into()))?;
        if bytes.is_empty() {
            bytes.extend([0; HEADER]);
        }
        let [low, high] = value_len.to_le_bytes();
        bytes.extend([name_len, prefix, low, high]);
        bytes.extend(rest);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let most = u64::from(u16::MAX).saturating_sub(1).saturating_mul(4).saturating_add(HEADER as u64);
    if bytes.len() as u64 > most {
        let value = bytes.len() as u64;
        return Err(Error::Limit { what: "bytes in the attributes of a file", value, limit: most });
    }
    Ok(bytes)
}

/// The field of the inode that says how many bytes, encoded as here, follow it.
pub(crate) fn count(len: usize) -> u16 {
    let words = len.checked_sub(HEADER).map_or(0, |rest| (rest / 4).saturating_add(1));
    u16::try_from(words).unwrap_or(u16::MAX)
}

/// The attributes in `bytes`, the whole of what is behind the inode at `at`.
///
/// # Errors
///
/// [`Error::Broken`]; [`Error::Unsupported`] for shared attributes.
pub(crate) fn decode(bytes: &[u8], at: u64) -> Result<Xattrs> {
    let mut xattrs = Xattrs::new();
    if bytes.is_empty() {
        return Ok(xattrs);
    }
    let broken = || Error::broken("EROFS attributes", at, "they do not fit their place");
    let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or_else(broken)?;
    if let Some(&shared @ 1..) = header.get(4) {
        return Err(Error::Unsupported { what: "shared EROFS attributes", value: shared.into() });
    }
    while !rest.is_empty() {
        let (entry, after) = rest.split_at_checked(4).ok_or_else(broken)?;
        let name_len = entry.first().copied().map_or(0, usize::from);
        let value_len = u16_at(entry, 2).map_or(0, usize::from);
        let (name, after) = after.split_at_checked(name_len).ok_or_else(broken)?;
        let (value, _) = after.split_at_checked(value_len).ok_or_else(broken)?;
        let prefix = entry.get(1).copied().unwrap_or_default();
        let (_, prefix) = PREFIXES.iter().find(|(number, _)| *number == prefix).ok_or_else(broken)?;
        xattrs.insert([prefix, name].concat(), value.to_vec());
        let whole = name_len.saturating_add(value_len).saturating_add(4).next_multiple_of(4);
        rest = rest.get(whole..).ok_or_else(broken)?;
    }
    Ok(xattrs)
}

/// The number of a name's namespace, and the rest of the name.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(number, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        // Access control lists are whole names, the others need something behind them.
        (rest.is_empty() != prefix.ends_with(b".")).then_some((*number, rest))
    })
}

const HEADER: usize = 12;
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back() {
        let xattrs = Xattrs::from(
            [
                (&b"user.a"[..], vec![]),
                (b"user.\xff", vec![0, 1, 2]),
                (b"security.capability", vec![0; 20]),
                (b"system.posix_acl_access", vec![2, 0, 0, 0]),
                (b"trusted.x", vec![9; 65_535]),
            ]
            .map(|(name, value)| (name.to_vec(), value)),
        );
        let bytes = encode(&xattrs).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(decode(&bytes, 0).unwrap(), xattrs);
        assert_eq!(usize::from(count(bytes.len()) - 1) * 4 + 12, bytes.len());
        assert!(encode(&Xattrs::new()).unwrap().is_empty());
        assert_eq!(count(0), 0);
        for cut in [1, 11, 13, 17, bytes.len() - 4] {
            assert!(matches!(decode(&bytes[..cut], 0), Err(Error::Broken { .. })), "{cut}");
        }
    }

    #[test]
    fn only_names_with_a_namespace_are_kept() {
        for (name, kept) in [
            (&b"user.a"[..], true),
            (b"user.", false),
            (b"system.posix_acl_default", true),
            (b"system.posix_acl_defaults", false),
            (b"com.apple.provenance", false),
        ] {
            assert_eq!(has_namespace(name), kept, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn what_the_format_cannot_say_is_refused() {
        let one = |name: Vec<u8>, value| encode(&Xattrs::from([(name, vec![0; value])]));
        assert!(matches!(one(b"user.a".to_vec(), 65_536), Err(Error::Limit { .. })));
        assert!(matches!(one([&b"user."[..], &[b'a'; 256]].concat(), 1), Err(Error::Limit { .. })));
        let many = (b'a'..=b'e').map(|name| (vec![b'u', b's', b'e', b'r', b'.', name], vec![0; 65_535]));
        assert!(matches!(encode(&many.collect()), Err(Error::Limit { .. })));
    }
}

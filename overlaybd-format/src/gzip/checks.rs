//! Checking members whose parts are inflated in any order.
//!
//! The checksum of a member covers all of it. So each span between two checkpoints is summed when it
//! has been inflated, and as soon as all spans of a member are there, their sums are joined.

use std::collections::BTreeMap;

use crc32fast::Hasher;

use super::member::Trailer;
use crate::{Error, Result};

/// What an inflated span says of the members it touches.
#[derive(Clone, Default)]
pub(super) struct SpanSum {
    /// The bytes up to the first end of a member.
    head: Hasher,
    /// That end.
    end: Option<Trailer>,
    /// The bytes behind the last end of a member.
    tail: Hasher,
}

impl SpanSum {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let sum = if self.end.is_none() { &mut self.head } else { &mut self.tail };
        sum.update(bytes);
    }

    /// Notes that a member ends. One that is wholly in the span is checked.
    ///
    /// # Errors
    ///
    /// [`Error::Checksum`] or [`Error::Broken`] if it is not what its trailer says.
    pub(super) fn member_end(&mut self, trailer: Trailer) -> Result<()> {
        match self.end {
            Some(_) => check(&std::mem::take(&mut self.tail), trailer),
            None => {
                self.end = Some(trailer);
                Ok(())
            }
        }
    }
}

/// The sums of a gzip blob that are known.
#[derive(Default)]
pub(super) struct Checks {
    /// Sums of spans whose member is not known up to them.
    spans: BTreeMap<usize, SpanSum>,
    /// For a span, the sum of its member up to it.
    members: BTreeMap<usize, Hasher>,
}

impl Checks {
    /// For a blob whose span 0 starts with a member.
    pub(super) fn new() -> Self {
        Self { spans: BTreeMap::new(), members: BTreeMap::from([(0, Hasher::new())]) }
    }

    /// Takes the sum of span `number` and checks each member that is complete by it.
    ///
    /// # Errors
    ///
    /// [`Error::Checksum`] or [`Error::Broken`] if a member is not what its trailer says.
    pub(super) fn add(&mut self, number: usize, span: SpanSum) -> Result<()> {
        self.spans.insert(number, span);
        let mut number = number;
        while self.members.contains_key(&number)
            && let Some(span) = self.spans.remove(&number)
        {
            let mut member = self.members.remove(&number).unwrap_or_default();
            member.combine(&span.head);
            if let Some(trailer) = span.end {
                check(&member, trailer)?;
                member = span.tail;
            }
            number = number.saturating_add(1);
            self.members.insert(number, member);
        }
        Ok(())
    }
}

/// Checks a whole member, summed in `member`.
///
/// # Errors
///
/// [`Error::Checksum`] if its CRC-32 is another, [`Error::Broken`] if its length is.
pub(super) fn check(member: &Hasher, Trailer { at, crc, len }: Trailer) -> Result<()> {
    let total = member.total_len();
    if total & u64::from(u32::MAX) != u64::from(len) {
        let why = format!("{total} bytes of content, where it says {len} modulo 2^32");
        return Err(Error::broken("gzip member trailer", at, why));
    }
    let computed = member.clone().finalize();
    if computed != crc {
        return Err(Error::Checksum { what: "gzip member", at, stored: crc, computed });
    }
    Ok(())
}

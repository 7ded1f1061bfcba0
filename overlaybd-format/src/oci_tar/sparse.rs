//! Sparse maps: which bytes of a file are stored.

use super::entry::ContentRange;
use super::header::number;
use super::pax::decimal;

/// A sparse map as pairs of offset and length in the file.
pub(super) type Map = Vec<(u64, u64)>;

/// Adds the entries of 24 bytes in `fields`, two numeric fields each, up to the first empty one.
///
/// # Errors
///
/// If a field is no number.
pub(super) fn add_gnu(map: &mut Map, fields: &[u8]) -> Result<(), &'static str> {
    for entry in fields.as_chunks::<GNU_ENTRY>().0 {
        if entry.iter().all(|&byte| byte == 0) {
            break;
        }
        let (offset, len) = entry.split_at(GNU_ENTRY / 2);
        let field = |field| number(field).and_then(|number| u64::try_from(number).ok());
        map.push((field(offset).ok_or(BAD)?, field(len).ok_or(BAD)?));
    }
    Ok(())
}

/// The map of a pax record: offsets and lengths between commas.
///
/// # Errors
///
/// If they do not pair or are no numbers.
pub(super) fn from_list(list: &[u8]) -> Result<Map, &'static str> {
    let numbers: Option<Vec<u64>> = list.split(|&byte| byte == b',').map(decimal).collect();
    pairs(&numbers.ok_or(BAD)?)
}

/// The map in front of the content: its number of entries, offsets and lengths, a line each. None if
/// `text` does not hold all of it.
///
/// # Errors
///
/// If a line is no number or there are more than `most` entries.
pub(super) fn from_lines(text: &[u8], most: u64) -> Result<Option<Map>, &'static str> {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n"));
    let mut next = || match lines.next().flatten() {
        Some(line) => decimal(line).map(Some).ok_or(BAD),
        None => Ok(None),
    };
    let Some(count) = next()? else { return Ok(None) };
    if count > most {
        return Err(BAD);
    }
    let mut numbers = Vec::new();
    for _ in 0..count.saturating_mul(2) {
        let Some(number) = next()? else { return Ok(None) };
        numbers.push(number);
    }
    pairs(&numbers).map(Some)
}

/// The content of a file of `size` bytes whose stored bytes are `stored`, from byte `at` of the tar on.
///
/// # Errors
///
/// If the map does not ascend, leaves the file, or names more or fewer bytes than are stored.
pub(super) fn content(map: &Map, size: u64, at: u64, stored: u64) -> Result<Vec<ContentRange>, &'static str> {
    let (mut free, mut used) = (0, 0_u64);
    let mut content = Vec::new();
    for &(offset, len) in map {
        let end = offset.checked_add(len).filter(|&end| offset >= free && end <= size).ok_or(BAD)?;
        if len > 0 {
            content.push(ContentRange { offset, len, at: at.saturating_add(used) });
        }
        free = end;
        used = used.saturating_add(len);
    }
    if used != stored { Err("a sparse map that does not cover what is stored") } else { Ok(content) }
}

fn pairs(numbers: &[u64]) -> Result<Map, &'static str> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if rest.is_empty() { Ok(pairs.iter().map(|&[offset, len]| (offset, len)).collect()) } else { Err(BAD) }
}

/// Bytes of an entry in GNU headers.
const GNU_ENTRY: usize = 24;
const BAD: &str = "a sparse map that is none";

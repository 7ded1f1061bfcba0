//! Making the tar wrapper around a layer blob.

use super::{BLOCK, CHECKSUM, HEAD, MAGIC, SIZE, TYPE_FLAG, VERSION, checksums};

/// The 1536 bytes in front of `content_size` bytes of content: a pax header with the size, then the
/// header of the one file, `overlaybd.commit`.
///
/// The numbers are formatted as the reference formats them (blanks, not zeros, in front); owner
/// names are always `root`, so that the bytes do not depend on the machine.
pub(crate) fn pax_headers(content_size: u64) -> Vec<u8> {
    let record = pax_record(content_size);
    let mut pax = [0; BLOCK];
    put(&mut pax, 0, b"overlaybd.pax");
    put(&mut pax, SIZE.start, format!("{:>11o} ", record.len()).as_bytes());
    put(&mut pax, TYPE_FLAG, b"x");
    seal(&mut pax);

    let mut file = [0; BLOCK];
    put(&mut file, 0, b"overlaybd.commit");
    put(&mut file, MODE_AT, b"100644 ");
    put(&mut file, UID_AT, b"     0 ");
    put(&mut file, GID_AT, b"     0 ");
    put(&mut file, SIZE.start, b"          0 ");
    put(&mut file, MTIME_AT, b"          0 ");
    put(&mut file, TYPE_FLAG, b"0");
    put(&mut file, UNAME_AT, b"root");
    put(&mut file, GNAME_AT, b"root");
    seal(&mut file);

    let mut out = Vec::with_capacity(HEAD);
    out.extend(pax);
    out.extend(&record);
    out.resize(BLOCK.saturating_mul(2), 0);
    out.extend(file);
    out
}

/// Where the content starts behind [`pax_headers`], in bytes.
pub(crate) const CONTENT_AT: u64 = HEAD as u64;
/// Zeros after the padded content.
pub(crate) const FOOTER_SIZE: usize = BLOCK * 2;

/// `"<length> size=<value>\n"`, where the length counts its own digits.
fn pax_record(content_size: u64) -> Vec<u8> {
    let rest = format!(" size={content_size}\n");
    let digits =
        (1..).find(|digits| rest.len().saturating_add(*digits).to_string().len() == *digits).unwrap_or(2);
    format!("{}{rest}", rest.len().saturating_add(digits)).into_bytes()
}

fn seal(header: &mut [u8; BLOCK]) {
    put(header, MAGIC.start, b"ustar");
    put(header, VERSION.start, b"00");
    let [sum, _] = checksums(header);
    put(header, CHECKSUM.start, format!("{sum:>6o} \0").as_bytes());
}

fn put(header: &mut [u8; BLOCK], at: usize, field: &[u8]) {
    header.iter_mut().skip(at).zip(field).for_each(|(slot, &byte)| *slot = byte);
}

const MODE_AT: usize = 100;
const UID_AT: usize = 108;
const GID_AT: usize = 116;
const MTIME_AT: usize = 136;
const UNAME_AT: usize = 265;
const GNAME_AT: usize = 297;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_counts_itself() {
        assert_eq!(pax_record(1), b"9 size=1\n");
        assert_eq!(pax_record(12), b"11 size=12\n");
        assert_eq!(pax_record(u64::MAX).len(), 29);
        assert!(pax_record(u64::MAX).starts_with(b"29 "));
    }
}

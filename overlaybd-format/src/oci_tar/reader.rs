//! Reading entries one after the other.

use std::io::{self, Read};

use super::entry::{ContentRange, EntryKind, TarEntry, Timestamp};
use super::header::{BLOCK, HeaderBlock, text};
use super::pax::Pax;
use super::sparse;
use crate::{Error, Limits, Result};

/// Reads a tar stream from its start to its end, never back.
///
/// ```
/// use overlaybd_format::oci_tar::{EntryKind, TarReader};
/// use overlaybd_format::Limits;
///
/// # let mut builder = tar::Builder::new(Vec::new());
/// # let mut header = tar::Header::new_ustar();
/// # header.set_size(5);
/// # builder.append_data(&mut header, "etc/hostname", &b"node\n"[..])?;
/// # let layer = builder.into_inner()?;
/// let mut reader = TarReader::new(layer.as_slice(), &Limits::default());
/// while let Some(entry) = reader.next_entry()? {
///     assert_eq!(entry.path, b"etc/hostname");
///     let EntryKind::File { content, .. } = entry.kind else { continue };
///     assert_eq!((content[0].at, content[0].len), (512, 5));
///     let mut stored = Vec::new();
///     std::io::Read::read_to_end(&mut reader.content(), &mut stored)?;
///     assert_eq!(stored, b"node\n");
/// }
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    /// Bytes read so far.
    at: u64,
    /// Where the header of the current entry is.
    entry_at: u64,
    /// Bytes of the current entry's content that were not read, and of the padding behind it.
    content: u64,
    padding: u64,
    global: Pax,
    global_bytes: u64,
    limits: Limits,
}

impl<R: Read> TarReader<R> {
    /// Reads the tar that starts where `input` is.
    pub fn new(input: R, limits: &Limits) -> Self {
        Self {
            input,
            at: 0,
            entry_at: 0,
            content: 0,
            padding: 0,
            global: Pax::default(),
            global_bytes: 0,
            limits: limits.clone(),
        }
    }

    /// The next entry; none at the end of the archive, where `input` is left. What was not read of the
    /// content of the last one is passed over.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] for what is no tar, [`Error::Unsupported`] for types of entries that no layer
    /// has, [`Error::Limit`] for records and sparse maps out of proportion, and [`Error::Io`].
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>> {
        self.skip()?;
        let mut said = Said { pax: self.global.clone(), ..Said::default() };
        let mut said_bytes = 0u64;
        loop {
            let at = self.at;
            let Some(header) = self.header(&said)? else { return Ok(None) };
            let size = header.size().and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| broken(at, "the size is no number"))?;
            let wrong = |why| broken(at, why);
            if matches!(header.type_flag(), b'L' | b'K' | b'x' | b'g') {
                said_bytes = said_bytes.saturating_add(size);
                self.check_limit(said_bytes)?;
            }
            match header.type_flag() {
                b'L' => said.path = Some(text(&self.records(size)?).to_vec()),
                b'K' => said.link = Some(text(&self.records(size)?).to_vec()),
                b'x' => {
                    let records = self.records(size)?;
                    said.pax.add(&records).map_err(wrong)?;
                }
                b'g' => {
                    self.global_bytes = self.global_bytes.saturating_add(size);
                    if self.global_bytes > MOST_GLOBAL {
                        let (value, limit) = (self.global_bytes, MOST_GLOBAL);
                        return Err(Error::Limit { what: "bytes of global tar records", value, limit });
                    }
                    let records = self.records(size)?;
                    self.global.add(&records).map_err(wrong)?;
                    said.pax.add(&records).map_err(wrong)?;
                }
                _ => {
                    self.entry_at = at;
                    return self.entry(at, &header, size, said).map(Some);
                }
            }
        }
    }

    /// Where the header of the current entry is, in bytes of the stream.
    pub(crate) fn entry_at(&self) -> u64 {
        self.entry_at
    }

    /// Passes over the content of the current entry up to byte `at` of the stream.
    pub(crate) fn skip_content_to(&mut self, at: u64) -> Result<()> {
        let mut skipped = vec![0; 16 << 10];
        while let Some(rest @ 1..) = at.checked_sub(self.at) {
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(skipped.len());
            self.read_content(skipped.get_mut(..len).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Fills `buf` with what comes next of the content of the current entry.
    pub(crate) fn read_content(&mut self, buf: &mut [u8]) -> Result<()> {
        self.content = match self.content.checked_sub(buf.len() as u64) {
            Some(rest) => rest,
            None => return Err(broken(self.entry_at, "less content than its size says")),
        };
        self.read_exact(buf)
    }

    /// The stored bytes of the current entry, one range after the other, as far as they were not read.
    pub fn content(&mut self) -> impl Read + '_ {
        Content { tar: self }
    }

    fn entry(&mut self, at: u64, header: &HeaderBlock, size: u64, said: Said) -> Result<TarEntry> {
        let wrong = |why: &'static str| broken(at, why);
        let pax = &said.pax;
        let stored = pax.number("size").map_err(wrong)?.unwrap_or(size);
        if i64::try_from(stored).is_err() {
            return Err(wrong("a size that no file has"));
        }
        let path = said.path.clone().unwrap_or_else(|| header.path());
        let path = pax.get("GNU.sparse.name").or_else(|| pax.get("path")).map_or(path, <[u8]>::to_vec);
        let link = said.link.as_deref().unwrap_or_else(|| header.link_name());
        let link = pax.get("linkpath").unwrap_or(link).to_vec();

        let id = |key, field: Option<i64>| {
            let id = match pax.number(key).map_err(wrong)? {
                Some(id) => u32::try_from(id).ok(),
                None => field.and_then(|id| u32::try_from(id).ok()),
            };
            id.ok_or_else(|| wrong("an owner or group that is no 32-bit number"))
        };
        let (uid, gid) = (id("uid", header.uid())?, id("gid", header.gid())?);
        let mtime = match pax.time("mtime").map_err(wrong)? {
            Some(time) => time,
            None => {
                let seconds = header.mtime().ok_or_else(|| wrong("the time is no number"))?;
                Timestamp { seconds, nanoseconds: 0 }
            }
        };
        let mode = header.mode().and_then(|mode| u32::try_from(mode & 0o7777).ok());
        let mode = mode.ok_or_else(|| wrong("the mode is no number"))?;
        let xattrs = pax.xattrs();

        let kind = match header.type_flag() {
            b'0' | 0 | b'7' if path.ends_with(b"/") && stored == 0 => EntryKind::Directory,
            b'0' | 0 | b'7' => self.file(at, stored, &said)?,
            b'S' => self.gnu_sparse(at, header, stored)?,
            b'1' => EntryKind::HardLink { target: link },
            b'2' => EntryKind::Symlink { target: link },
            flag @ (b'3' | b'4') => {
                let numbers = header.device().and_then(|(major, minor)| {
                    Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
                });
                match (numbers.ok_or_else(|| wrong("device numbers that are none"))?, flag) {
                    ((major, minor), b'3') => EntryKind::CharacterDevice { major, minor },
                    ((major, minor), _) => EntryKind::BlockDevice { major, minor },
                }
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => return Err(Error::Unsupported { what: "tar entry type", value: other.into() }),
        };
        Ok(TarEntry { path, kind, mode, uid, gid, mtime, xattrs })
    }

    /// A regular file, whose pax records may make it a sparse one.
    fn file(&mut self, at: u64, stored: u64, Said { pax, .. }: &Said) -> Result<EntryKind> {
        let wrong = |why: &'static str| broken(at, why);
        self.content = stored;
        self.padding = padding(stored);
        let size = match pax.number("GNU.sparse.realsize").map_err(wrong)? {
            Some(size) => Some(size),
            None => pax.number("GNU.sparse.size").map_err(wrong)?,
        };
        let map = if pax.get("GNU.sparse.major").is_some_and(|major| major == b"1") {
            Some(self.sparse_lines(at)?)
        } else if let Some(list) = pax.get("GNU.sparse.map") {
            Some(sparse::from_list(list).map_err(wrong)?)
        } else {
            (!pax.sparse.is_empty()).then(|| pax.sparse.clone())
        };
        if map.is_some() && size.is_none() {
            return Err(wrong("a sparse map without the size of the file"));
        }
        let Some((size, map)) = size.zip(map) else {
            let whole = ContentRange { offset: 0, len: stored, at: self.at };
            return Ok(EntryKind::File {
                size: stored,
                content: Vec::from_iter((stored > 0).then_some(whole)),
            });
        };
        let content = sparse::content(&map, size, self.at, self.content).map_err(wrong)?;
        Ok(EntryKind::File { size, content })
    }

    /// The sparse map in front of the content, filled up to a block.
    fn sparse_lines(&mut self, at: u64) -> Result<sparse::Map> {
        let mut lines = Vec::new();
        // Lines that are whole, and how many there must be before it pays to look at them.
        let (mut whole, mut wanted) = (0u64, 1u64);
        loop {
            self.check_limit(lines.len() as u64)?;
            let Some(rest) = self.content.checked_sub(BLOCK as u64) else {
                return Err(broken(at, "a sparse map that does not end"));
            };
            let block = self.block()?.ok_or_else(|| self.ends_early())?;
            whole = whole.saturating_add(block.iter().filter(|&&byte| byte == b'\n').count() as u64);
            lines.extend(block);
            self.content = rest;
            if whole < wanted {
                continue;
            }
            let most = self.limits.tar_records;
            if let Some(map) = sparse::from_lines(&lines, most).map_err(|why| broken(at, why))? {
                return Ok(map);
            }
            // The first line is the number of pairs.
            let pairs = lines.split(|&byte| byte == b'\n').next().and_then(|line| str::from_utf8(line).ok());
            let pairs = pairs.and_then(|pairs| pairs.parse::<u64>().ok()).unwrap_or(0);
            wanted = pairs.saturating_mul(2).saturating_add(1);
        }
    }

    fn gnu_sparse(&mut self, at: u64, header: &HeaderBlock, stored: u64) -> Result<EntryKind> {
        let wrong = |why: &'static str| broken(at, why);
        let (fields, mut goes_on, size) = header.sparse();
        let size = size.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| wrong("the size of a sparse file is no number"))?;
        let mut map = sparse::Map::new();
        sparse::add_gnu(&mut map, fields).map_err(wrong)?;
        while goes_on {
            self.check_limit((map.len() as u64).saturating_mul(24))?;
            let block = self.block()?.ok_or_else(|| self.ends_early())?;
            let (fields, rest) = block.split_at(GNU_FIELDS);
            sparse::add_gnu(&mut map, fields).map_err(wrong)?;
            goes_on = rest.first().is_some_and(|&byte| byte != 0);
        }
        self.content = stored;
        self.padding = padding(stored);
        let content = sparse::content(&map, size, self.at, stored).map_err(wrong)?;
        Ok(EntryKind::File { size, content })
    }

    /// The next header; none at the end of the archive.
    fn header(&mut self, said: &Said) -> Result<Option<HeaderBlock>> {
        let at = self.at;
        match self.block()? {
            Some(block) if block != [0; BLOCK] => match HeaderBlock::new(block) {
                Some(header) => Ok(Some(header)),
                None => Err(broken(at, "its checksum is wrong")),
            },
            _ if said.path.is_some() || said.link.is_some() => Err(broken(at, "a name without an entry")),
            None => Ok(None),
            // The end is two blocks of zeros; some writers leave out the second, at the end of the input.
            Some(_) => match self.block()? {
                Some(block) if block != [0; BLOCK] => Err(broken(at, "a lone block of zeros")),
                _ => Ok(None),
            },
        }
    }

    /// The content of a header for the next entry.
    fn records(&mut self, size: u64) -> Result<Vec<u8>> {
        self.check_limit(size)?;
        let mut records = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.read_exact(&mut records)?;
        (self.content, self.padding) = (0, padding(size));
        self.skip()?;
        Ok(records)
    }

    fn check_limit(&self, value: u64) -> Result<()> {
        let limit = self.limits.tar_records;
        if value <= limit { Ok(()) } else { Err(Error::Limit { what: "bytes of tar records", value, limit }) }
    }

    /// The next block; none if the input is at its end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let (first, rest) = block.split_at_mut(1);
        if self.read(first)? == 0 {
            return Ok(None);
        }
        self.read_exact(rest)?;
        Ok(Some(block))
    }

    /// Passes over what is left of the content and its padding.
    fn skip(&mut self) -> Result<()> {
        let mut rest = self.content.saturating_add(self.padding);
        (self.content, self.padding) = (0, 0);
        let mut buffer = [0; 16 << 10];
        while rest > 0 {
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
            self.read_exact(buffer.get_mut(..len).unwrap_or_default())?;
            rest = rest.saturating_sub(len as u64);
        }
        Ok(())
    }

    fn read_exact(&mut self, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            let read = self.read(buf)?;
            if read == 0 {
                return Err(self.ends_early());
            }
            buf = buf.get_mut(read..).unwrap_or_default();
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        loop {
            match self.input.read(buf) {
                Ok(read) => {
                    self.at = self.at.saturating_add(read as u64);
                    return Ok(read);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(self.at, buf.len(), e)),
            }
        }
    }

    fn ends_early(&self) -> Error {
        broken(self.at, "the archive ends inside an entry")
    }
}

/// The content of the current entry.
struct Content<'a, R> {
    tar: &'a mut TarReader<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.tar.content).unwrap_or(usize::MAX).min(buf.len());
        let part = buf.get_mut(..len).unwrap_or_default();
        if part.is_empty() {
            return Ok(0);
        }
        let read = self.tar.read(part)?;
        if read == 0 {
            return Err(self.tar.ends_early().into());
        }
        self.tar.content = self.tar.content.saturating_sub(read as u64);
        Ok(read)
    }
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Pax,
}

fn broken(at: u64, why: &'static str) -> Error {
    Error::broken("tar entry", at, why)
}

/// Bytes from the end of the content to the next block.
fn padding(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK as u64).map_or(0, |end| end.saturating_sub(size))
}

/// Bytes of sparse entries in a block of them.
const GNU_FIELDS: usize = 504;
/// Bytes of global records: every entry carries them.
const MOST_GLOBAL: u64 = 16 << 10;

//! What a server answers, as bytes.

use overlaybd_format::Error;

/// An error as the protocol numbers it, with the reason in words for clients that take these.
#[derive(Debug)]
pub(super) struct Refusal {
    errno: u32,
    why: String,
}

impl Refusal {
    pub(super) fn new(errno: u32, why: impl Into<String>) -> Self {
        Self { errno, why: why.into() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let errno = match error.root() {
            Error::OutOfBounds { .. } | Error::InvalidWrite { .. } => EINVAL,
            Error::ReadOnly { .. } => EPERM,
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => ENOSPC,
            _ => EIO,
        };
        Self::new(errno, error.to_string())
    }
}

/// The answer to a read: room for the head in either form, and behind it the bytes.
#[derive(Debug)]
pub(super) struct Data(Vec<u8>);

impl Data {
    pub(super) fn new(len: u32) -> Self {
        Self(vec![0; DATA_HEAD + len as usize])
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.get_mut(DATA_HEAD..).unwrap_or_default()
    }

    /// The reply, the bytes being those at `offset`.
    pub(super) fn finish(&mut self, structured: bool, cookie: u64, offset: u64) -> &[u8] {
        let len = (self.0.len() - DATA_HEAD) as u32;
        let head = if structured {
            let mut head = chunk(OFFSET_DATA, true, cookie, len + 8);
            head.extend(offset.to_be_bytes());
            head
        } else {
            simple(cookie, 0)
        };
        let start = DATA_HEAD - head.len();
        if let Some(room) = self.0.get_mut(start..DATA_HEAD) {
            room.copy_from_slice(&head);
        }
        self.0.get(start..).unwrap_or_default()
    }
}

/// The longer head, that of a structured reply with an offset.
const DATA_HEAD: usize = 28;

/// Answers a read of zeros to a client that takes structured replies.
pub(super) fn hole(cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let mut reply = chunk(OFFSET_HOLE, true, cookie, 12);
    reply.extend(offset.to_be_bytes());
    reply.extend(len.to_be_bytes());
    reply
}

/// Answers a block status: runs of bytes and whether they are zeros.
pub(super) fn block_status(cookie: u64, runs: &[(u64, bool)]) -> Vec<u8> {
    let mut reply = chunk(BLOCK_STATUS, true, cookie, 4 + 8 * runs.len() as u32);
    reply.extend(ALLOCATION_ID.to_be_bytes());
    for &(len, zero) in runs {
        reply.extend((len as u32).to_be_bytes());
        reply.extend((if zero { STATE_HOLE | STATE_ZERO } else { 0 }).to_be_bytes());
    }
    reply
}

/// Answers what has no bytes to give.
pub(super) fn done(structured: bool, cookie: u64) -> Vec<u8> {
    if structured { chunk(NONE, true, cookie, 0) } else { simple(cookie, 0) }
}

/// Answers with an error.
pub(super) fn refuse(structured: bool, cookie: u64, refusal: &Refusal) -> Vec<u8> {
    if !structured {
        return simple(cookie, refusal.errno);
    }
    // The text is for people; a character that is cut at its end harms nobody.
    let text = refusal.why.as_bytes();
    let text = text.get(..LONGEST_TEXT).unwrap_or(text);
    let mut reply = chunk(ERROR, true, cookie, 6 + text.len() as u32);
    reply.extend(refusal.errno.to_be_bytes());
    reply.extend((text.len() as u16).to_be_bytes());
    reply.extend(text);
    reply
}

fn simple(cookie: u64, errno: u32) -> Vec<u8> {
    let mut reply = Vec::with_capacity(16);
    reply.extend(SIMPLE_MAGIC.to_be_bytes());
    reply.extend(errno.to_be_bytes());
    reply.extend(cookie.to_be_bytes());
    reply
}

fn chunk(kind: u16, last: bool, cookie: u64, len: u32) -> Vec<u8> {
    let mut reply = Vec::with_capacity(32);
    reply.extend(STRUCTURED_MAGIC.to_be_bytes());
    reply.extend(u16::from(last).to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend(cookie.to_be_bytes());
    reply.extend(len.to_be_bytes());
    reply
}

/// The number that this server gives to the context `base:allocation`.
pub(super) const ALLOCATION_ID: u32 = 1;

const SIMPLE_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_MAGIC: u32 = 0x668e_33ef;
const NONE: u16 = 0;
const OFFSET_DATA: u16 = 1;
const OFFSET_HOLE: u16 = 2;
const BLOCK_STATUS: u16 = 5;
const ERROR: u16 = 1 << 15 | 1;
const STATE_HOLE: u32 = 1;
const STATE_ZERO: u32 = 2;
/// The protocol allows strings of 4096 bytes.
const LONGEST_TEXT: usize = 1024;

pub(super) const EPERM: u32 = 1;
pub(super) const EIO: u32 = 5;
pub(super) const EINVAL: u32 = 22;
pub(super) const ENOSPC: u32 = 28;

//! Agreeing with a client on what it gets.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Export;
use super::reply::ALLOCATION_ID;

/// What was agreed on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) structured: bool,
    pub(super) allocation: bool,
}

/// Negotiates until the client wants the device; `None` if it leaves before.
pub(super) async fn negotiate(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    export: &Export,
) -> Result<Option<Agreed>> {
    let mut hello = Vec::new();
    hello.extend(b"NBDMAGIC");
    hello.extend(b"IHAVEOPT");
    hello.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    socket.write_all(&hello).await?;
    let flags = socket.read_u32().await?;
    if flags & u32::from(FIXED_NEWSTYLE) == 0 {
        return Err(refused("the client knows no fixed newstyle negotiation"));
    }
    let zeroes = flags & u32::from(NO_ZEROES) == 0;

    let mut agreed = Agreed::default();
    loop {
        let mut magic = [0; 8];
        socket.read_exact(&mut magic).await?;
        if &magic != b"IHAVEOPT" {
            return Err(refused("an option that does not start as one"));
        }
        let option = socket.read_u32().await?;
        let len = socket.read_u32().await? as usize;
        if len > LONGEST_OPTION {
            return Err(refused("an option that is too long"));
        }
        let mut data = vec![0; len];
        socket.read_exact(&mut data).await?;
        let mut replies = Replies { option, bytes: Vec::new() };
        match option {
            EXPORT_NAME => {
                let mut answer = Vec::new();
                answer.extend(export.device.size().to_be_bytes());
                answer.extend(transmission_flags(export).to_be_bytes());
                answer.extend(if zeroes { &[0; 124][..] } else { &[] });
                socket.write_all(&answer).await?;
                return Ok(Some(agreed));
            }
            ABORT => {
                replies.add(ACK, &[]);
                socket.write_all(&replies.bytes).await?;
                return Ok(None);
            }
            LIST if data.is_empty() => {
                replies.add(SERVER, &0u32.to_be_bytes());
                replies.add(ACK, &[]);
            }
            INFO | GO if is_export_request(&data) => {
                let mut info = Vec::new();
                info.extend(INFO_EXPORT.to_be_bytes());
                info.extend(export.device.size().to_be_bytes());
                info.extend(transmission_flags(export).to_be_bytes());
                replies.add(REPLY_INFO, &info);
                let mut info = Vec::new();
                info.extend(INFO_BLOCK_SIZE.to_be_bytes());
                for size in [if export.writable { 512 } else { 1 }, PREFERRED_BLOCK, LONGEST_REQUEST] {
                    info.extend(size.to_be_bytes());
                }
                replies.add(REPLY_INFO, &info);
                replies.add(ACK, &[]);
                if option == GO {
                    socket.write_all(&replies.bytes).await?;
                    return Ok(Some(agreed));
                }
            }
            STRUCTURED_REPLY if data.is_empty() => {
                agreed.structured = true;
                replies.add(ACK, &[]);
            }
            LIST_META_CONTEXT | SET_META_CONTEXT if agreed.structured => match queries(&data) {
                Some(queries) => {
                    let listed = option == LIST_META_CONTEXT && queries.is_empty();
                    let asked = listed || queries.iter().any(|&query| query == ALLOCATION.as_bytes());
                    // A namespace alone asks for all that is in it.
                    let asked = asked || option == LIST_META_CONTEXT && queries.contains(&&b"base:"[..]);
                    if asked {
                        let mut context = ALLOCATION_ID.to_be_bytes().to_vec();
                        context.extend(ALLOCATION.as_bytes());
                        replies.add(META_CONTEXT, &context);
                    }
                    if option == SET_META_CONTEXT {
                        agreed.allocation = asked;
                    }
                    replies.add(ACK, &[]);
                }
                None => replies.add(ERR_INVALID, b"a malformed query"),
            },
            LIST | INFO | GO | STRUCTURED_REPLY | LIST_META_CONTEXT | SET_META_CONTEXT => {
                replies.add(ERR_INVALID, b"malformed, or before structured replies");
            }
            _ => replies.add(ERR_UNSUPPORTED, &[]),
        }
        socket.write_all(&replies.bytes).await?;
    }
}

struct Replies {
    option: u32,
    bytes: Vec<u8>,
}

impl Replies {
    fn add(&mut self, kind: u32, data: &[u8]) {
        self.bytes.extend(REPLY_MAGIC.to_be_bytes());
        self.bytes.extend(self.option.to_be_bytes());
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((data.len() as u32).to_be_bytes());
        self.bytes.extend(data);
    }
}

/// A name, whose bytes are all there, and the numbers of the information that is wanted.
fn is_export_request(data: &[u8]) -> bool {
    let rest = string(data).map(|(_name, rest)| rest);
    rest.and_then(|rest| rest.split_first_chunk())
        .is_some_and(|(count, infos)| infos.len() == 2 * usize::from(u16::from_be_bytes(*count)))
}

/// The queries after the name of the export.
fn queries(data: &[u8]) -> Option<Vec<&[u8]>> {
    let (_name, rest) = string(data)?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut queries = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (query, tail) = string(rest)?;
        queries.push(query);
        rest = tail;
    }
    rest.is_empty().then_some(queries)
}

fn string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

fn transmission_flags(export: &Export) -> u16 {
    let always = HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN | SEND_CACHE;
    always | if export.writable { SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES } else { READ_ONLY }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

/// The longest read or write, in bytes, as other servers have it.
pub(super) const LONGEST_REQUEST: u32 = 32 << 20;
const PREFERRED_BLOCK: u32 = 4096;
/// Names and queries are at most 4096 bytes long each.
const LONGEST_OPTION: usize = 64 << 10;
const ALLOCATION: &str = "base:allocation";

const FIXED_NEWSTYLE: u16 = 1 << 0;
const NO_ZEROES: u16 = 1 << 1;

const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
const LIST: u32 = 3;
const INFO: u32 = 6;
const GO: u32 = 7;
const STRUCTURED_REPLY: u32 = 8;
const LIST_META_CONTEXT: u32 = 9;
const SET_META_CONTEXT: u32 = 10;

const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const ACK: u32 = 1;
const SERVER: u32 = 2;
const REPLY_INFO: u32 = 3;
const META_CONTEXT: u32 = 4;
const ERR_UNSUPPORTED: u32 = 1 << 31 | 1;
const ERR_INVALID: u32 = 1 << 31 | 3;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const HAS_FLAGS: u16 = 1 << 0;
const READ_ONLY: u16 = 1 << 1;
const SEND_FLUSH: u16 = 1 << 2;
const SEND_FUA: u16 = 1 << 3;
const SEND_TRIM: u16 = 1 << 5;
const SEND_WRITE_ZEROES: u16 = 1 << 6;
const CAN_MULTI_CONN: u16 = 1 << 8;
const SEND_CACHE: u16 = 1 << 10;

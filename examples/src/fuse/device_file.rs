//! The FUSE filesystem: a directory with one file, which is the device.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, Request,
};
use overlaybd_format::{ReadAt, Warm};
use rustix::process::{getgid, getuid};
use tokio::runtime::Handle;

use crate::one_line::one_line;

use super::Reads;

/// The name of the file.
pub(super) const NAME: &str = "device";

pub(super) struct DeviceFile {
    device: Arc<dyn ReadAt>,
    runtime: Handle,
    reads: Arc<Reads>,
}

impl DeviceFile {
    pub(super) fn new(device: Arc<dyn ReadAt>, runtime: Handle, reads: Arc<Reads>) -> Self {
        Self { device, runtime, reads }
    }

    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, nlink, size) = match ino {
            INodeNo::ROOT => (FileType::Directory, 0o555, 2, 0),
            DEVICE => (FileType::RegularFile, 0o444, 1, self.device.size()),
            _ => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink,
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// The length of a read that starts at `offset`, cut at the end of the device.
    fn len(&self, offset: u64, size: u32) -> usize {
        u64::from(size).min(self.device.size().saturating_sub(offset)) as usize
    }

    /// Answers a read whose bytes are not at hand from a task, so that the thread is free for those that
    /// are.
    fn read_cold(&self, offset: u64, len: usize, reply: ReplyData) {
        let (device, reads) = (Arc::clone(&self.device), Arc::clone(&self.reads));
        self.runtime.spawn(async move {
            let mut buf = vec![0; len];
            let result = device.read_at(&mut buf, offset).await.map_err(|error| one_line(&error.into()));
            match &result {
                Ok(()) => reply.data(&buf),
                Err(_) => reply.error(Errno::EIO),
            }
            reads.done(&result);
        });
    }
}

impl fuser::Filesystem for DeviceFile {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Refusals name the nearest value, or what the kernel lacks; either is as good as it gets.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        let _ = config.set_max_background(IN_FLIGHT);
        let _ = config.set_congestion_threshold(IN_FLIGHT);
        if let Err(most) = config.set_max_readahead(READAHEAD) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = (parent == INodeNo::ROOT && name == NAME).then(|| self.attributes(DEVICE)).flatten();
        match found {
            Some(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&FOREVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = self.len(offset, size);
        BUFFER.with_borrow_mut(|buf| {
            if buf.len() < len {
                buf.resize(len, 0);
            }
            let buf = buf.get_mut(..len).unwrap_or_default();
            match self.device.try_read_at(buf, offset) {
                Ok(Warm::Yes) => {
                    reply.data(buf);
                    self.reads.done(&Ok::<_, fmt::Error>(()));
                }
                // An error is met once more on the way that may repair it.
                Ok(Warm::No) | Err(_) => self.read_cold(offset, len, reply),
            }
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = [
            (INodeNo::ROOT, FileType::Directory, "."),
            (INodeNo::ROOT, FileType::Directory, ".."),
            (DEVICE, FileType::RegularFile, NAME),
        ];
        for (next, (ino, kind, name)) in (1..).zip(entries).skip(offset as usize) {
            if reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

impl fmt::Debug for DeviceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceFile").field("device", &self.device).finish_non_exhaustive()
    }
}

thread_local! {
    /// For the answers of this thread; as long as the longest read so far.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

const DEVICE: INodeNo = INodeNo(2);
/// Nothing changes while the device is served.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Reads by readahead and by the loop device that the kernel sends before one is answered. While the origin is
/// far, each of them waits for a round trip, so that there have to be many.
const IN_FLIGHT: u16 = 256;
/// What the kernel reads ahead in the file at most, in bytes.
const READAHEAD: u32 = 1 << 20;

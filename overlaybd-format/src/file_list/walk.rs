//! From the paths of a list to bytes of a device.
//!
//! Each path is followed on its own, several at a time, because each step of one waits for the step
//! before. What a hostile filesystem can cost is bounded by counting steps; a step is an inode, a
//! range of a file, or 4 KiB of a directory.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt, stream};

use super::{FileList, ListedFiles};
use crate::filesystem::{Filesystem, Inode, Kind};
use crate::{ReadAt, Result};

pub(super) async fn resolve(list: &FileList, device: &dyn ReadAt) -> Result<ListedFiles> {
    let filesystem = Filesystem::open(device).await?;
    let walk = Walk { device, filesystem, steps_left: AtomicU64::new(MOST_STEPS) };
    let mut found = ListedFiles::default();
    let mut resolved = stream::iter(list.paths()).map(|path| walk.path(path)).buffered(AT_ONCE).enumerate();
    while let Some((number, ranges)) = resolved.next().await {
        match ranges? {
            Some(ranges) => found.ranges.extend(ranges),
            None => found.unresolved.push(number),
        }
    }
    Ok(found)
}

struct Walk<'a> {
    device: &'a dyn ReadAt,
    filesystem: Filesystem,
    steps_left: AtomicU64,
}

impl Walk<'_> {
    /// The bytes of all that `path` means; none if it means nothing.
    async fn path(&self, path: &[u8]) -> Result<Option<Vec<Range<u64>>>> {
        let Some((number, inode)) = self.follow(path).await? else { return Ok(None) };
        match inode.kind {
            Kind::File => Ok(inode.stored),
            Kind::Directory if path.ends_with(b"/") => self.below(number, inode).await,
            _ => Ok(None),
        }
    }

    /// The inode at the end of `path`, with its number.
    async fn follow(&self, path: &[u8]) -> Result<Option<(u64, Inode)>> {
        let mut at = self.filesystem.root();
        let mut links = 0_u32;
        // The components still to be followed, the next one last.
        let mut rest = components(path);
        let Some(mut inode) = self.inode(at).await? else { return Ok(None) };
        while let Some(name) = rest.pop() {
            let Some(content) = self.content(&inode, Kind::Directory, LARGEST_DIRECTORY).await? else {
                return Ok(None);
            };
            let entry = self.filesystem.names(&content)?.into_iter().find(|(found, _)| *found == name);
            let Some((_, number)) = entry else { return Ok(None) };
            let Some(next) = self.inode(number).await? else { return Ok(None) };
            if next.kind != Kind::Link {
                (at, inode) = (number, next);
                continue;
            }
            let target = self.content(&next, Kind::Link, LONGEST_PATH).await?;
            let Some(target) = target.filter(|_| links < MOST_LINKS) else { return Ok(None) };
            links = links.saturating_add(1);
            rest.extend(components(&target));
            if target.starts_with(b"/") {
                at = self.filesystem.root();
                let Some(root) = self.inode(at).await? else { return Ok(None) };
                inode = root;
            }
        }
        Ok(Some((at, inode)))
    }

    /// The bytes of all files below the directory `number`, whose inode is `inode`. Files that cannot
    /// be followed are left out.
    async fn below(&self, number: u64, inode: Inode) -> Result<Option<Vec<Range<u64>>>> {
        let mut ranges = Vec::new();
        let mut seen = HashSet::from([number]);
        let mut directories = vec![inode];
        while let Some(directory) = directories.pop() {
            let Some(content) = self.content(&directory, Kind::Directory, LARGEST_DIRECTORY).await? else {
                return Ok(None);
            };
            let numbers: Vec<u64> = self
                .filesystem
                .names(&content)?
                .into_iter()
                .filter(|(name, _)| !matches!(*name, b"." | b".."))
                // A second name of a file adds nothing; of a directory, it would never end.
                .filter_map(|(_, number)| seen.insert(number).then_some(number))
                .collect();
            let mut inodes = stream::iter(numbers).map(|number| self.inode(number)).buffered(AT_ONCE);
            while let Some(inode) = inodes.try_next().await? {
                match inode {
                    None => return Ok(None),
                    Some(directory) if directory.kind == Kind::Directory => directories.push(directory),
                    Some(Inode { kind: Kind::File, stored: Some(stored) }) => ranges.extend(stored),
                    Some(_) => {}
                }
            }
        }
        Ok(Some(ranges))
    }

    /// None if no step is left.
    async fn inode(&self, number: u64) -> Result<Option<Inode>> {
        if !self.step(1) {
            return Ok(None);
        }
        let inode = self.filesystem.inode(self.device, number).await?;
        let ranges = inode.stored.as_ref().map_or(0, Vec::len) as u64;
        Ok(self.step(ranges).then_some(inode))
    }

    /// All bytes of an inode that is to be of `kind`; none if it is not, if it has more than `most`, or
    /// if no step is left.
    async fn content(&self, inode: &Inode, kind: Kind, most: u64) -> Result<Option<Vec<u8>>> {
        let Some(stored) = inode.stored.as_ref().filter(|_| inode.kind == kind) else { return Ok(None) };
        let len = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let size = stored.iter().map(len).fold(0, u64::saturating_add);
        if size > most || !self.step(size.div_ceil(STEP)) {
            return Ok(None);
        }
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut rest = content.as_mut_slice();
        for range in stored {
            let (part, tail) = rest.split_at_mut(usize::try_from(len(range)).unwrap_or_default());
            self.device.read_at(part, range.start).await?;
            rest = tail;
        }
        Ok(Some(content))
    }

    fn step(&self, steps: u64) -> bool {
        let take = |left: u64| left.checked_sub(steps);
        self.steps_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// The components of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let components = path.split(|&byte| byte == b'/').rev();
    components.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()
}

/// Paths or inodes under way at a time.
const AT_ONCE: usize = 16;
/// Steps of a whole list: a thousand paths through directories of four thousand files take half of it.
const MOST_STEPS: u64 = 1 << 20;
/// Bytes of a directory that count as a step.
const STEP: u64 = 4096;
/// A directory of some hundred thousand files.
const LARGEST_DIRECTORY: u64 = 16 << 20;
/// Linux: the longest path, and links on the way of one.
const LONGEST_PATH: u64 = 4096;
const MOST_LINKS: u32 = 40;

//! Listing the files of a device.

use std::collections::HashMap;

use super::apply::device_numbers;
use super::blocks::in_bytes;
use super::read;
use super::tree::{Budget, NodeId, NodeKind, Tree};
use crate::oci_tar::{ContentRange, EntryKind, TarEntry};
use crate::{Limits, ReadAt, Result};

/// Every file below the root of a device that a [`Converter`](super::Converter) wrote, as the entries of a tar would
/// say it: a directory comes before what is in it, and the second name of a file is a hard link to the first.
/// [`ContentRange::at`] is a byte of the device here.
///
/// # Errors
///
/// [`Error::Unsupported`](crate::Error::Unsupported) for filesystems that no converter wrote,
/// [`Error::Broken`](crate::Error::Broken), [`Error::Checksum`](crate::Error::Checksum),
/// [`Error::Limit`](crate::Error::Limit); whatever reading reports.
pub async fn files(device: &dyn ReadAt, limits: &Limits) -> Result<Vec<TarEntry>> {
    let (tree, _) = read::read(device, limits).await?;
    let mut budget = Budget::new(limits);
    let mut files = Vec::new();
    // First names, as places in the list.
    let mut named: HashMap<u64, usize> = HashMap::new();
    let mut unlisted: Vec<(Vec<u8>, NodeId)> = children(&tree, b"", NodeId::ROOT, &mut budget)?;
    while let Some((path, id)) = unlisted.pop() {
        let node = tree.node(id);
        let at = node.place.map_or(0, |place| place.at);
        let first = named.get(&at).and_then(|&first| files.get(first)).map(|first: &TarEntry| &first.path);
        let kind = match (&node.kind, first) {
            (NodeKind::Removed, _) => continue,
            (_, Some(first)) => EntryKind::HardLink { target: first.clone() },
            (NodeKind::Directory { .. }, _) => EntryKind::Directory,
            (&NodeKind::File { size, block }, _) => {
                let content = ContentRange { offset: 0, len: size, at: in_bytes(block) };
                EntryKind::File { size, content: Vec::from_iter((size > 0).then_some(content)) }
            }
            (NodeKind::Symlink(target), _) => EntryKind::Symlink { target: target.to_vec() },
            (&NodeKind::CharacterDevice(number), _) => {
                let (major, minor) = device_numbers(number);
                EntryKind::CharacterDevice { major, minor }
            }
            (&NodeKind::BlockDevice(number), _) => {
                let (major, minor) = device_numbers(number);
                EntryKind::BlockDevice { major, minor }
            }
            (NodeKind::Fifo, _) => EntryKind::Fifo,
        };
        named.entry(at).or_insert(files.len());
        unlisted.extend(children(&tree, &path, id, &mut budget)?);
        let attributes = &node.attributes;
        files.push(TarEntry {
            path,
            kind,
            mode: attributes.mode.into(),
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            xattrs: attributes.xattrs.clone(),
        });
    }
    Ok(files)
}

/// What is in a directory, the last one first.
fn children(
    tree: &Tree,
    path: &[u8],
    directory: NodeId,
    budget: &mut Budget,
) -> Result<Vec<(Vec<u8>, NodeId)>> {
    let entries = tree.node(directory).entries().into_iter().flatten().rev();
    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
    let mut children = Vec::new();
    for (name, &id) in entries {
        budget.charge(1, path.len().saturating_add(name.len()) as u64)?;
        children.push(([path, slash, name].concat(), id));
    }
    Ok(children)
}

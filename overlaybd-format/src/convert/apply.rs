//! A layer's entries on the tree below.
//!
//! What a layer takes away is taken from the layers below alone, so it comes first, wherever it stands in the
//! tar; then its files follow in their order, a later one in place of an earlier one.

use super::path::{self, LONGEST_PATH, Name, Paths};
use super::tree::{Attributes, Node, NodeId, NodeKind, Tree};
use crate::erofs::xattrs::has_namespace;
use crate::oci_tar::{EntryKind, TarEntry};
use crate::{Error, Result};

/// An entry and where its header is in the tar.
#[derive(Debug)]
pub(super) struct LayerEntry {
    pub(super) entry: TarEntry,
    pub(super) at: u64,
}

/// Applies `entries`, all of a layer, to `tree`, and gives the nodes of regular files by the number of
/// the entry. Where their contents are is not known yet.
///
/// # Errors
///
/// [`Error::Broken`] for entries that no unpacker takes; [`Error::Limit`]; [`Error::Unsupported`] for devices
/// that cannot be numbered.
pub(super) fn apply(tree: &mut Tree, entries: &[LayerEntry]) -> Result<Vec<(usize, NodeId)>> {
    let mut paths = Paths::new();
    for entry in entries {
        let (directory, name) = match entry.name()? {
            Name::Whiteout(directory, name) => (directory, Some(name)),
            Name::Opaque(directory) => (directory, None),
            _ => continue,
        };
        let broken = |why| entry.broken(why);
        let Some(directory) = paths.directory(tree, &directory, false, &broken)? else { continue };
        match name {
            Some(name) => tree.unlink(directory, name),
            None => clear(tree, directory),
        }
    }
    let mut files = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let Name::File(directory, name) = entry.name()? else { continue };
        if let Some(file) = entry.apply(tree, &mut paths, &directory, name)? {
            files.push((number, file));
        }
    }
    Ok(files)
}

impl LayerEntry {
    fn name(&self) -> Result<Name<'_>> {
        Name::parse(&self.entry.path).map_err(|why| self.broken(why))
    }

    /// Gives the node, if it is that of a regular file.
    fn apply(
        &self,
        tree: &mut Tree,
        paths: &mut Paths,
        directory: &[&[u8]],
        name: &[u8],
    ) -> Result<Option<NodeId>> {
        let broken = |why| self.broken(why);
        let make = |kind| Node::new(self.attributes(), kind);
        let node = match &self.entry.kind {
            EntryKind::HardLink { target } => {
                self.link(tree, paths, directory, name, target)?;
                return Ok(None);
            }
            EntryKind::Directory => {
                let Some(directory) = paths.directory(tree, directory, true, &broken)? else {
                    return Ok(None);
                };
                if let Some(child) = tree.child(directory, name) {
                    if tree.node(child).is_directory() {
                        tree.describe(child, self.attributes())?;
                        return Ok(None);
                    }
                    tree.unlink(directory, name);
                }
                let child = tree.add(Node::directory(self.attributes()))?;
                tree.link(directory, name, child)?;
                return Ok(None);
            }
            EntryKind::File { size, .. } => make(NodeKind::File { size: *size, block: 0 }),
            EntryKind::Symlink { target } => make(NodeKind::Symlink(self.target(target)?.into())),
            EntryKind::CharacterDevice { major, minor } => {
                make(NodeKind::CharacterDevice(device_number(*major, *minor)?))
            }
            EntryKind::BlockDevice { major, minor } => {
                make(NodeKind::BlockDevice(device_number(*major, *minor)?))
            }
            EntryKind::Fifo => make(NodeKind::Fifo),
        };
        let Some(directory) = paths.directory(tree, directory, true, &broken)? else { return Ok(None) };
        tree.unlink(directory, name);
        let is_file = matches!(node.kind, NodeKind::File { .. });
        let child = tree.add(node)?;
        tree.link(directory, name, child)?;
        Ok(is_file.then_some(child))
    }

    /// Another name for a file that is there, of this layer or those below. The attributes of the entry say
    /// nothing: they are those of the file at the time when the tar was made.
    fn link(
        &self,
        tree: &mut Tree,
        paths: &mut Paths,
        directory: &[&[u8]],
        name: &[u8],
        target: &[u8],
    ) -> Result<()> {
        let broken = |why| self.broken(why);
        let mut target_directory = path::clean(target).map_err(broken)?;
        let target_name = target_directory.pop().ok_or_else(|| broken("a hard link to the root"))?;
        let found = paths.directory(tree, &target_directory, false, &broken)?;
        let file = found.and_then(|directory| tree.child(directory, target_name));
        let file = file.ok_or_else(|| broken("a hard link to a file that is not there"))?;
        if tree.node(file).is_directory() {
            return Err(broken("a hard link to a directory"));
        }
        let Some(directory) = paths.directory(tree, directory, true, &broken)? else { return Ok(()) };
        if tree.child(directory, name) == Some(file) {
            return Ok(());
        }
        // The name comes first: what is replaced may hold the last other one.
        let held = tree.node(file).links;
        tree.node_mut(file).links = held.saturating_add(1);
        tree.unlink(directory, name);
        let node = tree.node_mut(file);
        node.links = node.links.saturating_sub(1);
        tree.link(directory, name, file)
    }

    fn attributes(&self) -> Attributes {
        let TarEntry { mode, uid, gid, mtime, ref xattrs, .. } = self.entry;
        let is_kept =
            |name: &[u8]| has_namespace(name) && !OVERLAY.iter().any(|prefix| name.starts_with(prefix));
        Attributes {
            mode: u16::try_from(mode & 0o7777).unwrap_or_default(),
            uid,
            gid,
            mtime,
            xattrs: xattrs
                .iter()
                .filter(|(name, _)| is_kept(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    fn target<'a>(&self, target: &'a [u8]) -> Result<&'a [u8]> {
        match target {
            [] => Err(self.broken("a link to nothing")),
            _ if target.len() > LONGEST_PATH => Err(self.broken("a link to more than a path may be")),
            _ if target.contains(&0) => Err(self.broken("a link to a name with a NUL")),
            _ => Ok(target),
        }
    }

    fn broken(&self, why: &'static str) -> Error {
        Error::broken("tar entry", self.at, format!("{}: {why}", self.entry.path.escape_ascii()))
    }
}

/// Takes away all that is in a directory.
fn clear(tree: &mut Tree, directory: NodeId) {
    let names: Vec<_> =
        tree.node(directory).entries().into_iter().flat_map(|entries| entries.keys().cloned()).collect();
    for name in names {
        tree.unlink(directory, &name);
    }
}

/// A device number as Linux stores it in 32 bits: twelve for the kind, twenty for the device.
fn device_number(major: u32, minor: u32) -> Result<u32> {
    let value = u64::from(major) << 32 | u64::from(minor);
    if major > MAX_MAJOR || minor > MAX_MINOR {
        return Err(Error::Unsupported { what: "device number", value });
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

/// The two numbers in a stored device number.
pub(super) fn device_numbers(number: u32) -> (u32, u32) {
    (number >> 8 & MAX_MAJOR, number & 0xff | number >> 12 & 0xfff00)
}

const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xfffff;
/// What overlayfs would take for its own in a lower filesystem, and follow.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

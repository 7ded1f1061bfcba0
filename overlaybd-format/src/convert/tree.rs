//! The files of a stack, merged.

use std::collections::BTreeMap;

use crate::erofs::xattrs::Xattrs;
use crate::oci_tar::Timestamp;
use crate::{Error, Limits, Result};

/// Every file, directory and link of the stack so far.
///
/// A node keeps no more than what can be read back from the device, so that a converter that goes on above a
/// stored stack is the same as one that has not stopped.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// What an identity that is not of this tree would stand for.
    nothing: Node,
    live: u64,
    budget: Budget,
}

/// The place of a node in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(u32);

/// A file with any number of names, or a directory.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) attributes: Attributes,
    pub(super) kind: NodeKind,
    /// Its names.
    pub(super) links: u32,
    /// Whether the device does not say this yet.
    pub(super) changed: bool,
    /// Where it is on the device; none if it is new or has to move.
    pub(super) place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permissions, without the type.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) xattrs: Xattrs,
}

#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Directory {
        entries: BTreeMap<Box<[u8]>, NodeId>,
        parent: NodeId,
    },
    File {
        size: u64,
        /// The first block of its content.
        block: u32,
    },
    Symlink(Box<[u8]>),
    CharacterDevice(u32),
    BlockDevice(u32),
    Fifo,
    /// It has no name any more.
    Removed,
}

/// The inode of a node, and the rest of a directory's or link's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// In bytes of the device.
    pub(super) at: u64,
    /// Bytes up to which the inode may grow.
    pub(super) len: u64,
    /// Whether the end of the content is behind the inode.
    pub(super) inline: bool,
    /// The first block of what is not.
    pub(super) block: u32,
}

impl Tree {
    /// A tree whose root is `root`.
    pub(super) fn new(root: Node, limits: &Limits) -> Self {
        let nothing = Node { kind: NodeKind::Removed, ..root.clone() };
        Self { nodes: vec![root], nothing, live: 1, budget: Budget::new(limits) }
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.index()).unwrap_or(&self.nothing)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(id.index()).unwrap_or(&mut self.nothing)
    }

    /// Nodes that have a name, and the root.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// All nodes, removed ones too, in the order in which they came to be.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.nodes)
    }

    /// The entry `name` of `directory`.
    pub(super) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(directory).entries()?.get(name).copied()
    }

    /// Adds a node, which has no name yet.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`].
    pub(super) fn add(&mut self, node: Node) -> Result<NodeId> {
        self.budget.charge(0, node.bytes())?;
        let value = self.nodes.len() as u64;
        let limit = self.budget.limits.files.saturating_mul(NODES_A_FILE).min(u32::MAX.into());
        if value > limit {
            return Err(Error::Limit { what: "number of files, those that are gone included", value, limit });
        }
        let id = u32::try_from(value).map_err(|_| Error::Limit { what: "number of files", value, limit })?;
        self.nodes.push(node);
        self.live = self.live.saturating_add(1);
        Ok(NodeId(id))
    }

    /// Gives the node `id` the name `name` in `directory`, which has no such name.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`].
    pub(super) fn link(&mut self, directory: NodeId, name: &[u8], id: NodeId) -> Result<()> {
        self.budget.charge(1, name.len() as u64)?;
        let node = self.node_mut(id);
        node.links = node.links.saturating_add(1);
        node.changed = true;
        if let NodeKind::Directory { parent, .. } = &mut node.kind {
            *parent = directory;
        }
        let node = self.node_mut(directory);
        node.changed = true;
        if let NodeKind::Directory { entries, .. } = &mut node.kind {
            entries.insert(name.into(), id);
        }
        Ok(())
    }

    /// Gives the directory `id` other attributes.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`].
    pub(super) fn describe(&mut self, id: NodeId, attributes: Attributes) -> Result<()> {
        self.budget.refund(0, self.node(id).bytes());
        let node = self.node_mut(id);
        node.attributes = attributes;
        node.changed = true;
        self.budget.charge(0, self.node(id).bytes())
    }

    /// Takes the name `name` from `directory`, and from all below it if it was the name of a directory.
    pub(super) fn unlink(&mut self, directory: NodeId, name: &[u8]) {
        let node = self.node_mut(directory);
        let NodeKind::Directory { entries, .. } = &mut node.kind else { return };
        let Some(id) = entries.remove(name) else { return };
        node.changed = true;
        let (mut names, mut bytes) = (1_u64, name.len() as u64);
        let mut unnamed = vec![id];
        while let Some(id) = unnamed.pop() {
            let node = self.node_mut(id);
            node.links = node.links.saturating_sub(1);
            node.changed = true;
            if node.links > 0 {
                continue;
            }
            bytes = bytes.saturating_add(node.bytes());
            node.attributes.xattrs.clear();
            node.place = None;
            if let NodeKind::Directory { entries, .. } = std::mem::replace(&mut node.kind, NodeKind::Removed)
            {
                for (name, id) in entries {
                    names = names.saturating_add(1);
                    bytes = bytes.saturating_add(name.len() as u64);
                    unnamed.push(id);
                }
            }
            self.live = self.live.saturating_sub(1);
        }
        self.budget.refund(names, bytes);
    }
}

impl NodeId {
    pub(super) const ROOT: Self = Self(0);

    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Node {
    /// A node that is not on the device yet.
    pub(super) fn new(attributes: Attributes, kind: NodeKind) -> Self {
        Self { attributes, kind, links: 0, changed: true, place: None }
    }

    pub(super) fn directory(attributes: Attributes) -> Self {
        let kind = NodeKind::Directory { entries: BTreeMap::new(), parent: NodeId::ROOT };
        Self::new(attributes, kind)
    }

    /// What is in a directory; none if it is none.
    pub(super) fn entries(&self) -> Option<&BTreeMap<Box<[u8]>, NodeId>> {
        match &self.kind {
            NodeKind::Directory { entries, .. } => Some(entries),
            _ => None,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.entries().is_some()
    }

    /// Type and permissions, inode(7).
    pub(super) fn mode(&self) -> u16 {
        let kind = match &self.kind {
            NodeKind::Directory { .. } => 0x4000,
            NodeKind::File { .. } => 0x8000,
            NodeKind::Symlink(_) => 0xa000,
            NodeKind::CharacterDevice(_) => 0x2000,
            NodeKind::BlockDevice(_) => 0x6000,
            NodeKind::Fifo => 0x1000,
            NodeKind::Removed => 0,
        };
        kind | self.attributes.mode
    }

    /// What it takes besides its name.
    fn bytes(&self) -> u64 {
        let target = if let NodeKind::Symlink(target) = &self.kind { target.len() } else { 0 };
        let xattrs = self.attributes.xattrs.iter().map(|(name, value)| attribute_bytes(name, value));
        xattrs.fold(target, usize::saturating_add) as u64
    }
}

impl Attributes {
    /// Those of directories that no entry describes.
    pub(super) fn of_missing_directory() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Xattrs::new() }
    }
}

/// What it takes to hold an extended attribute.
pub(super) fn attribute_bytes(name: &[u8], value: &[u8]) -> usize {
    ATTRIBUTE.saturating_add(name.len()).saturating_add(value.len())
}

/// What may still come: [`Limits::files`] and [`Limits::file_bytes`].
#[derive(Debug)]
pub(super) struct Budget {
    files: u64,
    bytes: u64,
    limits: Limits,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { files: 0, bytes: 0, limits: limits.clone() }
    }

    /// Gives back what was charged.
    pub(super) fn refund(&mut self, files: u64, bytes: u64) {
        self.files = self.files.saturating_sub(files);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// # Errors
    ///
    /// [`Error::Limit`].
    pub(super) fn charge(&mut self, files: u64, bytes: u64) -> Result<()> {
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(bytes);
        for (what, value, limit) in [
            ("number of files", self.files, self.limits.files),
            ("number of bytes of names and attributes of files", self.bytes, self.limits.file_bytes),
        ] {
            if value > limit {
                return Err(Error::Limit { what, value, limit });
            }
        }
        Ok(())
    }
}

/// Nodes stay in their places when they are gone: so many may have been for each file that may be.
const NODES_A_FILE: u64 = 8;
/// Bytes of an attribute besides its name and value: two vectors, and its part of the map.
const ATTRIBUTE: usize = 128;

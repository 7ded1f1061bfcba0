//! What the name of an entry means.
//!
//! A name is cleaned by its text first, as unpackers do: `a/../b` is `b`, whatever `a` is. Links on the way to
//! its last component are then followed inside the root, as a process would that has the root as its own: an
//! absolute link starts at the root, and `..` of the root is the root. So nothing is ever outside.

use std::borrow::Cow;

use super::tree::{Attributes, Node, NodeId, NodeKind, Tree};
use crate::{Error, Result};

/// What the name of an entry in a layer stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// The root, whose attributes no layer changes; or what only AUFS would read.
    Nothing,
    /// A file, in the directory with these components.
    File(Vec<&'a [u8]>, &'a [u8]),
    /// The file of lower layers that is gone.
    Whiteout(Vec<&'a [u8]>, &'a [u8]),
    /// The directory whose content in lower layers is gone.
    Opaque(Vec<&'a [u8]>),
}

impl<'a> Name<'a> {
    /// # Errors
    ///
    /// Why no file can have the name.
    pub(super) fn parse(path: &'a [u8]) -> Result<Self, &'static str> {
        let mut directory = clean(path)?;
        let Some(name) = directory.pop() else { return Ok(Self::Nothing) };
        let is_aufs = |name: &[u8]| name.starts_with(AUFS) && name != OPAQUE;
        if directory.iter().copied().any(is_aufs) || is_aufs(name) {
            return Ok(Self::Nothing);
        }
        Ok(match name.strip_prefix(WHITEOUT) {
            _ if name == OPAQUE => Self::Opaque(directory),
            Some(b"" | b"." | b"..") => return Err("a whiteout of nothing"),
            Some(name) => Self::Whiteout(directory, name),
            None => Self::File(directory, name),
        })
    }
}

/// The components of a path from the root.
///
/// # Errors
///
/// Why no file can have the path.
pub(super) fn clean(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.len() > LONGEST_PATH {
        return Err("its name is longer than a path may be");
    }
    if path.contains(&0) {
        return Err("its name has a NUL");
    }
    let mut components = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop().ok_or("its name leads out of the root")?;
            }
            _ if component.len() > LONGEST_NAME => return Err("a name of more than 255 bytes"),
            _ => components.push(component),
        }
    }
    Ok(components)
}

/// Follows paths in a tree.
#[derive(Debug)]
pub(super) struct Paths {
    /// Components of link targets that may still be followed.
    steps_left: u32,
}

impl Paths {
    /// For one layer.
    pub(super) fn new() -> Self {
        Self { steps_left: MOST_STEPS }
    }

    /// The directory with these components; none if it is not there. If `make_missing`, missing directories are
    /// made, also where a link points to.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`]; or [`Error::Broken`], by `broken`.
    pub(super) fn directory(
        &mut self,
        tree: &mut Tree,
        components: &[&[u8]],
        make_missing: bool,
        broken: &dyn Fn(&'static str) -> Error,
    ) -> Result<Option<NodeId>> {
        let mut at = NodeId::ROOT;
        let mut links = 0_u32;
        // What is left of the path, the next component last.
        let mut rest: Vec<Cow<'_, [u8]>> = components.iter().rev().map(|name| Cow::Borrowed(*name)).collect();
        while let Some(name) = rest.pop() {
            if name.as_ref() == b".." {
                if let NodeKind::Directory { parent, .. } = tree.node(at).kind {
                    at = parent;
                }
                continue;
            }
            let Some(child) = tree.child(at, &name) else {
                if !make_missing {
                    return Ok(None);
                }
                let made = tree.add(Node::directory(Attributes::of_missing_directory()))?;
                tree.link(at, &name, made)?;
                at = made;
                continue;
            };
            match &tree.node(child).kind {
                NodeKind::Directory { .. } => at = child,
                NodeKind::Symlink(target) => {
                    links = links.saturating_add(1);
                    if links > MOST_LINKS {
                        return Err(broken("too many links on the way"));
                    }
                    if target.starts_with(b"/") {
                        at = NodeId::ROOT;
                    }
                    let before = rest.len();
                    for component in target.rsplit(|&byte| byte == b'/') {
                        match component {
                            b"" | b"." => {}
                            _ if component.len() > LONGEST_NAME => {
                                return Err(broken("a link on the way has a name of more than 255 bytes"));
                            }
                            _ => rest.push(Cow::Owned(component.to_vec())),
                        }
                    }
                    self.step(rest.len().saturating_sub(before))?;
                }
                _ if make_missing => return Err(broken("what should be a directory on the way is none")),
                _ => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn step(&mut self, components: usize) -> Result<()> {
        let left = u32::try_from(components).ok().and_then(|steps| self.steps_left.checked_sub(steps));
        let limit = u64::from(MOST_STEPS);
        let what = "number of names in the targets of links on the way";
        self.steps_left = left.ok_or(Error::Limit { what, value: limit.saturating_add(1), limit })?;
        Ok(())
    }
}

const WHITEOUT: &[u8] = b".wh.";
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Linux: bytes of a name and of a path without its NUL, links on the way of one.
pub(super) const LONGEST_NAME: usize = 255;
pub(super) const LONGEST_PATH: usize = 4095;
const MOST_LINKS: u32 = 40;
/// Of one layer: a million files below five links of three components each.
const MOST_STEPS: u32 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_by_their_text() {
        let clean = |path: &'static str| {
            clean(path.as_bytes()).map(|parts| {
                parts.iter().map(|part| str::from_utf8(part).unwrap()).collect::<Vec<_>>().join("/")
            })
        };
        for (path, expected) in
            [("./a//b/", "a/b"), ("/etc/../usr", "usr"), ("", ""), ("a/./..", ""), ("...", "...")]
        {
            assert_eq!(clean(path).unwrap(), expected, "{path}");
        }
        for path in ["..", "a/../../b", "/..", "a\0b"] {
            assert!(clean(path).is_err(), "{path}");
        }
        assert!(super::clean(&[b'a'; 256]).is_err());
        assert!(super::clean(&b"a/".repeat(2048)).is_err());
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        let a: Vec<&[u8]> = vec![b"a"];
        for (path, expected) in [
            (&b"a/.wh.b"[..], Name::Whiteout(a.clone(), b"b")),
            (b"a/.wh..b", Name::Whiteout(a.clone(), b".b")),
            (b"a/.wh..wh..opq", Name::Opaque(a.clone())),
            (b".wh..wh..opq", Name::Opaque(vec![])),
            (b"a/.wh", Name::File(a, b".wh")),
            (b"./", Name::Nothing),
            (b".wh..wh.plnk/7", Name::Nothing),
            (b"a/.wh..wh.aufs", Name::Nothing),
        ] {
            assert_eq!(Name::parse(path).unwrap(), expected, "{}", path.escape_ascii());
        }
        for path in [&b"a/.wh."[..], b".wh..", b".wh..."] {
            assert!(Name::parse(path).is_err());
        }
    }
}

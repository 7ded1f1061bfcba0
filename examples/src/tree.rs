//! A file tree and its division into layers: what an image is made from.
//!
//! Directories and symbolic links all belong to the bottom layer. They are small, and with their
//! blocks laid out before the first file, a filesystem that grows by files only moves nothing.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A tree of directories, symbolic links and files, the files in layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Parents before children, sorted by path. The root is not listed.
    pub directories: Vec<Directory>,
    /// Sorted by path, component by component.
    pub links: Vec<Link>,
    /// Bottom layer first; never empty.
    pub layers: Vec<TreeLayer>,
}

/// The files that one layer adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeLayer {
    /// For people: what the files have in common.
    pub name: String,
    /// Sorted by path, component by component.
    pub files: Vec<SourceFile>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Relative to the root, components joined by `/`.
    pub path: String,
    /// Permission bits and modification time.
    pub meta: Meta,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Relative to the root, components joined by `/`.
    pub path: String,
    /// As stored, not resolved.
    pub target: String,
    /// Permission bits and modification time.
    pub meta: Meta,
}

/// A regular file and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the root, components joined by `/`.
    pub path: String,
    /// The file on this machine that holds the bytes.
    pub source: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits and modification time.
    pub meta: Meta,
}

/// What every entry has. Owner and group are root's, as in most images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The lower twelve bits of the mode.
    pub mode: u16,
    /// Seconds since 1970.
    pub mtime: i64,
}

impl Tree {
    /// Everything below `root`, its files in at most `layers` layers of about the same size.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read, a name or link target is not UTF-8, or an entry is neither
    /// directory, link nor regular file.
    pub fn scan(root: &Path, layers: usize) -> Result<Self> {
        let mut tree = Self { directories: Vec::new(), links: Vec::new(), layers: Vec::new() };
        let mut files = Vec::new();
        tree.scan_directory(root, "", &mut files)?;
        tree.layers = divide(files, layers.max(1));
        Ok(tree)
    }

    /// The tree of the given files: their directories are derived, with the metadata of the
    /// directories that hold the sources.
    ///
    /// # Errors
    ///
    /// If a source directory cannot be read.
    pub fn of_layers(layers: Vec<TreeLayer>) -> Result<Self> {
        let mut directories = std::collections::BTreeMap::new();
        for file in layers.iter().flat_map(|layer| &layer.files) {
            let mut source = file.source.as_path();
            let mut path = file.path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/') {
                source = source.parent().unwrap_or(source);
                if !directories.contains_key(parent) {
                    let meta =
                        fs::metadata(source).with_context(|| format!("reading {}", source.display()))?;
                    directories.insert(parent.to_owned(), Meta::of(&meta));
                }
                path = parent;
            }
        }
        let directories = directories.into_iter().map(|(path, meta)| Directory { path, meta }).collect();
        Ok(Self { directories, links: Vec::new(), layers })
    }

    /// All files, bottom layer first.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.layers.iter().flat_map(|layer| &layer.files)
    }

    /// Sum of the file lengths, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.size).sum()
    }

    fn scan_directory(&mut self, at: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result<()> {
        let reading = || format!("reading {}", at.display());
        let mut entries = fs::read_dir(at)
            .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
            .with_context(reading)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let source = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                bail!("the name of {} is not UTF-8", source.display());
            };
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let metadata = entry.metadata().with_context(reading)?;
            let meta = Meta::of(&metadata);
            if metadata.is_dir() {
                self.directories.push(Directory { path: path.clone(), meta });
                self.scan_directory(&source, &path, files)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&source).with_context(reading)?;
                let Some(target) = target.to_str() else {
                    bail!("the target of {} is not UTF-8", source.display());
                };
                self.links.push(Link { path, target: target.to_owned(), meta });
            } else if metadata.is_file() {
                files.push(SourceFile { path, source, size: metadata.len(), meta });
            } else {
                bail!("{} is neither a directory, a symbolic link nor a regular file", source.display());
            }
        }
        Ok(())
    }
}

impl SourceFile {
    /// The file at `source`, to appear at `path`.
    ///
    /// # Errors
    ///
    /// If the file's metadata cannot be read.
    pub fn new(path: impl Into<String>, source: impl Into<PathBuf>) -> Result<Self> {
        let source = source.into();
        let metadata = fs::metadata(&source).with_context(|| format!("reading {}", source.display()))?;
        Ok(Self { path: path.into(), size: metadata.len(), meta: Meta::of(&metadata), source })
    }

    /// Opens the source for reading.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub fn open(&self) -> Result<fs::File> {
        fs::File::open(&self.source).with_context(|| format!("opening {}", self.source.display()))
    }
}

impl Meta {
    fn of(metadata: &Metadata) -> Self {
        Self { mode: (metadata.mode() & 0o7777) as u16, mtime: metadata.mtime() }
    }
}

/// Cuts the sequence of files into at most `layers` parts, each as soon as it has its share of what is
/// left. There is always a part, be it empty.
fn divide(files: Vec<SourceFile>, layers: usize) -> Vec<TreeLayer> {
    let mut left: u64 = files.iter().map(|file| file.size).sum();
    let mut layers_left = layers as u64;
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for file in files {
        if layers_left > 1 && !part.is_empty() && bytes >= left / layers_left {
            parts.push(std::mem::take(&mut part));
            left -= bytes;
            layers_left -= 1;
            bytes = 0;
        }
        bytes += file.size;
        part.push(file);
    }
    parts.push(part);
    let named = |(n, files)| TreeLayer { name: format!("part {n}"), files };
    (1..).zip(parts).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_their_share_of_what_is_left() {
        let part_sizes = |sizes: &[u64], layers| {
            let meta = Meta { mode: 0o644, mtime: 0 };
            let file = |&size: &u64| SourceFile { path: "f".to_owned(), source: "f".into(), size, meta };
            let parts = divide(sizes.iter().map(file).collect(), layers);
            let sizes = |part: &TreeLayer| part.files.iter().map(|file| file.size).collect();
            parts.iter().map(sizes).collect::<Vec<Vec<u64>>>()
        };
        assert_eq!(part_sizes(&[1; 6], 3), [[1, 1], [1, 1], [1, 1]]);
        assert_eq!(part_sizes(&[1, 100, 1, 1, 1, 1], 3), [vec![1, 100], vec![1, 1], vec![1, 1]]);
        assert_eq!(part_sizes(&[0, 0], 3), [[0], [0]]);
        assert_eq!(part_sizes(&[5], 3), [[5]]);
        assert_eq!(part_sizes(&[], 3), [Vec::<u64>::new()]);
    }
}

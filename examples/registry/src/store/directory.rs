//! The store in a directory.
//!
//! ```text
//! uploads/                                   temporary files, removed when the store is opened
//! repositories/<name>/_blobs/<alg>/<hex>     a mounted blob is a hard link
//!                    /_manifests/<alg>/<hex>
//!                    /_tags/<tag>            the digest it points at
//! ```
//!
//! A name component never starts with an underscore, so the three folders cannot be mistaken for
//! repositories. Every file is written under `uploads/`, flushed, and renamed into place; a file with
//! a digest for a name is therefore complete, and its content was hashed before it got the name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::{Content, Staging, Storage};
use crate::digest::{Algorithm, Digest};
use crate::name::{Repository, Tag};

#[derive(Debug)]
pub(super) struct Directory {
    repositories: PathBuf,
    uploads: PathBuf,
}

impl Directory {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let directory = Self { repositories: root.join("repositories"), uploads: root.join("uploads") };
        present(fs::remove_dir_all(&directory.uploads))?;
        fs::create_dir_all(&directory.uploads)?;
        fs::create_dir_all(&directory.repositories)?;
        Ok(directory)
    }

    fn folder(&self, repository: &Repository, kind: &str) -> PathBuf {
        self.repositories.join(repository.as_str()).join(kind)
    }

    fn file(&self, repository: &Repository, kind: &str, digest: &Digest) -> PathBuf {
        self.folder(repository, kind).join(digest.algorithm().name()).join(digest.encoded())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.uploads)?;
        file.write_all(bytes)?;
        publish(file, path)
    }

    /// Adds the repositories at and below `path`, whose name so far is `name`.
    fn walk(path: &Path, name: &str, found: &mut Vec<Repository>) -> io::Result<()> {
        let mut is_repository = false;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(component) = file_name.to_str() else { continue };
            if component.starts_with('_') {
                is_repository = true;
            } else if entry.file_type()?.is_dir() {
                let name = if name.is_empty() { component.to_owned() } else { format!("{name}/{component}") };
                Self::walk(&entry.path(), &name, found)?;
            }
        }
        if is_repository {
            found.extend(name.parse().ok());
        }
        Ok(())
    }
}

impl Storage for Directory {
    fn repositories(&self) -> io::Result<Vec<Repository>> {
        let mut found = Vec::new();
        Self::walk(&self.repositories, "", &mut found)?;
        found.sort();
        Ok(found)
    }

    fn blob(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Content>> {
        let file = present(File::open(self.file(repository, BLOBS, digest)))?;
        file.map(Content::of_file).transpose()
    }

    fn stage(&self) -> io::Result<Box<dyn Staging>> {
        let file = NamedTempFile::new_in(&self.uploads)?;
        Ok(Box::new(Upload { file, repositories: self.repositories.clone() }))
    }

    fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> io::Result<bool> {
        let (source, target) = (self.file(from, BLOBS, digest), self.file(to, BLOBS, digest));
        if !source.is_file() {
            return Ok(false);
        }
        make_parent(&target)?;
        match fs::hard_link(source, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            linked => Ok(present(linked)?.is_some()),
        }
    }

    fn remove_blob(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        Ok(present(fs::remove_file(self.file(repository, BLOBS, digest)))?.is_some())
    }

    fn manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Bytes>> {
        Ok(present(fs::read(self.file(repository, MANIFESTS, digest)))?.map(Bytes::from))
    }

    fn manifests(&self, repository: &Repository) -> io::Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in Algorithm::ALL {
            let folder = self.folder(repository, MANIFESTS).join(algorithm.name());
            for name in names(&folder)?.unwrap_or_default() {
                digests.extend(format!("{}:{name}", algorithm.name()).parse::<Digest>().ok());
            }
        }
        Ok(digests)
    }

    fn put_manifest(&self, repository: &Repository, digest: &Digest, bytes: Bytes) -> io::Result<()> {
        self.write(&self.file(repository, MANIFESTS, digest), &bytes)
    }

    fn remove_manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        for (tag, target) in self.tags(repository)?.unwrap_or_default() {
            if target == *digest {
                self.remove_tag(repository, &tag)?;
            }
        }
        Ok(present(fs::remove_file(self.file(repository, MANIFESTS, digest)))?.is_some())
    }

    fn tags(&self, repository: &Repository) -> io::Result<Option<BTreeMap<Tag, Digest>>> {
        let Some(names) = names(&self.folder(repository, TAGS))? else {
            let exists = [BLOBS, MANIFESTS].iter().any(|kind| self.folder(repository, kind).is_dir());
            return Ok(exists.then(BTreeMap::new));
        };
        let mut tags = BTreeMap::new();
        for tag in names.iter().filter_map(|name| name.parse::<Tag>().ok()) {
            if let Some(digest) = self.tag(repository, &tag)? {
                tags.insert(tag, digest);
            }
        }
        Ok(Some(tags))
    }

    fn tag(&self, repository: &Repository, tag: &Tag) -> io::Result<Option<Digest>> {
        let path = self.folder(repository, TAGS).join(tag.as_str());
        let Some(text) = present(fs::read_to_string(&path))? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })
    }

    fn put_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> io::Result<()> {
        self.write(&self.folder(repository, TAGS).join(tag.as_str()), digest.as_str().as_bytes())
    }

    fn remove_tag(&self, repository: &Repository, tag: &Tag) -> io::Result<bool> {
        let path = self.folder(repository, TAGS).join(tag.as_str());
        Ok(present(fs::remove_file(path))?.is_some())
    }
}

/// An upload: a temporary file.
#[derive(Debug)]
struct Upload {
    file: NamedTempFile,
    repositories: PathBuf,
}

impl Staging for Upload {
    fn append(&mut self, bytes: Bytes) -> io::Result<()> {
        self.file.write_all(&bytes)
    }

    fn content(&self) -> io::Result<Content> {
        Content::of_file(self.file.reopen()?)
    }

    fn commit(self: Box<Self>, repository: &Repository, digest: &Digest) -> io::Result<()> {
        let folder = self.repositories.join(repository.as_str()).join(BLOBS);
        publish(self.file, &folder.join(digest.algorithm().name()).join(digest.encoded()))
    }
}

/// Flushes the file and gives it its final name.
fn publish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_data()?;
    make_parent(path)?;
    file.persist(path)?;
    Ok(())
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// The names in a folder, `None` if there is no folder.
fn names(folder: &Path) -> io::Result<Option<Vec<String>>> {
    let Some(entries) = present(fs::read_dir(folder))? else { return Ok(None) };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<Vec<_>>>().map(Some)
}

/// Turns "not found" into `None`. A repository named like an existing tag's path or file is no
/// directory, which also means that there is nothing.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

const BLOBS: &str = "_blobs";
const MANIFESTS: &str = "_manifests";
const TAGS: &str = "_tags";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_uploads_do_not_survive_and_finished_ones_do() {
        let root = tempfile::tempdir().unwrap();
        let repository: Repository = "a/b".parse().unwrap();
        let digest = Digest::sha256(b"done");
        let store = Directory::open(root.path()).unwrap();
        let mut done = store.stage().unwrap();
        done.append(Bytes::from_static(b"done")).unwrap();
        done.commit(&repository, &digest).unwrap();
        let mut half = store.stage().unwrap();
        half.append(Bytes::from_static(b"half")).unwrap();
        std::mem::forget(half);
        assert_eq!(fs::read_dir(root.path().join("uploads")).unwrap().count(), 1);

        let store = Directory::open(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path().join("uploads")).unwrap().count(), 0);
        assert_eq!(store.repositories().unwrap(), std::slice::from_ref(&repository));
        assert_eq!(store.blob(&repository, &digest).unwrap().unwrap().piece(0, 10).unwrap(), "done");
    }

    #[test]
    fn a_mounted_blob_outlives_its_source() {
        let root = tempfile::tempdir().unwrap();
        let (from, to): (Repository, Repository) = ("a".parse().unwrap(), "a/b".parse().unwrap());
        let digest = Digest::sha256(b"blob");
        let store = Directory::open(root.path()).unwrap();
        assert!(!store.mount(&from, &to, &digest).unwrap());
        let mut staging = store.stage().unwrap();
        staging.append(Bytes::from_static(b"blob")).unwrap();
        staging.commit(&from, &digest).unwrap();
        assert!(store.mount(&from, &to, &digest).unwrap());
        assert!(store.mount(&from, &to, &digest).unwrap());
        assert!(store.remove_blob(&from, &digest).unwrap());
        assert!(!store.remove_blob(&from, &digest).unwrap());
        assert_eq!(store.blob(&to, &digest).unwrap().unwrap().size(), 4);
    }
}

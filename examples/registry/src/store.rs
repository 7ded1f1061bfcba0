//! Where the registry keeps its content.
//!
//! Content belongs to a repository: a blob that was pushed to one is invisible in another until it is
//! mounted there. Calls are synchronous, because a local read or write is shorter than the hand-over
//! to another thread and because a test on virtual time must not advance during it.

mod content;
mod directory;
mod memory;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use content::Content;

use crate::digest::Digest;
use crate::name::{Repository, Tag};

/// The content of a registry; clones share it, so it outlives the server in front of it.
#[derive(Debug, Clone)]
pub struct Store(pub(crate) Arc<dyn Storage>);

impl Store {
    /// An empty store in memory. Pushed bytes are kept as they arrived and served without a copy.
    pub fn memory() -> Self {
        Self(Arc::new(memory::Memory::default()))
    }

    /// The store in the directory `path`, which is made if it is missing. What an earlier store left
    /// there is served again; unfinished uploads are removed. One process at a time.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made or written.
    pub fn dir(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self(Arc::new(directory::Directory::open(path.as_ref())?)))
    }
}

/// A place for blobs, manifests and tags.
///
/// The caller checks digests and references before it stores; an implementation keeps exactly the
/// bytes it was given, and a reader sees all of a thing or nothing.
pub(crate) trait Storage: Send + Sync + fmt::Debug {
    /// Every repository that holds something, sorted.
    fn repositories(&self) -> io::Result<Vec<Repository>>;

    /// The blob's content, `None` if the repository does not hold it.
    fn blob(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Content>>;

    /// A place to collect the bytes of a new blob.
    fn stage(&self) -> io::Result<Box<dyn Staging>>;

    /// Makes a blob of `from` also one of `to`, without copying. False if `from` does not hold it.
    fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> io::Result<bool>;

    /// Removes a blob from one repository. False if there was none.
    fn remove_blob(&self, repository: &Repository, digest: &Digest) -> io::Result<bool>;

    /// The manifest's bytes, `None` if the repository does not hold it.
    fn manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Bytes>>;

    /// Every manifest of the repository.
    fn manifests(&self, repository: &Repository) -> io::Result<Vec<Digest>>;

    /// Stores a manifest.
    fn put_manifest(&self, repository: &Repository, digest: &Digest, bytes: Bytes) -> io::Result<()>;

    /// Removes a manifest and the tags that point at it. False if there was none.
    fn remove_manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<bool>;

    /// The repository's tags, `None` if it does not exist.
    fn tags(&self, repository: &Repository) -> io::Result<Option<BTreeMap<Tag, Digest>>>;

    /// What a tag points at.
    fn tag(&self, repository: &Repository, tag: &Tag) -> io::Result<Option<Digest>>;

    /// Points a tag at a manifest.
    fn put_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> io::Result<()>;

    /// Removes a tag. False if there was none.
    fn remove_tag(&self, repository: &Repository, tag: &Tag) -> io::Result<bool>;
}

/// The bytes of a blob that is still being uploaded; dropping it gives them up.
pub(crate) trait Staging: Send + fmt::Debug {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: Bytes) -> io::Result<()>;

    /// What has been collected so far, read back from where it is kept.
    fn content(&self) -> io::Result<Content>;

    /// Makes the content a blob of `repository`. The caller has hashed [`content`](Self::content) and
    /// found `digest`.
    fn commit(self: Box<Self>, repository: &Repository, digest: &Digest) -> io::Result<()>;
}

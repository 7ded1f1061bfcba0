//! The store in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Content, Staging, Storage};
use crate::digest::Digest;
use crate::lock;
use crate::name::{Repository, Tag};

#[derive(Debug, Default)]
pub(super) struct Memory {
    shelves: Arc<Mutex<BTreeMap<Repository, Shelf>>>,
}

/// What one repository holds.
#[derive(Debug, Default)]
struct Shelf {
    blobs: BTreeMap<Digest, Content>,
    manifests: BTreeMap<Digest, Bytes>,
    tags: BTreeMap<Tag, Digest>,
}

impl Memory {
    /// The answer of `ask` about a repository, or the default if it does not exist.
    fn ask<T: Default>(&self, repository: &Repository, ask: impl FnOnce(&mut Shelf) -> T) -> io::Result<T> {
        Ok(lock(&self.shelves).get_mut(repository).map(ask).unwrap_or_default())
    }

    fn change(&self, repository: &Repository, change: impl FnOnce(&mut Shelf)) -> io::Result<()> {
        change(lock(&self.shelves).entry(repository.clone()).or_default());
        Ok(())
    }
}

impl Storage for Memory {
    fn repositories(&self) -> io::Result<Vec<Repository>> {
        Ok(lock(&self.shelves).keys().cloned().collect())
    }

    fn blob(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Content>> {
        self.ask(repository, |shelf| shelf.blobs.get(digest).cloned())
    }

    fn stage(&self) -> io::Result<Box<dyn Staging>> {
        Ok(Box::new(Parts { shelves: Arc::clone(&self.shelves), parts: Vec::new() }))
    }

    fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> io::Result<bool> {
        let Some(content) = self.blob(from, digest)? else { return Ok(false) };
        self.change(to, |shelf| drop(shelf.blobs.insert(digest.clone(), content)))?;
        Ok(true)
    }

    fn remove_blob(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        self.ask(repository, |shelf| shelf.blobs.remove(digest).is_some())
    }

    fn manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Bytes>> {
        self.ask(repository, |shelf| shelf.manifests.get(digest).cloned())
    }

    fn manifests(&self, repository: &Repository) -> io::Result<Vec<Digest>> {
        self.ask(repository, |shelf| shelf.manifests.keys().cloned().collect())
    }

    fn put_manifest(&self, repository: &Repository, digest: &Digest, bytes: Bytes) -> io::Result<()> {
        self.change(repository, |shelf| drop(shelf.manifests.insert(digest.clone(), bytes)))
    }

    fn remove_manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        self.ask(repository, |shelf| {
            shelf.tags.retain(|_, target| target != digest);
            shelf.manifests.remove(digest).is_some()
        })
    }

    fn tags(&self, repository: &Repository) -> io::Result<Option<BTreeMap<Tag, Digest>>> {
        self.ask(repository, |shelf| Some(shelf.tags.clone()))
    }

    fn tag(&self, repository: &Repository, tag: &Tag) -> io::Result<Option<Digest>> {
        self.ask(repository, |shelf| shelf.tags.get(tag).cloned())
    }

    fn put_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> io::Result<()> {
        self.change(repository, |shelf| drop(shelf.tags.insert(tag.clone(), digest.clone())))
    }

    fn remove_tag(&self, repository: &Repository, tag: &Tag) -> io::Result<bool> {
        self.ask(repository, |shelf| shelf.tags.remove(tag).is_some())
    }
}

/// An upload: the parts as they arrived.
#[derive(Debug)]
struct Parts {
    shelves: Arc<Mutex<BTreeMap<Repository, Shelf>>>,
    parts: Vec<Bytes>,
}

impl Staging for Parts {
    fn append(&mut self, bytes: Bytes) -> io::Result<()> {
        self.parts.push(bytes);
        Ok(())
    }

    fn content(&self) -> io::Result<Content> {
        Ok(Content::of_parts(self.parts.iter().cloned()))
    }

    fn commit(self: Box<Self>, repository: &Repository, digest: &Digest) -> io::Result<()> {
        let content = self.content()?;
        lock(&self.shelves).entry(repository.clone()).or_default().blobs.insert(digest.clone(), content);
        Ok(())
    }
}

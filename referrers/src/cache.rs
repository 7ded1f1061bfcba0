//! A memory of what was read, between a resolver and its source.
//!
//! ```text
//!   Resolver ─► Cached ─┬─ contents   by digest: never wrong, bounded in bytes
//!                       ├─ answers    by tag, and lists of referrers: with a life
//!                       └─ flights    one request for all who ask the same at once
//!                              └─► the source
//! ```
//!
//! What is named by a digest cannot change and is kept until room is needed. What a tag names, and what
//! refers to an image, may change at any time and is kept for a while: a list with something in it longer
//! than an empty one, because a conversion may be under way that fills it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::descriptor::expect;
use crate::{
    Clock, Descriptor, Digest, ImageSource, Listing, Manifest, Named, Reference, Repository, Result,
    TokioClock,
};

use self::answers::{Answers, Key, Lives};
use self::contents::{Content, Contents};
use self::flights::Flights;

mod answers;
mod contents;
mod flights;

/// What was read, shared by sources that act for different identities.
///
/// Nothing that one identity has read is given to another: a referrer that one user may see stays unseen
/// by the next. An identity is a name that the embedder chooses, such as the name of the Secret that the
/// credentials come from; sources with the same credentials should have the same.
///
/// ```
/// use std::sync::Arc;
///
/// use referrers::{Anonymous, Cache, CacheOptions, Registry, RegistryOptions, ResolveOptions, Resolver};
///
/// let cache = Cache::new(CacheOptions::default());
/// let registry = Registry::new(RegistryOptions::default(), Arc::new(Anonymous))?;
/// let resolver = Resolver::new(cache.of("anonymous", registry), ResolveOptions::default());
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    contents: Contents,
    reading: Flights<Key, Content>,
    tags: Answers<Manifest>,
    listings: Answers<Listing>,
}

/// How long answers are believed, and how much is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheOptions {
    /// How long a tag names the same image.
    pub tag_life: Duration,
    /// How long a list of referrers with something in it is the whole list.
    pub listing_life: Duration,
    /// How long an empty list stays empty. It doubles while nothing is found, up to `listing_life`.
    pub empty_life: Duration,
    /// How long after its life an answer is still given when the source does not answer; zero for never.
    pub stale_life: Duration,
    /// How many bytes of manifests and configurations are kept.
    pub capacity: u64,
    /// What lives go by.
    pub clock: Arc<dyn Clock>,
}

/// An [`ImageSource`] with a memory; see [`Cache::of`].
#[derive(Clone)]
pub struct Cached {
    cache: Cache,
    identity: Arc<str>,
    source: Arc<dyn ImageSource>,
}

impl Cache {
    /// An empty one.
    pub fn new(options: CacheOptions) -> Self {
        let lives = |life, empty| Lives { life, empty, stale: options.stale_life };
        Self(Arc::new(Inner {
            contents: Contents::new(options.capacity),
            reading: Flights::default(),
            tags: Answers::new(lives(options.tag_life, options.tag_life), Arc::clone(&options.clock)),
            listings: Answers::new(lives(options.listing_life, options.empty_life), options.clock),
        }))
    }

    /// `source` with this memory, for one `identity`.
    pub fn of(&self, identity: impl Into<Arc<str>>, source: impl ImageSource + 'static) -> Cached {
        Cached { cache: self.clone(), identity: identity.into(), source: Arc::new(source) }
    }
}

impl Cached {
    fn key(&self, reference: Reference) -> Key {
        Key { identity: Arc::clone(&self.identity), reference }
    }

    /// Reads what `digest` names, once for all who want it.
    async fn content<F>(&self, repository: &Repository, digest: &Digest, read: F) -> Result<Content>
    where
        F: Future<Output = Result<Content>> + Send + 'static,
    {
        let key = self.key(repository.with_digest(digest.clone()));
        if let Some(content) = self.cache.0.contents.get(&key) {
            return Ok(content);
        }
        let (cache, stored) = (self.cache.clone(), key.clone());
        let reading = async move {
            let content = read.await?;
            cache.0.contents.put(stored, content.clone());
            Ok(content)
        };
        self.cache.0.reading.join(key, || Box::pin(reading)).await
    }

    async fn manifest(&self, reference: Reference, digest: &Digest) -> Result<Manifest> {
        let (source, repository) = (Arc::clone(&self.source), reference.repository().clone());
        let read = async move {
            source.named(&reference).await.map(|named| Content::Manifest(Box::new(named.manifest)))
        };
        match self.content(&repository, digest, read).await? {
            Content::Manifest(manifest) => Ok(*manifest),
            // The same bytes were read as a blob before, so their type is not known.
            Content::Blob(_) => {
                let reference = repository.with_digest(digest.clone());
                self.source.named(&reference).await.map(|named| named.manifest)
            }
        }
    }
}

#[async_trait]
impl ImageSource for Cached {
    async fn named(&self, reference: &Reference) -> Result<Named> {
        if let Some(digest) = reference.digest() {
            return self.manifest(reference.clone(), digest).await.map(Named::fresh);
        }
        let (source, asked) = (Arc::clone(&self.source), reference.clone());
        let fetch = move |known: Option<Manifest>| async move {
            let Some(known) = known else { return source.named(&asked).await.map(|named| named.manifest) };
            Ok(source.named_unless(&asked, known.digest()).await?.unwrap_or(known))
        };
        let (manifest, freshness) = self.cache.0.tags.get(self.key(reference.clone()), fetch).await?;
        Ok(Named { manifest, freshness })
    }

    async fn manifest_of(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Manifest> {
        let reference = repository.with_digest(descriptor.digest.clone());
        let (source, asked) = ((Arc::clone(&self.source), repository.clone()), descriptor.clone());
        let read = async move {
            source.0.manifest_of(&source.1, &asked).await.map(|read| Content::Manifest(Box::new(read)))
        };
        let manifest = match self.content(repository, &descriptor.digest, read).await? {
            Content::Manifest(manifest) => *manifest,
            Content::Blob(_) => return self.source.manifest_of(repository, descriptor).await,
        };
        // Read before on behalf of another descriptor, perhaps.
        let place = reference.to_string();
        expect("size", &descriptor.size.to_string(), &manifest.bytes().len().to_string(), &place)?;
        expect("media type", &descriptor.media_type, manifest.media_type(), &place)?;
        Ok(manifest)
    }

    async fn small_blob(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Bytes> {
        let (source, asked) = ((Arc::clone(&self.source), repository.clone()), descriptor.clone());
        let read = async move { source.0.small_blob(&source.1, &asked).await.map(Content::Blob) };
        let bytes = match self.content(repository, &descriptor.digest, read).await? {
            Content::Blob(bytes) => bytes,
            Content::Manifest(manifest) => manifest.bytes().clone(),
        };
        expect("size", &descriptor.size.to_string(), &bytes.len().to_string(), descriptor.digest.as_str())?;
        Ok(bytes)
    }

    async fn referrers(&self, repository: &Repository, subject: &Digest) -> Result<Listing> {
        let (source, asked) = ((Arc::clone(&self.source), repository.clone()), subject.clone());
        let fetch = move |_| async move { source.0.referrers(&source.1, &asked).await };
        let key = self.key(repository.with_digest(subject.clone()));
        let (listing, freshness) = self.cache.0.listings.get(key, fetch).await?;
        Ok(Listing { freshness: freshness.max(listing.freshness), ..listing })
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("identity", &self.identity).field("source", &self.source).finish()
    }
}

impl CacheOptions {
    /// Sets how long a tag names the same image.
    #[must_use]
    pub fn with_tag_life(mut self, life: Duration) -> Self {
        self.tag_life = life;
        self
    }

    /// Gives answers for `life` beyond their own when the source does not answer.
    #[must_use]
    pub fn with_stale_life(mut self, life: Duration) -> Self {
        self.stale_life = life;
        self
    }

    /// Sets what lives go by.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl Default for CacheOptions {
    /// Tags for 30 s, lists for 10 minutes, empty ones for one and then longer, nothing stale, 64 MiB.
    fn default() -> Self {
        Self {
            tag_life: Duration::from_secs(30),
            listing_life: Duration::from_secs(600),
            empty_life: Duration::from_secs(60),
            stale_life: Duration::ZERO,
            capacity: 64 << 20,
            clock: Arc::new(TokioClock),
        }
    }
}

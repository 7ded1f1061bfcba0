//! How one blob is read.

use std::sync::Arc;

use crate::prefetch::{PrefetchPolicy, Readahead};
use crate::verify::Verifier;

/// How a blob is read. The default reads ahead of sequential readers and checks nothing beyond what the
/// source and the stores check.
#[derive(Debug)]
#[non_exhaustive]
pub struct BlobOptions {
    /// What to fetch before it is asked for.
    pub prefetch: Box<dyn PrefetchPolicy>,
    /// What every chunk is checked against before it is kept or read.
    pub verifier: Option<Arc<dyn Verifier>>,
}

impl Default for BlobOptions {
    fn default() -> Self {
        Self { prefetch: Box::new(Readahead::default()), verifier: None }
    }
}

impl BlobOptions {
    /// Sets [`prefetch`](Self::prefetch).
    #[must_use]
    pub fn with_prefetch(mut self, policy: impl PrefetchPolicy + 'static) -> Self {
        self.prefetch = Box::new(policy);
        self
    }

    /// Sets [`verifier`](Self::verifier). What blobs of the same id without a verifier bring is not taken from
    /// memory, and checked when it is taken from another store.
    #[must_use]
    pub fn with_verifier(mut self, verifier: Arc<dyn Verifier>) -> Self {
        self.verifier = Some(verifier);
        self
    }
}

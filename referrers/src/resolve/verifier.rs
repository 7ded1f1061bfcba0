//! The last word on a candidate, for rules that this crate does not know.

use std::fmt;

use async_trait::async_trait;

use crate::Result;

use super::resolution::{Accelerated, ResolvedImage};

/// Judges an accelerated image that has passed every check of this crate, for example by its signature.
///
/// # Contract
///
/// An error means that no judgement was possible; the candidate is then not used, and a later resolution
/// asks again. A call may be dropped when the resolution's time is up.
#[async_trait]
pub trait Verifier: Send + Sync + fmt::Debug {
    /// Whether `candidate` may be used for `base`.
    async fn verify(&self, base: &ResolvedImage, candidate: &Accelerated) -> Result<Verdict>;
}

/// What a [`Verifier`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be used.
    Accept,
    /// It may not, for this reason.
    Reject(String),
}

/// Accepts only images whose manifest has one annotation with one value, such as the name of a converter.
///
/// Whoever may push can write annotations: this tells images apart and protects from nobody.
///
/// ```
/// use std::sync::Arc;
///
/// use referrers::{AnnotationIs, ResolveOptions};
///
/// let ours = AnnotationIs::new("com.example.converter", "nightly");
/// let options = ResolveOptions::default().with_verifier(Arc::new(ours));
/// # drop(options);
/// ```
#[derive(Debug, Clone)]
pub struct AnnotationIs {
    key: String,
    value: String,
}

impl AnnotationIs {
    /// The annotation `key` must be `value`.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

#[async_trait]
impl Verifier for AnnotationIs {
    async fn verify(&self, _base: &ResolvedImage, candidate: &Accelerated) -> Result<Verdict> {
        let found = candidate.manifest.annotations().get(&self.key);
        Ok(match found {
            Some(value) if *value == self.value => Verdict::Accept,
            Some(_) => Verdict::Reject(format!("its annotation {} is not {}", self.key, self.value)),
            None => Verdict::Reject(format!("it has no annotation {}", self.key)),
        })
    }
}

//! Where the bytes of a blob are, and what opens the door.
//!
//! [`HttpSource`](crate::HttpSource) knows ranges, redirects and retries. It asks an [`Endpoint`] for
//! the URL and the headers, and tells it when the origin did not accept them. A registry client
//! implements the trait; a plain [`Location`] is one that never changes.

use std::fmt;

use async_trait::async_trait;

use crate::Result;

/// Gives the URL of one blob and the headers that authorise reading it.
///
/// # Contract
///
/// * [`locate`](Self::locate) is called before every request and from many tasks at once: it answers
///   [`Locate::Fresh`] from memory where it can, and makes one token request for all who wait.
/// * After [`Locate::Rejected`] it does not repeat what was rejected, unless it has nothing else. It is asked at
///   most four times in a row, so that one of several credentials can be found; then the fetch fails.
/// * The headers go to the scheme, host and port of the URL and nowhere else.
/// * The future may be dropped at any await point.
#[async_trait]
pub trait Endpoint: Send + Sync + fmt::Debug {
    /// The place to read from.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way. A transient error is tried again by the fetch loop.
    async fn locate(&self, reason: Locate) -> Result<Location>;
}

/// Why a [`Location`] is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locate {
    /// For the first try of a request.
    Fresh,
    /// The origin answered 401 or 403 to the location given before.
    Rejected {
        /// The status code.
        status: u16,
        /// The values of `WWW-Authenticate` in that answer.
        challenges: Vec<String>,
        /// What was rejected.
        location: Location,
    },
}

/// A URL with the headers to send there.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    url: String,
    headers: Vec<(String, String)>,
}

impl Location {
    /// A URL without headers.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: Vec::new() }
    }

    /// Adds a header, such as `Authorization`.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Names and values of the headers.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Location").field("url", &presentable(&self.url)).field("headers", &names).finish()
    }
}

#[async_trait]
impl Endpoint for Location {
    async fn locate(&self, _reason: Locate) -> Result<Location> {
        Ok(self.clone())
    }
}

/// `url` without what may be a secret: userinfo, query and fragment.
pub(super) fn presentable(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = path.split_once("://") else {
        return path.to_owned();
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let location = Location::new("https://user:pw@example.com:5000/a/b?X-Signature=s3cret#frag")
            .with_header("authorization", "Bearer t0ken");
        let shown = format!("{location:?}");
        assert!(shown.contains("https://example.com:5000/a/b"), "{shown}");
        for secret in ["pw", "s3cret", "t0ken", "frag"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

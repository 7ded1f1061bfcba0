//! From a request path to what it names.
//!
//! A repository name has any number of components and may itself hold a word like `blobs`, so the
//! *last* marker in the path divides the name from the rest.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use crate::digest::Digest;
use crate::name::{Reference, Repository};
use crate::refusal::Refusal;

/// An endpoint of the distribution specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/<name>/manifests/<tag or digest>`
    Manifest(Repository, Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(Repository, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<session>`
    Upload(Repository, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Repository, Digest),
    /// `/v2/<name>/tags/list`
    Tags(Repository),
}

impl Route {
    /// The endpoint that `path` names, `None` if it is outside the specification.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if a part of it breaks its grammar.
    pub(crate) fn of(path: &str) -> Result<Option<Self>, Refusal> {
        let Some(rest) = path.strip_prefix("/v2").filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return Ok(None);
        };
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Ok(Some(Self::Base));
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Some(Self::Tags(name.parse()?)));
        }
        let last = MARKERS
            .iter()
            .filter_map(|marker| rest.rsplit_once(marker).map(|(name, tail)| (*marker, name, tail)))
            .max_by_key(|(_, name, _)| name.len());
        let Some((marker, name, tail)) = last else { return Ok(None) };
        let repository = name.parse()?;
        let digest = || tail.parse().map_err(|_| Refusal::digest_invalid(tail));
        Ok(Some(match marker {
            MANIFESTS => Self::Manifest(repository, tail.parse()?),
            REFERRERS => Self::Referrers(repository, digest()?),
            UPLOADS if tail.is_empty() => Self::Uploads(repository),
            UPLOADS => Self::Upload(repository, tail.to_owned()),
            _ if tail == "uploads" => Self::Uploads(repository),
            _ => Self::Blob(repository, digest()?),
        }))
    }

    /// The repository it is about, if any.
    pub(crate) fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base => None,
            Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::Uploads(repository)
            | Self::Upload(repository, _)
            | Self::Referrers(repository, _)
            | Self::Tags(repository) => Some(repository),
        }
    }
}

const MANIFESTS: &str = "/manifests/";
const BLOBS: &str = "/blobs/";
const UPLOADS: &str = "/blobs/uploads/";
const REFERRERS: &str = "/referrers/";

/// Of two markers at one place the later in this list wins, so an upload is not taken for a blob.
const MARKERS: [&str; 4] = [MANIFESTS, BLOBS, UPLOADS, REFERRERS];

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        name.parse().unwrap()
    }

    #[test]
    fn the_last_marker_divides() {
        let digest = Digest::sha256(b"");
        let cases = [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/a/manifests/t".to_owned(), Route::Manifest(repository("a"), "t".parse().unwrap())),
            (
                format!("/v2/a/manifests/blobs/b/manifests/{digest}"),
                Route::Manifest(repository("a/manifests/blobs/b"), Reference::Digest(digest.clone())),
            ),
            (format!("/v2/a/b/blobs/{digest}"), Route::Blob(repository("a/b"), digest.clone())),
            (
                format!("/v2/referrers/x/referrers/{digest}"),
                Route::Referrers(repository("referrers/x"), digest),
            ),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(repository("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(repository("a"))),
            ("/v2/a/blobs/uploads/1f".to_owned(), Route::Upload(repository("a"), "1f".to_owned())),
            ("/v2/tags/list/tags/list".to_owned(), Route::Tags(repository("tags/list"))),
        ];
        for (path, route) in cases {
            assert_eq!(Route::of(&path).unwrap(), Some(route), "{path}");
        }
    }

    #[test]
    fn outside_and_against_the_grammar() {
        for outside in ["/", "/v1/", "/v2x/", "/v2/a", "/v2/a/b/c"] {
            assert_eq!(Route::of(outside).unwrap(), None, "{outside}");
        }
        for bad in
            ["/v2/A/tags/list", "/v2/a/blobs/sha256:0", "/v2/a/referrers/x", "/v2/a/manifests/sha256:x"]
        {
            assert!(Route::of(bad).is_err(), "{bad}");
        }
    }
}

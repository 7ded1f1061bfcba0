//! Listing tags, and deleting what is named.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::{BTreeSet, HashSet};

use reqwest::Method;
use serde::Deserialize;

use crate::descriptor::null_is_default;
use crate::{Digest, Error, ErrorKind, Registry, Repository, Result};

use super::exchange::Ask;
use super::listing::next_page;
use super::refusal;

impl Registry {
    /// The tags of `repository`, sorted. What is no tag is left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such repository; [`ErrorKind::Limit`] for more than 65,536 tags or
    /// 1024 pages; [`ErrorKind::Refused`] for a page on another host.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(deserialize_with = "null_is_default")]
            tags: Vec<String>,
        }
        let mut url = self.url(repository, "tags/list")?;
        let (mut tags, mut visited) = (BTreeSet::new(), HashSet::new());
        loop {
            let limit = self.0.options.limits.manifest;
            let reply =
                self.exchange(Ask::new(repository, Method::GET, url.clone(), limit)).await?.success()?;
            let page: Page = serde_json::from_slice(&reply.body).map_err(|e| {
                Error::protocol(&*reply.place, "list of tags", "not the JSON it should be").because(e)
            })?;
            tags.extend(page.tags.into_iter().filter(|tag| repository.with_tag(tag).is_ok()));
            visited.insert(url);
            let over = |what, limit: usize| {
                Error::new(ErrorKind::Limit { what, limit: limit as u64 }, &*reply.place)
            };
            if tags.len() > MAX_TAGS {
                return Err(over("tags", MAX_TAGS));
            }
            match next_page(&reply)? {
                None => return Ok(tags.into_iter().collect()),
                Some(next) if visited.contains(&next) => {
                    let why = "it leads back to a page already read";
                    return Err(Error::protocol(&*reply.place, "page link", why));
                }
                Some(_) if visited.len() == MAX_PAGES => return Err(over("pages of tags", MAX_PAGES)),
                Some(next) => url = next,
            }
        }
    }

    /// Deletes the manifest `digest`, with all tags that name it. One that is not there is deleted already.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the registry deletes nothing.
    pub async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let url = self.url(repository, &format!("manifests/{digest}"))?;
        let ask = Ask::new(repository, Method::DELETE, url, self.0.options.limits.token);
        let reply = self.exchange(ask).await?;
        let code = refusal::code(&reply);
        match (reply.status.as_u16(), code.as_deref()) {
            (404, code) if code != Some("NAME_UNKNOWN") => Ok(()),
            (405, _) | (400, Some("UNSUPPORTED")) => {
                let value = "the registry is configured without it".to_owned();
                Err(Error::new(ErrorKind::Unsupported { what: "deletion", value }, reply.place))
            }
            _ => reply.success().map(drop),
        }
    }
}

/// More than any repository that people look at.
const MAX_TAGS: usize = 65_536;
const MAX_PAGES: usize = 1024;

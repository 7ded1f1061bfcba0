//! Asking a registry what it is, before anybody has said who they are.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use jiff::Timestamp;
use reqwest::header::DATE;
use reqwest::{Method, StatusCode};

use crate::{Error, ErrorKind, Registry, Repository, Result};

use super::challenge::Challenge;
use super::exchange::Ask;
use super::realm::Realm;
use super::refusal;

/// What a registry says at its front door, for people who look for the cause of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// How it wants to be shown who asks.
    pub authentication: Authentication,
    /// By how many seconds its clock is ahead of this host's, as far as a whole second tells. Tokens and signed
    /// URLs fail where clocks differ by minutes.
    pub clock_ahead: Option<i64>,
}

/// How a registry wants to be shown who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// Not at all, or not at this door.
    None,
    /// By user and password with each request.
    Basic,
    /// By a token.
    Bearer {
        /// The token server's URL, without its query.
        realm: String,
        /// Whether credentials are sent to it.
        trusted: bool,
    },
    /// In a way that is not spoken here.
    Unknown,
}

impl Registry {
    /// Asks the registry of `repository` for its base endpoint (OCI distribution-spec, "Determining Support"),
    /// without authorisation and without its mirrors.
    ///
    /// # Errors
    ///
    /// If it cannot be reached or answers as no registry does, and [`ErrorKind::Refused`] for a token server that
    /// must not be asked at all.
    pub async fn probe(&self, repository: &Repository) -> Result<Probe> {
        let mut url = self.url(repository, "")?;
        url.set_path("/v2/");
        let ask = Ask::new(repository, Method::GET, url.clone(), self.0.options.limits.token);
        let after = self.0.options.deadline;
        let asked = tokio::time::timeout(after, self.follow(&ask, None)).await;
        let reply = asked.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout { after }, super::exchange::place(&ask.method, &url)))
        })?;
        let now = Timestamp::now().as_second();
        let clock_ahead = reply.header(DATE.as_str()).and_then(|date| seconds(date)?.checked_sub(now));
        let authentication = match reply.status {
            StatusCode::UNAUTHORIZED => {
                match Challenge::best(reply.challenges().iter().map(String::as_str)) {
                    None => Authentication::Unknown,
                    Some(Challenge::Basic) => Authentication::Basic,
                    Some(Challenge::Bearer { realm, .. }) => {
                        let mut judged =
                            Realm::judge(&url, &realm, &self.0.options.trusted_realms, &reply.place)?;
                        judged.url.set_query(None);
                        Authentication::Bearer { realm: judged.url.into(), trusted: judged.trusted }
                    }
                }
            }
            status if status.is_success() => Authentication::None,
            _ => return Err(refusal::error(&reply)),
        };
        Ok(Probe { authentication, clock_ahead })
    }
}

/// Seconds since 1970 of an HTTP date (RFC 9110, 5.6.7).
fn seconds(date: &str) -> Option<i64> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date.trim());
    date.ok().map(|date: Timestamp| date.as_second())
}

//! Switches that make the server misbehave, one for each client behaviour worth a test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock;

/// A way to misbehave. Positions are in bytes of an answer's body, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// There is no Referrers API: 404 with a plain text, and no `OCI-Subject` after a push. Subjects are
    /// still recorded, so taking the fault away is the upgrade of an old registry.
    ReferrersOff,
    /// The Referrers API answers 404 with a JSON error list of this code.
    ReferrersError {
        /// The code of the one error.
        code: String,
    },
    /// The referrers filter is ignored, which the specification allows.
    FilterIgnored,
    /// The referrers filter is ignored, yet `OCI-Filters-Applied` claims otherwise.
    FilterLies,
    /// At most this many referrers a page; the rest is behind a `Link`.
    PageSize(usize),
    /// The `Link` of a page is spelled in this way.
    PageLink(PageLink),
    /// The tag `sha256-<hex>` names the manifest `sha256:<hex>`, the subject itself.
    SubjectAlias,
    /// 200 with an HTML page.
    Html,
    /// This status with an error body.
    Status(u16),
    /// 429, with this `Retry-After` (seconds or an HTTP date) if any.
    TooManyRequests {
        /// The header's value.
        retry_after: Option<String>,
    },
    /// The lowest bit of this byte of a body is inverted.
    BitFlip {
        /// Position of the byte.
        at: u64,
    },
    /// The connection is closed after exactly this many bytes of a body.
    Cut {
        /// Number of bytes that arrive.
        at: u64,
    },
    /// Nothing arrives after this many bytes of a body, and the connection stays open.
    Stall {
        /// Number of bytes that arrive.
        at: u64,
    },
    /// Range requests get a 200 with everything.
    RangeIgnored,
    /// A partial answer claims to start one byte further on than it does.
    WrongContentRange,
    /// A partial answer goes on behind its range, to the end of the blob, and nothing in its head tells.
    LongBody,
    /// A 416 declares a body as long as the blob and closes the connection after a few bytes.
    LongNotSatisfiable,
    /// `Docker-Content-Digest` names other content.
    LyingDigest,
    /// `If-Match` of a push is ignored, so a lost update goes unnoticed.
    IfMatchIgnored,
    /// Requests with an `Authorization` are told that it has expired.
    ExpiredToken {
        /// 401 with a challenge, or 403 without one as some registries do.
        status: u16,
    },
    /// The token endpoint answers 307.
    RealmRedirect {
        /// The URL that it names.
        to: String,
    },
    /// New tokens are accepted for this long, whatever their `expires_in` says.
    TokenLifetime(Duration),
    /// New redirect URLs are accepted for this long.
    RedirectLifetime(Duration),
}

impl Fault {
    /// This fault for the next `count` answers only.
    pub fn times(self, count: u32) -> Rule {
        Rule::from(self).times(count)
    }

    /// This fault for paths that contain `part` only.
    pub fn on(self, part: impl Into<String>) -> Rule {
        Rule::from(self).on(part)
    }
}

/// How the `Link` of a referrers page is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageLink {
    /// An absolute URL of this server.
    Absolute,
    /// An absolute URL of another host.
    ForeignHost,
    /// The URL of the page itself.
    Loop,
}

/// A fault and the answers it applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    fault: Fault,
    left: Option<u32>,
    part: Option<String>,
}

impl Rule {
    /// Limits it to the next `count` answers that it applies to.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { left: Some(count), ..self }
    }

    /// Limits it to paths that contain `part`.
    #[must_use]
    pub fn on(self, part: impl Into<String>) -> Self {
        Self { part: Some(part.into()), ..self }
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self { fault, left: None, part: None }
    }
}

/// The switches of a server. Clones are handles to the same switches.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Rule>>>);

impl Faults {
    /// Switches a fault on. Of two rules with the same kind of fault the older one goes first.
    pub fn add(&self, rule: impl Into<Rule>) {
        lock(&self.0).push(rule.into());
    }

    /// Switches every rule with this fault off.
    pub fn remove(&self, fault: &Fault) {
        lock(&self.0).retain(|rule| rule.fault != *fault);
    }

    /// Switches everything off.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// What `pick` takes from the first fault that it takes anything from, for a request of `path`. A
    /// rule is used up only by an answer it changes, so the caller asks when it would act on it.
    pub(crate) fn strike<T>(&self, path: &str, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let mut rules = lock(&self.0);
        let found = rules.iter_mut().find_map(|rule| {
            let applies = rule.left != Some(0) && rule.part.as_ref().is_none_or(|part| path.contains(part));
            let picked = applies.then(|| pick(&rule.fault)).flatten()?;
            rule.left = rule.left.map(|left| left.saturating_sub(1));
            Some(picked)
        });
        rules.retain(|rule| rule.left != Some(0));
        found
    }

    /// Whether exactly this fault strikes a request of `path`.
    pub(crate) fn has(&self, path: &str, fault: &Fault) -> bool {
        self.strike(path, |candidate| (candidate == fault).then_some(())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_used_up_by_the_answers_it_changes() {
        let faults = Faults::default();
        faults.add(Fault::RangeIgnored.times(2).on("/blobs/"));
        assert!(!faults.has("/v2/a/blobs/x", &Fault::FilterIgnored));
        assert!(!faults.has("/v2/a/manifests/x", &Fault::RangeIgnored));
        assert!(faults.has("/v2/a/blobs/x", &Fault::RangeIgnored));
        assert!(faults.has("/v2/a/blobs/x", &Fault::RangeIgnored));
        assert!(!faults.has("/v2/a/blobs/x", &Fault::RangeIgnored));
    }

    #[test]
    fn rules_of_a_kind_apply_in_order() {
        let faults = Faults::default();
        faults.add(Fault::Status(500).times(1));
        faults.add(Fault::Status(503).times(1));
        let status = || {
            faults.strike("/", |fault| match fault {
                Fault::Status(status) => Some(*status),
                _ => None,
            })
        };
        assert_eq!([status(), status(), status()], [Some(500), Some(503), None]);
    }
}

//! The client of one or many registries.
//!
//! ```text
//!   pull · tags · listing · push · upload · attach   what is asked: one file for each group of endpoints
//!        └─────────────┬────────────┘
//!   mirrors ─────── exchange                         how: authorisation, redirects, retries, deadline, size limit
//!         ┌────────────┼────────────┐
//!       auth       gate · retry  address             tokens and challenges · waiting · where one may connect to
//!         │
//!   challenge · realm · token                        who is asked for a token, and whether it may see credentials
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::{Clock, CredentialSource, Error, ErrorKind, Mirror, Repository, Result, TokioClock};

use self::address::Guard;
use self::auth::Auth;
use self::gate::Gates;
use self::mirrors::Benched;
use self::support::Support;
use self::warning::Warnings;

mod address;
mod attach;
mod auth;
mod challenge;
mod exchange;
mod gate;
mod link;
mod listing;
mod mirrors;
mod payload;
mod probe;
mod pull;
mod push;
mod realm;
mod refusal;
mod retry;
mod support;
mod tags;
mod token;
mod upload;
mod warning;

pub use attach::{Attached, Listed};
pub use listing::{ApiSupport, Listing};
pub use probe::{Authentication, Probe};
pub use push::Pushed;
pub use upload::UploadOptions;

pub(crate) use exchange::{network, read};
pub(crate) use retry::random_part;
#[cfg(feature = "lazy-fetch")]
pub(crate) use {
    auth::{Access, Tried},
    exchange::place,
};
#[cfg(fuzzing)]
pub(crate) use {challenge::Challenge, link::next as next_link};

/// A client for the OCI distribution API of every registry that references name.
///
/// One value holds one identity: the tokens it keeps were made with its [`CredentialSource`]. A process
/// that acts for several tenants makes one for each. Clones share connections and tokens.
///
/// Every call is bounded by [`RegistryOptions::deadline`] and every answer by [`Limits`]. Credentials go
/// to the registry's own scheme, host and port, and to token servers that belong to it; redirects,
/// upload locations and page links elsewhere are used without them.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use referrers::{Chain, Reference, Registry, RegistryOptions};
///
/// # async fn example() -> Result<(), referrers::Error> {
/// let registry = Registry::new(RegistryOptions::default(), Arc::new(Chain::of_user()))?;
/// let reference: Reference = "registry.example.com/shop/api:1.4".parse()?;
/// let manifest = registry.manifest(&reference).await?;
/// for entry in registry.referrers(reference.repository(), manifest.digest(), None).await?.referrers {
///     println!("{} {}", entry.digest, entry.artifact_type.as_deref().unwrap_or_default());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    /// For hosts that the embedder or a reference has named.
    http: reqwest::Client,
    /// For hosts that a registry has named.
    elsewhere: reqwest::Client,
    options: RegistryOptions,
    auth: Auth,
    gates: Gates,
    benched: Benched,
    support: Support,
    warnings: Warnings,
    /// Held while a fallback index is read, changed and written, so that this process loses no update.
    fallback_writer: tokio::sync::Mutex<()>,
}

/// How a [`Registry`] behaves.
///
/// ```
/// use std::time::Duration;
///
/// use referrers::RegistryOptions;
///
/// let options = RegistryOptions::default()
///     .with_plain_http("localhost:5000")
///     .with_trusted_realm("auth.example.com")
///     .with_deadline(Duration::from_secs(10));
/// assert!(options.plain_http.contains("localhost:5000"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Hosts, with their port, that are spoken to over plain HTTP. All others are spoken to over HTTPS.
    pub plain_http: BTreeSet<String>,
    /// Hosts, with a port unless it is the scheme's own, of token servers that credentials may be sent to
    /// beside those on the registry's own host and the well-known ones.
    pub trusted_realms: BTreeSet<String>,
    /// Hosts that are asked before a registry, by the registry's host, the first first.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Whether redirects and realms may lead into private networks. Registries in a cloud's own network need
    /// that; a host that reads from the public network only does not.
    pub private_redirects: bool,
    /// Time for one call, with authorisation, redirects and retries; a listing makes one call a page.
    pub deadline: Duration,
    /// Sizes that answers are refused above.
    pub limits: Limits,
    /// The `User-Agent`.
    pub user_agent: String,
    /// What waits and lifetimes go by.
    pub clock: Arc<dyn Clock>,
}

/// Sizes in bytes that answers are refused above.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// A manifest or index.
    pub manifest: u64,
    /// One page of a list of referrers, or a fallback index.
    pub referrers_page: u64,
    /// An image configuration.
    pub config: u64,
    /// The answer of a token server, or the body of an error.
    pub token: u64,
}

impl Registry {
    /// A client that authenticates with what `credentials` gives.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if no HTTP client can be made with these options.
    pub fn new(mut options: RegistryOptions, credentials: Arc<dyn CredentialSource>) -> Result<Self> {
        let plain_mirrors = options.mirrors.values().flatten().filter(|mirror| mirror.is_plain_http());
        options.plain_http.extend(plain_mirrors.map(|mirror| mirror.host().to_owned()).collect::<Vec<_>>());
        let http = client(&options, true)?;
        let elsewhere = if options.private_redirects { http.clone() } else { client(&options, false)? };
        let auth = Auth::new(credentials);
        let fallback_writer = tokio::sync::Mutex::new(());
        let (gates, benched, support, warnings) = Default::default();
        Ok(Self(Arc::new(Inner {
            http,
            elsewhere,
            options,
            auth,
            gates,
            benched,
            support,
            warnings,
            fallback_writer,
        })))
    }

    /// What registries have warned of so far, each warning once, with the host it came from.
    ///
    /// They are for people, such as a notice that the registry is to be switched off; nothing depends on them.
    pub fn warnings(&self) -> Vec<String> {
        self.0.warnings.all()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.options.clock
    }

    #[cfg(feature = "lazy-fetch")]
    pub(crate) fn deadline(&self) -> Duration {
        self.0.options.deadline
    }

    /// The client for `url`, which was named by or is `registry`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] for an address that must not be connected to.
    pub(crate) fn client_for(&self, url: &Url, registry: &Url, place: &str) -> Result<&reqwest::Client> {
        address::check_url(url, registry, self.0.options.private_redirects, place)?;
        Ok(if url.origin() == registry.origin() { &self.0.http } else { &self.0.elsewhere })
    }

    /// The URL of `rest` below the repository, which is validated text throughout.
    pub(crate) fn url(&self, repository: &Repository, rest: &str) -> Result<Url> {
        let scheme = if self.0.options.plain_http.contains(repository.host()) { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}/{rest}", repository.api_host(), repository.path());
        Url::parse(&text).map_err(|e| Error::invalid("registry URL", &text, "not a URL").because(e))
    }
}

/// An HTTP client that connects to private networks only if `private`.
fn client(options: &RegistryOptions, private: bool) -> Result<reqwest::Client> {
    let mirrors = options.mirrors.values().flatten().map(Mirror::host);
    let named = options.plain_http.iter().chain(&options.trusted_realms).map(String::as_str);
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .dns_resolver(Arc::new(Guard::new(named.chain(mirrors), private)))
        .user_agent(&options.user_agent)
        .build()
        .map_err(|e| {
            let why = "no HTTP client can be made with them".into();
            Error::new(ErrorKind::Invalid { what: "options", why }, "registry client").because(e)
        })
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl RegistryOptions {
    /// Speaks to `host` (with its port) over plain HTTP.
    #[must_use]
    pub fn with_plain_http(mut self, host: impl Into<String>) -> Self {
        self.plain_http.insert(host.into());
        self
    }

    /// Trusts the token server `host` with credentials.
    #[must_use]
    pub fn with_trusted_realm(mut self, host: impl Into<String>) -> Self {
        self.trusted_realms.insert(host.into());
        self
    }

    /// Asks `mirror`, after those before it, before the registry `host`.
    #[must_use]
    pub fn with_mirror(mut self, host: impl Into<String>, mirror: Mirror) -> Self {
        self.mirrors.entry(host.into()).or_default().push(mirror);
        self
    }

    /// Keeps redirects and realms out of private networks.
    #[must_use]
    pub fn without_private_redirects(mut self) -> Self {
        self.private_redirects = false;
        self
    }

    /// Sets the time for one call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the size limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what waits and lifetimes go by.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl Default for RegistryOptions {
    /// HTTPS only, no further token servers, 30 s a call.
    fn default() -> Self {
        Self {
            plain_http: BTreeSet::new(),
            trusted_realms: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            private_redirects: true,
            deadline: Duration::from_secs(30),
            limits: Limits::default(),
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Arc::new(TokioClock),
        }
    }
}

impl Default for Limits {
    /// What OCI distribution-spec asks registries to accept at least (4 MiB for a manifest), and as much as
    /// a list of thousands of referrers needs.
    fn default() -> Self {
        Self { manifest: 4 << 20, referrers_page: 8 << 20, config: 4 << 20, token: 1 << 20 }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Anonymous;

    #[test]
    fn a_plain_mirror_makes_nothing_else_of_its_host_plain() {
        let mirror = Mirror::new("http://cache.test").unwrap();
        let own = mirror.repository(&Repository::new("h.io", "a").unwrap()).unwrap();
        let options = RegistryOptions::default().with_mirror("h.io", mirror);
        let registry = Registry::new(options, Arc::new(Anonymous)).unwrap();
        let origin = |repository: &Repository| registry.url(repository, "").unwrap().origin();
        assert_eq!(origin(&own).ascii_serialization(), "http://cache.test");
        let reference = Repository::new("cache.test", "a").unwrap();
        assert_eq!(origin(&reference).ascii_serialization(), "https://cache.test");
    }
}

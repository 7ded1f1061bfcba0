//! Mirrors: other hosts that are asked before the registry itself.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::fmt;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::{Error, Repository, Result};

#[cfg(feature = "hosts-toml")]
mod hosts_toml;

#[cfg(all(fuzzing, feature = "hosts-toml"))]
pub(crate) use hosts_toml::parse as parse_hosts_toml;

/// A host that serves what another registry has.
///
/// A mirror is asked once, for what it is said to be capable of; if it fails or has not what is asked for, the
/// next one is asked, and at last the registry; one that does not answer as a server should is not asked for the
/// next 30 s. It is told whose content is meant (`?ns=`), and gets credentials
/// only if the source has some for the mirror's own host, to which the port belongs unless it is HTTPS on 443.
/// Nothing is pushed to it.
///
/// ```
/// use referrers::{Capability, Mirror, RegistryOptions};
///
/// let mirror = Mirror::new("https://mirror.example.com")?
///     .with_capabilities([Capability::Pull, Capability::Resolve]);
/// let options = RegistryOptions::default().with_mirror("registry.example.com", mirror);
/// # drop(options);
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Clone)]
pub struct Mirror {
    /// Scheme, host and port, and the path up to the repository's.
    base: Url,
    /// The host as in references, with the port of one that is spoken to over plain HTTP.
    host: String,
    capabilities: Vec<Capability>,
    headers: HeaderMap,
}

/// What a mirror may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Content by its digest, which can be checked.
    Pull,
    /// What a tag names, which must be believed.
    Resolve,
    /// Lists of referrers.
    Referrers,
}

impl Mirror {
    /// The mirror at `url`, capable of everything; the API is below `/v2` of the URL's path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is not an HTTP URL of a host.
    pub fn new(url: &str) -> Result<Self> {
        Self::build(url, false)
    }

    /// As [`new`](Self::new), but the repositories are directly below the URL's path.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_overridden_path(url: &str) -> Result<Self> {
        Self::build(url, true)
    }

    fn build(url: &str, overridden: bool) -> Result<Self> {
        let invalid = |why: &'static str| Error::invalid("mirror", url, why);
        let mut base = Url::parse(url).map_err(|e| invalid("not a URL").because(e))?;
        let has_extras = base.query().is_some() || base.fragment().is_some() || !base.username().is_empty();
        if !matches!(base.scheme(), "http" | "https") || has_extras || base.password().is_some() {
            return Err(invalid("it is more or less than scheme, host and path"));
        }
        let host = base.host_str().ok_or_else(|| invalid("it has no host"))?;
        // In references a host without a port is one that is spoken to over HTTPS.
        let port = base.port().or_else(|| (base.scheme() == "http").then_some(HTTP_PORT));
        let host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = base.path().trim_end_matches('/');
        let path = if overridden { path.to_owned() } else { format!("{path}/v2") };
        base.set_path(&path);
        let capabilities = vec![Capability::Pull, Capability::Resolve, Capability::Referrers];
        Ok(Self { base, host, capabilities, headers: HeaderMap::new() })
    }

    /// Asks it for these only.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: impl IntoIterator<Item = Capability>) -> Self {
        self.capabilities = capabilities.into_iter().collect();
        self
    }

    /// Sends it this header with every request. It is treated as a secret.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is no header.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let invalid = |_| Error::invalid("header of a mirror", name, "it cannot stand in a request");
        let key: HeaderName = name.parse().map_err(|_| invalid(()))?;
        let mut value: HeaderValue = value.parse().map_err(|_| invalid(()))?;
        value.set_sensitive(true);
        self.headers.append(key, value);
        Ok(self)
    }

    /// The containerd configuration for `host` in the directory `root`, such as `/etc/containerd/certs.d`: the
    /// mirrors in `<host>/hosts.toml`, else in `_default/hosts.toml`, in the order of the file; none if there is
    /// neither.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`](crate::ErrorKind::File) if a file cannot be read,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is not what it should be,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a setting that is not understood and would
    /// change who is trusted: certificates, `skip_verify`, and a `server` that is another host.
    #[cfg(feature = "hosts-toml")]
    pub fn from_hosts_dir(root: impl AsRef<std::path::Path>, host: &str) -> Result<Vec<Self>> {
        hosts_toml::read(root.as_ref(), host)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn is_plain_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    pub(crate) fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The repository as the mirror's own, whose credentials it has.
    pub(crate) fn repository(&self, origin: &Repository) -> Result<Repository> {
        Repository::new(&self.host, origin.path())
    }

    /// Where the mirror has what the registry of `origin` has at `rest` below the repository.
    pub(crate) fn url(&self, origin: &Repository, rest: &str, query: Option<&str>) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}/{rest}", self.base.path(), origin.path()));
        url.set_query(query);
        url.query_pairs_mut().append_pair("ns", origin.host());
        url
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("base", &self.base.as_str())
            .field("capabilities", &self.capabilities)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

const HTTP_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_the_port_it_was_named_with() {
        for (url, host) in [
            ("http://m.io", "m.io:80"),
            ("http://m.io:80", "m.io:80"),
            ("http://m.io:5000", "m.io:5000"),
            ("https://m.io", "m.io"),
            ("https://m.io:443", "m.io"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(Mirror::new(url).unwrap().host(), host);
        }
    }

    #[test]
    fn paths_are_kept_or_completed() {
        let origin = Repository::new("docker.io", "library/a").unwrap();
        let at = |mirror: Mirror| mirror.url(&origin, "manifests/t", Some("x=1")).to_string();
        assert_eq!(
            at(Mirror::new("https://m.io:5000/").unwrap()),
            "https://m.io:5000/v2/library/a/manifests/t?x=1&ns=docker.io"
        );
        assert_eq!(
            at(Mirror::new("http://m.io/p").unwrap()),
            "http://m.io/p/v2/library/a/manifests/t?x=1&ns=docker.io"
        );
        assert_eq!(
            at(Mirror::with_overridden_path("https://m.io/v2/hub/").unwrap()),
            "https://m.io/v2/hub/library/a/manifests/t?x=1&ns=docker.io"
        );
        for url in ["m.io", "ftp://m.io", "https://u:p@m.io", "https://m.io/?x", "https://m.io/#x"] {
            assert!(Mirror::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn headers_are_not_shown() {
        let mirror = Mirror::new("https://m.io").unwrap().with_header("x-key", "hunter2").unwrap();
        assert!(!format!("{mirror:?}").contains("hunter2"));
        assert!(Mirror::new("https://m.io").unwrap().with_header("x", "a\nb").is_err());
    }
}

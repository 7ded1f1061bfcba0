//! Addresses: what may be connected to, whoever named it.
//!
//! A reference, a redirect or a realm can name any host, and a name can lead to any address. So it is the
//! address that is judged, when a connection is about to be made to it: never the services of a cloud's
//! own network that hand out credentials, never this host, unless the registry is on it.
//!
//! Through a proxy no address is known; the proxy has rules of its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::{Error, Result};

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) &'static str);

/// A resolver of names that gives only addresses which may be connected to.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    /// Names that may lead to this host.
    local_names: Arc<BTreeSet<String>>,
    /// Whether addresses of private networks may be connected to.
    private: bool,
}

impl Guard {
    /// `local` are hosts, with or without ports, that the embedder has named.
    pub(crate) fn new<'a>(local: impl IntoIterator<Item = &'a str>, private: bool) -> Self {
        let name = |host: &str| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
        let local_names = local.into_iter().map(name).chain([LOCALHOST.to_owned()]).collect();
        Self { local_names: Arc::new(local_names), private }
    }

    /// Those of `addresses` that `name` may lead to.
    fn allowed(
        &self,
        name: &str,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Denied> {
        let loopback = self.local_names.contains(name);
        let mut denied = Denied("a name that leads nowhere");
        let mut allowed = Vec::new();
        for address in addresses {
            match judge(address.ip(), loopback, self.private) {
                Ok(()) => allowed.push(address),
                Err(why) => denied = why,
            }
        }
        if allowed.is_empty() { Err(denied) } else { Ok(allowed) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = guard.allowed(name.as_str(), found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Judges a URL whose host is an address, which no resolver sees. `registry` is the one that named it, or
/// is asked itself.
pub(crate) fn check_url(url: &Url, registry: &Url, private: bool, place: &str) -> Result<()> {
    let private = private || url.origin() == registry.origin();
    let judged = match url.host() {
        Some(Host::Ipv4(ip)) => judge(IpAddr::V4(ip), is_local(registry), private),
        Some(Host::Ipv6(ip)) => judge(IpAddr::V6(ip), is_local(registry), private),
        Some(Host::Domain(_)) if is_local(url) && !is_local(registry) => Err(LOOPBACK),
        _ => Ok(()),
    };
    judged.map_err(|denied| Error::refused(place, denied.0))
}

/// The denial that an error of the HTTP client goes back to.
pub(crate) fn denial(error: &(dyn std::error::Error + 'static)) -> Option<Denied> {
    let mut below = Some(error);
    while let Some(error) = below {
        if let Some(denied) = error.downcast_ref::<Denied>() {
            return Some(*denied);
        }
        below = error.source();
    }
    None
}

/// Whether the URL says itself that it is on this host.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => embedded(ip).is_loopback(),
        Some(Host::Domain(name)) => name == LOCALHOST || name.ends_with(".localhost"),
        None => false,
    }
}

fn judge(ip: IpAddr, loopback: bool, private: bool) -> Result<(), Denied> {
    let ip = match ip {
        IpAddr::V6(ip) => embedded(ip),
        v4 => v4,
    };
    if METADATA.contains(&ip) {
        return Err(Denied("an address that gives out a cloud's credentials"));
    }
    let (unusable, link_local, is_private) = match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // The carrier's network 100.64.0.0/10 is what clouds use for their own services.
            let carrier = first == 100 && second & 0xc0 == 64;
            (first == 0 || ip.is_broadcast(), ip.is_link_local(), ip.is_private() || carrier)
        }
        IpAddr::V6(ip) => (ip.is_unspecified(), ip.is_unicast_link_local(), ip.is_unique_local()),
    };
    if unusable || ip.is_multicast() {
        return Err(Denied("an address that is no host's"));
    }
    if link_local {
        return Err(Denied("a link-local address"));
    }
    if ip.is_loopback() && !loopback {
        return Err(LOOPBACK);
    }
    if is_private && !private {
        return Err(Denied("an address of a private network"));
    }
    Ok(())
}

/// The IPv4 address in an IPv6 one that stands for it.
fn embedded(ip: Ipv6Addr) -> IpAddr {
    // RFC 6052, 2.1: the well-known prefix of translators.
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = ip.segments() {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    ip.to_canonical()
}

const LOCALHOST: &str = "localhost";
const LOOPBACK: Denied = Denied("an address of this host, which the registry is not on");
/// Alibaba Cloud's and Amazon's, where they are not link-local.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_in_every_spelling() {
        for (ip, loopback, private, allowed) in [
            ("8.8.8.8", false, false, true),
            ("2606:4700::1", false, false, true),
            ("0.0.0.0", true, true, false),
            ("0.1.2.3", true, true, false),
            ("::", true, true, false),
            ("255.255.255.255", true, true, false),
            ("224.0.0.1", true, true, false),
            ("ff02::1", true, true, false),
            ("169.254.169.254", true, true, false),
            ("::ffff:169.254.169.254", true, true, false),
            ("64:ff9b::a9fe:a9fe", true, true, false),
            ("fe80::1", true, true, false),
            ("100.100.100.200", true, true, false),
            ("fd00:ec2::254", true, true, false),
            ("127.0.0.1", false, true, false),
            ("127.8.9.1", true, true, true),
            ("::1", false, true, false),
            ("::1", true, true, true),
            ("::ffff:127.0.0.1", false, true, false),
            ("10.0.0.1", false, true, true),
            ("10.0.0.1", false, false, false),
            ("100.64.0.1", false, false, false),
            ("100.128.0.1", false, false, true),
            ("fd00::1", false, false, false),
            ("fd00::1", false, true, true),
        ] {
            assert_eq!(judge(ip.parse().unwrap(), loopback, private).is_ok(), allowed, "{ip}");
        }
    }

    #[test]
    fn a_name_leads_to_this_host_only_if_it_was_configured_to() {
        let guard = Guard::new(["registry.test:5000"], true);
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let there: SocketAddr = "8.8.8.8:0".parse().unwrap();
        assert_eq!(guard.allowed("registry.test", [here].into_iter()), Ok(vec![here]));
        assert_eq!(guard.allowed("evil.test", [here].into_iter()), Err(LOOPBACK));
        // What is left of a mixture is as good as if it had come alone.
        assert_eq!(guard.allowed("evil.test", [here, there].into_iter()), Ok(vec![there]));
        assert!(guard.allowed("evil.test", ["169.254.169.254:0".parse().unwrap()].into_iter()).is_err());
        assert!(guard.allowed("evil.test", [].into_iter()).is_err());
    }

    #[test]
    fn a_url_may_name_this_host_only_towards_a_registry_on_it() {
        let check = |url: &str, registry: &str| {
            check_url(&Url::parse(url).unwrap(), &Url::parse(registry).unwrap(), true, "GET h/p").is_ok()
        };
        for local in ["http://127.0.0.1:1/x", "http://localhost/x", "http://a.localhost/x", "http://[::1]/x"]
        {
            assert!(check(local, "http://localhost:5000/v2/"), "{local}");
            assert!(check(local, "http://127.0.0.1:5000/v2/"), "{local}");
            assert!(!check(local, "https://registry.example.com/v2/"), "{local}");
        }
        assert!(!check("http://169.254.169.254/x", "http://127.0.0.1:5000/v2/"));
        assert!(check("http://10.0.0.1/x", "https://registry.example.com/v2/"));
    }

    #[tokio::test]
    async fn a_denied_name_is_found_again_in_the_clients_error() {
        #[derive(Debug)]
        struct Deny;
        impl Resolve for Deny {
            fn resolve(&self, _: Name) -> Resolving {
                Box::pin(async { Err(LOOPBACK.into()) })
            }
        }
        let client = reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(Deny)).build().unwrap();
        let error = client.get("http://registry.test/").send().await.unwrap_err();
        assert_eq!(denial(&error), Some(LOOPBACK));
    }
}

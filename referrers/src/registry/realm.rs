//! Realms: which token servers may be asked, and which may see credentials.
//!
//! The registry names its token server, so whoever controls an answer of the registry could have
//! passwords sent to a host of their choice. Credentials therefore go to a token server on the registry's
//! own host, to the known token server of a known registry, or to one that the embedder trusts. Any other
//! may be asked for an anonymous token only.

use std::collections::BTreeSet;

use url::Url;

use crate::{Error, Result};

/// A token server that may be asked.
#[derive(Debug)]
pub(crate) struct Realm {
    pub(crate) url: Url,
    /// Whether it may see credentials.
    pub(crate) trusted: bool,
}

impl Realm {
    /// Judges the realm that `registry` names.
    pub(crate) fn judge(
        registry: &Url,
        realm: &str,
        trusted: &BTreeSet<String>,
        place: &str,
    ) -> Result<Self> {
        let refused = |rule| Error::refused(place, rule);
        let url = Url::parse(realm)
            .map_err(|e| Error::protocol(place, "challenge", "its realm is not a URL").because(e))?;
        match (registry.scheme(), url.scheme()) {
            (_, "https") | ("http", "http") => {}
            _ => return Err(refused("a token server is asked over HTTPS only")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("a token server's URL with user information"));
        }
        let host = url.host_str().ok_or_else(|| refused("a token server's URL without a host"))?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let registry_host = registry.host_str().unwrap_or_default();
        let trusted = host == registry_host
            || trusted.contains(&authority)
            || url.scheme() == "https" && url.port().is_none() && is_known_pair(registry_host, host);
        Ok(Self { url, trusted })
    }
}

/// Whether the token server is the one that the registry's operator runs.
fn is_known_pair(registry: &str, realm: &str) -> bool {
    if KNOWN_PAIRS.contains(&(registry, realm)) {
        return true;
    }
    let labels: Vec<_> = registry.split('.').collect();
    let region = match *labels.as_slice() {
        [name, region, "cr", "aliyuncs", "com"] if !name.is_empty() => region,
        [name, region, "aliyuncs", "com"] if name.starts_with("registry") => region,
        _ => return false,
    };
    let server = realm.strip_suffix(".aliyuncs.com").and_then(|rest| rest.split_once('.'));
    match server {
        Some((server, realm_region)) => region == realm_region && ALIYUN_SERVERS.contains(&server),
        None => region == "cn-zhangjiakou" && realm == "dockerauth-cn-zhangjiakou.aliyuncs.com",
    }
}

/// Registries whose operators run the token server on another host.
const KNOWN_PAIRS: [(&str, &str); 3] = [
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("nvcr.io", "authn.nvidia.com"),
];
/// The token servers that Alibaba Cloud runs in each region, for its public and its VPC endpoints.
const ALIYUN_SERVERS: [&str; 4] = ["dockerauth", "dockerauth-vpc", "dockerauth-ee", "dockerauth-ee-vpc"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn judge(registry: &str, realm: &str) -> Result<bool> {
        let registry = Url::parse(registry).unwrap();
        let trusted = BTreeSet::from(["auth.example.com".to_owned(), "auth.example.com:8443".to_owned()]);
        Realm::judge(&registry, realm, &trusted, "GET r").map(|realm| realm.trusted)
    }

    #[test]
    fn credentials_go_to_token_servers_of_the_registry_only() {
        for (registry, realm, trusted) in [
            ("https://r.io", "https://r.io/token", true),
            ("https://r.io:5000", "https://R.io:5001/token", true),
            ("http://r.io", "http://r.io/token", true),
            ("https://r.io", "https://auth.example.com/t", true),
            ("https://r.io", "https://auth.example.com:8443/t", true),
            ("https://r.io", "https://auth.example.com:8444/t", false),
            ("https://r.io", "https://auth.example.com.evil.io/t", false),
            ("https://r.io", "https://r.io.evil.io/t", false),
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://registry-1.docker.io", "https://auth.docker.io:8443/token", false),
            ("https://evil.io", "https://auth.docker.io/token", false),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://nvcr.io", "https://authn.nvidia.com/token", true),
            (
                "https://registry.cn-hangzhou.aliyuncs.com",
                "https://dockerauth.cn-hangzhou.aliyuncs.com/auth",
                true,
            ),
            (
                "https://registry-vpc.cn-hangzhou.aliyuncs.com",
                "https://dockerauth-vpc.cn-hangzhou.aliyuncs.com/auth",
                true,
            ),
            (
                "https://x-registry.cn-beijing.cr.aliyuncs.com",
                "https://dockerauth-ee.cn-beijing.aliyuncs.com/auth",
                true,
            ),
            (
                "https://x-registry-vpc.cn-beijing.cr.aliyuncs.com",
                "https://dockerauth-ee-vpc.cn-beijing.aliyuncs.com/auth",
                true,
            ),
            (
                "https://registry.cn-zhangjiakou.aliyuncs.com",
                "https://dockerauth-cn-zhangjiakou.aliyuncs.com/auth",
                true,
            ),
            (
                "https://registry.cn-hangzhou.aliyuncs.com",
                "https://dockerauth-cn-zhangjiakou.aliyuncs.com/auth",
                false,
            ),
            (
                "https://registry.cn-hangzhou.aliyuncs.com",
                "https://dockerauth.cn-beijing.aliyuncs.com/auth",
                false,
            ),
            (
                "https://registry.cn-hangzhou.aliyuncs.com",
                "https://evil.cn-hangzhou.aliyuncs.com/auth",
                false,
            ),
            (
                "https://evil.cn-hangzhou.aliyuncs.com",
                "https://dockerauth.cn-hangzhou.aliyuncs.com/auth",
                false,
            ),
            (
                "https://registry.cn-hangzhou.aliyuncs.com",
                "https://dockerauth.cn-hangzhou.aliyuncs.com.evil.io/auth",
                false,
            ),
        ] {
            assert_eq!(judge(registry, realm).unwrap(), trusted, "{registry} {realm}");
        }
    }

    #[test]
    fn some_realms_are_not_asked_at_all() {
        for (registry, realm) in [
            ("https://r.io", "http://r.io/token"),
            ("https://r.io", "ftp://r.io/token"),
            ("http://r.io", "file:///token"),
            ("https://r.io", "https://user:pass@r.io/token"),
        ] {
            let error = judge(registry, realm).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Refused { .. }), "{error}");
        }
        assert!(judge("https://r.io", "token").is_err());
    }
}

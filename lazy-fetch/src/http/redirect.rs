//! Where a redirect may lead.

use reqwest::header::LOCATION;
use reqwest::{Response, Url};

use super::endpoint::presentable;
use crate::{Error, ErrorKind, Result};

/// Parses and checks a URL to start from.
pub(super) fn start(url: &str) -> Result<Url> {
    let url = Url::parse(url)
        .map_err(|e| Error::new(ErrorKind::InvalidInput, "the endpoint gave no valid url").with_source(e))?;
    checked(url, None)
}

/// Whether a status asks to repeat a GET elsewhere (RFC 9110, section 15.4).
pub(super) fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The URL that `response`, a redirect from `from`, names.
pub(super) fn target(from: &Url, response: &Response) -> Result<Url> {
    let refused =
        |why: &str| Error::new(ErrorKind::Protocol, format!("{} {why}", presentable(from.as_str())));
    let location = response.headers().get(LOCATION).ok_or_else(|| refused("redirects without a location"))?;
    let location = location.to_str().map_err(|_| refused("redirects to what is no url"))?;
    let url = from.join(location).map_err(|_| refused("redirects to what is no url"))?;
    checked(url, Some(from))
}

/// Same scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

fn checked(url: Url, from: Option<&Url>) -> Result<Url> {
    let why = if !matches!(url.scheme(), "http" | "https") {
        "neither http nor https"
    } else if !url.username().is_empty() || url.password().is_some() {
        "a url with user information"
    } else if url.scheme() == "http" && from.is_some_and(|from| from.scheme() == "https") {
        "a redirect from https to http"
    } else {
        return Ok(url);
    };
    Err(Error::new(ErrorKind::Refused, format!("{}: {why}", presentable(url.as_str()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_urls_are_followed() {
        for url in ["ftp://a/", "file:///etc/passwd", "http://u@a/", "http://u:p@a/"] {
            assert_eq!(start(url).unwrap_err().kind(), ErrorKind::Refused, "{url}");
        }
        let https = start("https://a/").unwrap();
        assert!(checked(Url::parse("http://a/").unwrap(), Some(&https)).is_err());
        assert!(checked(Url::parse("https://b/").unwrap(), Some(&https)).is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&start(a).unwrap(), &start(b).unwrap());
        assert!(same("http://a/x", "http://a:80/y"));
        for other in ["https://a/", "http://a:81/", "http://b/"] {
            assert!(!same("http://a/", other), "{other}");
        }
    }
}

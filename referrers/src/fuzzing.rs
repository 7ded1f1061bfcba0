//! Doors for the fuzzer to parsers that are not public.

/// The value of a `WWW-Authenticate` header.
pub fn challenge(text: &str) {
    let _ = crate::registry::Challenge::best([text]);
}

/// The value of a `Link` header.
pub fn link(text: &str) {
    let _ = crate::registry::next_link([text]);
}

/// A `hosts.toml`.
#[cfg(feature = "hosts-toml")]
pub fn hosts_toml(text: &str) {
    let _ = crate::mirror::parse_hosts_toml(text, "h.io", "hosts.toml");
}

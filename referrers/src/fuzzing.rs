//! Doors for the fuzzer to parsers that are not public.

/// The value of a `WWW-Authenticate` header.
pub fn challenge(text: &str) {
    let _ = crate::registry::Challenge::best([text]);
}

/// The value of a `Link` header.
pub fn link(text: &str) {
    let _ = crate::registry::next_link([text]);
}

/// A Docker configuration file, read for a repository.
pub fn docker_config(bytes: &[u8]) {
    let Ok(file) =
        crate::credential::ConfigFile::parse(bytes, crate::credential::Form::Config, "config.json")
    else {
        return;
    };
    if let Ok(repository) = crate::Repository::new("registry.example.com:5000", "shop/api") {
        let _ = file.auths.for_repository(&repository, "config.json");
    }
}

/// A `hosts.toml`.
#[cfg(feature = "hosts-toml")]
pub fn hosts_toml(text: &str) {
    let _ = crate::mirror::parse_hosts_toml(text, "h.io", "hosts.toml");
}

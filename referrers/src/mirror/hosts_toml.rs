//! containerd's `hosts.toml`.
//!
//! ```toml
//! server = "https://registry.example.com"
//!
//! [host."https://mirror.example.com"]
//!   capabilities = ["pull", "resolve", "referrers"]
//! ```

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::io::Read;
use std::path::Path;

use toml::{Table, Value};

use crate::{Error, ErrorKind, Result};

use super::{Capability, Mirror};

pub(crate) fn read(root: &Path, host: &str) -> Result<Vec<Mirror>> {
    // A host's name is part of a path here.
    if host.is_empty() || host.starts_with('.') || host.contains(['/', '\\']) {
        return Err(Error::invalid("registry host", host, "not a host"));
    }
    for directory in [host, "_default"] {
        let path = root.join(directory).join("hosts.toml");
        let place = path.display().to_string();
        let failed = |error| {
            Error::new(ErrorKind::File { what: "mirror configuration" }, place.clone()).because(error)
        };
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened.map_err(failed)?,
        };
        let mut text = String::new();
        file.take(MAX_FILE.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_FILE {
            let kind = ErrorKind::Limit { what: "mirror configuration in bytes", limit: MAX_FILE };
            return Err(Error::new(kind, place));
        }
        return parse(&text, host, &place);
    }
    Ok(Vec::new())
}

pub(crate) fn parse(text: &str, host: &str, place: &str) -> Result<Vec<Mirror>> {
    let invalid = |why: &'static str| Error::invalid("mirror configuration", place, why);
    // The parser quotes the line, which may hold a header with a secret.
    let mut file: Table = text.parse().map_err(|_| invalid("not the TOML it should be"))?;
    if let Some(server) = file.remove("server") {
        let server = server.as_str().ok_or_else(|| invalid("server is not text"))?.to_owned();
        // Whether over TLS or not is said by the options of the client, not here.
        let rest = server.split_once("://").map_or(&*server, |(_, rest)| rest);
        let named = rest.split('/').next().unwrap_or_default();
        let own = [host, if host == "docker.io" { "registry-1.docker.io" } else { host }];
        if !own.contains(&named) {
            return Err(unsupported("server that is another host", place));
        }
    }
    let hosts = match file.remove("host") {
        None => Table::new(),
        Some(Value::Table(hosts)) => hosts,
        Some(_) => return Err(invalid("host is not a table")),
    };
    refuse_unknown(&file, place)?;
    hosts.into_iter().map(|(url, settings)| mirror(&url, settings, place)).collect()
}

fn mirror(url: &str, settings: Value, place: &str) -> Result<Mirror> {
    let invalid = |why: &'static str| Error::invalid("mirror configuration", place, why);
    let Value::Table(mut settings) = settings else { return Err(invalid("a host is not a table")) };
    // Without a scheme containerd takes HTTPS.
    let url = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let overridden = match settings.remove("override_path") {
        None => false,
        Some(value) => value.as_bool().ok_or_else(|| invalid("override_path is neither true nor false"))?,
    };
    let mut mirror = Mirror::build(&url, overridden)?;
    if let Some(list) = settings.remove("capabilities") {
        let list = list.as_array().ok_or_else(|| invalid("capabilities are not a list"))?.clone();
        let named = list.iter().map(|name| name.as_str().ok_or_else(|| invalid("a capability is not text")));
        let named: Vec<&str> = named.collect::<Result<_>>()?;
        // Nothing is pushed to mirrors, and what is unknown is not asked for.
        let known = named.into_iter().filter_map(|name| match name {
            "pull" => Some(Capability::Pull),
            "resolve" => Some(Capability::Resolve),
            "referrers" => Some(Capability::Referrers),
            _ => None,
        });
        mirror = mirror.with_capabilities(known);
    }
    if let Some(headers) = settings.remove("header") {
        let headers = headers.as_table().ok_or_else(|| invalid("header is not a table"))?.clone();
        for (name, values) in headers {
            let values = match values {
                Value::Array(values) => values,
                one => vec![one],
            };
            for value in &values {
                let value = value.as_str().ok_or_else(|| invalid("a header is not text"))?;
                mirror = mirror.with_header(&name, value)?;
            }
        }
    }
    refuse_unknown(&settings, place)?;
    Ok(mirror)
}

/// Settings that were not taken out yet: those that change who is trusted must not be passed over.
fn refuse_unknown(settings: &Table, place: &str) -> Result<()> {
    for (name, value) in settings {
        let harmless = matches!(name.as_str(), "dial_timeout" | "capabilities" | "header" | "override_path");
        if !harmless && *value != Value::Boolean(false) {
            return Err(unsupported(&format!("setting {name}"), place));
        }
    }
    Ok(())
}

fn unsupported(value: &str, place: &str) -> Error {
    let value = crate::error::printable(value);
    Error::new(ErrorKind::Unsupported { what: "mirror configuration", value }, place)
}

const MAX_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Result<Vec<String>> {
        let mirrors = parse(text, "docker.io", "hosts.toml")?;
        Ok(mirrors.iter().map(|mirror| mirror.host().to_owned()).collect())
    }

    #[test]
    fn mirrors_keep_the_order_of_the_file() {
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.io"]
              capabilities = ["pull", "resolve", "push"]
            [host."http://a.io:5000/v2/hub"]
              override_path = true
              skip_verify = false
              dial_timeout = "5s"
              [host."http://a.io:5000/v2/hub".header]
                x-key = ["one", "two"]
            [host."m.io"]
        "#;
        assert_eq!(hosts(text).unwrap(), ["z.io", "a.io:5000", "m.io"]);
        let mirrors = parse(text, "docker.io", "hosts.toml").unwrap();
        let can = |n: usize| {
            [Capability::Pull, Capability::Resolve, Capability::Referrers].map(|c| mirrors[n].can(c))
        };
        assert_eq!((can(0), can(1)), ([true, true, false], [true, true, true]));
        assert_eq!(mirrors[1].headers().get_all("x-key").iter().count(), 2);
        assert!(mirrors[1].is_plain_http() && !mirrors[2].is_plain_http());
    }

    #[test]
    fn what_would_change_who_is_trusted_is_not_passed_over() {
        for text in [
            "server = \"https://elsewhere.io\"",
            "[host.\"https://m.io\"]\nskip_verify = true",
            "[host.\"https://m.io\"]\nca = \"/etc/ca.pem\"",
            "[host.\"https://m.io\"]\nclient = [[\"a\", \"b\"]]",
            "ca = \"/etc/ca.pem\"",
        ] {
            let error = hosts(text).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{text}: {error}");
        }
        for text in
            ["x", "host = 1", "[host.\"ftp://m.io\"]", "[host.\"https://m.io\"]\ncapabilities = \"pull\""]
        {
            assert!(matches!(hosts(text).unwrap_err().kind(), ErrorKind::Invalid { .. }), "{text}");
        }
        let secret = "[host.\"https://m.io\".header]\nauthorization = hunter2";
        assert!(!format!("{:?}", hosts(secret).unwrap_err()).contains("hunter2"));
    }

    #[test]
    fn the_hosts_own_file_comes_before_the_default() {
        let root = tempfile::tempdir().unwrap();
        assert!(read(root.path(), "h.io:5000").unwrap().is_empty());
        for (directory, mirror) in [("_default", "d.io"), ("h.io:5000", "m.io")] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
            let file = root.path().join(directory).join("hosts.toml");
            std::fs::write(file, format!("[host.\"https://{mirror}\"]")).unwrap();
            assert_eq!(read(root.path(), "h.io:5000").unwrap()[0].host(), mirror);
        }
        assert!(read(root.path(), "../h.io").is_err());
    }

    #[test]
    fn the_registry_itself_may_be_named_as_the_server() {
        for server in
            ["docker.io", "https://docker.io", "http://docker.io/v2/", "https://registry-1.docker.io"]
        {
            assert_eq!(hosts(&format!("server = \"{server}\"")).unwrap(), [""; 0], "{server}");
        }
        for server in ["http://docker.io.example.net", "docker.io:5000", "https://user@docker.io", ""] {
            assert!(hosts(&format!("server = \"{server}\"")).is_err(), "{server}");
        }
    }
}

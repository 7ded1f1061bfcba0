//! Warnings: what a registry wants people to know (OCI distribution-spec, "Warnings").

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use reqwest::header::{HeaderMap, WARNING};

use crate::error::printable;

/// The warnings received so far.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<BTreeSet<String>>);

impl Warnings {
    /// Takes those of an answer of `host`.
    pub(crate) fn collect(&self, host: &str, headers: &HeaderMap) {
        for value in headers.get_all(WARNING).iter().take(MAX_IN_ANSWER) {
            let Some(text) = value.to_str().ok().and_then(text) else { continue };
            let mut warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if warnings.len() < MAX_WARNINGS {
                warnings.insert(format!("{host}: {}", printable(&text)));
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The text of `299 - "text"`, the only form that the specification allows.
fn text(value: &str) -> Option<String> {
    let quoted = value.trim().strip_prefix("299 - \"")?.strip_suffix('"')?;
    let mut text = String::new();
    let mut escaped = false;
    for c in quoted.chars() {
        if c == '\\' && !escaped {
            escaped = true;
            continue;
        }
        // A quote that is not escaped ends the text, and what follows makes it another form.
        if c == '"' && !escaped {
            return None;
        }
        escaped = false;
        text.push(c);
    }
    Some(text)
}

const MAX_WARNINGS: usize = 64;
const MAX_IN_ANSWER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_form_is_read() {
        assert_eq!(text(r#"299 - "Your "#), None);
        assert_eq!(text(r#"299 - "say \"when\"""#), Some("say \"when\"".into()));
        assert_eq!(text(r#"199 - "x""#), None);
        assert_eq!(text(r#"299 - "x" "date""#), None);
    }

    #[test]
    fn each_is_kept_once_and_not_without_end() {
        let warnings = Warnings::default();
        let mut headers = HeaderMap::new();
        headers.append(WARNING, "299 - \"old\"".parse().unwrap());
        for _ in 0..2 {
            warnings.collect("h.io", &headers);
        }
        assert_eq!(warnings.all(), ["h.io: old"]);
        for n in 0..200 {
            headers.insert(WARNING, format!("299 - \"{n}\"").parse().unwrap());
            warnings.collect("h.io", &headers);
        }
        assert_eq!(warnings.all().len(), MAX_WARNINGS);
    }
}

//! The filters by which containerd lists snapshots.
//!
//! A filter is a list of comparisons joined by commas, all of which must hold; of several filters one
//! must. containerd asks for `labels."containerd.io/snapshot.ref"==sha256:…,parent=="…"` to find what was
//! made in answer to a request to unpack.
//!
//! ```text
//! filter     = comparison *( "," comparison )
//! comparison = field [ ( "==" / "!=" ) value ]
//! field      = "name" / "parent" / "kind" / "labels" "." ( word / quoted )
//! ```

use crate::error::{Error, Result};
use crate::record::{Kind, Record};

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<Comparison>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    field: Field,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    Parent,
    Kind,
    Label(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    Present,
    Equal(String),
    NotEqual(String),
}

impl Filter {
    /// Reads a filter. The empty one lets everything through.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is not of the form above. Regular expressions (`~=`) are not.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rest = text;
        let mut comparisons = Vec::new();
        while !rest.is_empty() {
            comparisons.push(comparison(&mut rest).ok_or_else(|| refused(text))?);
            match rest.strip_prefix(',') {
                Some("") => return Err(refused(text)),
                Some(next) => rest = next,
                None if rest.is_empty() => {}
                None => return Err(refused(text)),
            }
        }
        Ok(Self(comparisons))
    }

    /// Whether it lets `record` through.
    pub fn passes(&self, record: &Record) -> bool {
        self.0.iter().all(|comparison| comparison.holds(record))
    }
}

impl Comparison {
    fn holds(&self, record: &Record) -> bool {
        let value = match &self.field {
            Field::Name => Some(record.name.as_str()),
            // Always there, and empty at the bottom.
            Field::Parent => Some(record.parent.as_deref().unwrap_or_default()),
            Field::Kind => Some(match record.kind {
                Kind::View => "view",
                Kind::Active => "active",
                Kind::Committed => "committed",
            }),
            Field::Label(key) => record.labels.get(key).map(String::as_str),
        };
        match &self.operator {
            Operator::Present => value.is_some(),
            Operator::Equal(wanted) => value == Some(wanted),
            Operator::NotEqual(wanted) => value != Some(wanted),
        }
    }
}

fn comparison(rest: &mut &str) -> Option<Comparison> {
    let field = match text(rest)?.as_str() {
        "name" => Field::Name,
        "parent" => Field::Parent,
        "kind" => Field::Kind,
        "labels" => {
            *rest = rest.strip_prefix('.')?;
            Field::Label(text(rest)?)
        }
        _ => return None,
    };
    let operator = if let Some(value) = rest.strip_prefix("==") {
        *rest = value;
        Operator::Equal(value_of(rest)?)
    } else if let Some(value) = rest.strip_prefix("!=") {
        *rest = value;
        Operator::NotEqual(value_of(rest)?)
    } else {
        Operator::Present
    };
    Some(Comparison { field, operator })
}

/// A quoted text, or a word up to what can follow a field.
fn text(rest: &mut &str) -> Option<String> {
    if rest.starts_with('"') {
        return quoted(rest);
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (word, after) = rest.split_at_checked(end)?;
    *rest = after;
    (!word.is_empty()).then(|| word.to_owned())
}

/// A quoted text, or everything up to the next comparison.
fn value_of(rest: &mut &str) -> Option<String> {
    if rest.starts_with('"') {
        return quoted(rest);
    }
    let (value, after) = rest.split_at_checked(rest.find(',').unwrap_or(rest.len()))?;
    *rest = after;
    Some(value.to_owned())
}

/// A text in double quotes with Go's escapes, of which JSON has those that names and digests can need.
fn quoted(rest: &mut &str) -> Option<String> {
    let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let text = texts.next()?.ok()?;
    *rest = rest.get(texts.byte_offset()..)?;
    Some(text)
}

fn refused(text: &str) -> Error {
    Error::InvalidArgument(format!("the filter {text:?} is not supported"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::record::{Labels, Origin, Usage};

    fn passes(filter: &str) -> bool {
        let label = ("containerd.io/snapshot.ref".to_owned(), "sha256:1".to_owned());
        let record = Record {
            id: 1,
            name: "k8s.io/7/extract \"a\"".to_owned(),
            parent: None,
            kind: Kind::Committed,
            origin: Origin::Lazy,
            labels: Labels::from([label]),
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
            usage: Usage::default(),
        };
        Filter::parse(filter).unwrap().passes(&record)
    }

    #[test]
    fn all_comparisons_must_hold() {
        for (filter, expected) in [
            ("", true),
            (r#"labels."containerd.io/snapshot.ref"==sha256:1,parent=="""#, true),
            (r#"labels."containerd.io/snapshot.ref"==sha256:1,parent=="x""#, false),
            (r#"labels."containerd.io/snapshot.ref"==sha256:2,parent=="""#, false),
            (r#"labels."containerd.io/snapshot.ref""#, true),
            ("labels.other", false),
            ("labels.other!=x", true),
            ("labels.other==", false),
            ("kind==committed,kind!=active", true),
            ("kind==view", false),
            (r#"name=="k8s.io/7/extract \"a\"""#, true),
            ("name==a", false),
        ] {
            assert_eq!(passes(filter), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in
            [",", "kind==view,", "size==1", "labels==x", "labels.", "kind~=v.*", r#"name=="a"#, "a b", "=="]
        {
            let error = Filter::parse(text).unwrap_err();
            assert!(matches!(&error, Error::InvalidArgument(_)), "{text}");
            assert!(!error.to_string().contains('\n'));
        }
    }
}

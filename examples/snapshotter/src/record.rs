//! A snapshot as it is remembered.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Labels of a snapshot.
pub type Labels = BTreeMap<String, String>;

/// What is remembered of a snapshot. Its files are in the directory that its number names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names the directory; never used twice while the directory is there.
    pub id: u64,
    /// The name by which containerd asks for it: a key until it is committed.
    pub name: String,
    /// The name of the snapshot that it is on top of.
    pub parent: Option<String>,
    /// Whether it can change.
    pub kind: Kind,
    /// Where its files come from.
    pub origin: Origin,
    /// Whatever containerd wants to remember.
    pub labels: Labels,
    /// When it was made or committed.
    pub created: SystemTime,
    /// When its labels changed last.
    pub updated: SystemTime,
    /// What it occupied when it was committed.
    pub usage: Usage,
}

/// Whether a snapshot can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is mounted read-only.
    View,
    /// It is mounted to be written.
    Active,
    /// It is finished, and others may be on top of it.
    Committed,
}

/// Where the files of a snapshot come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// They were written into its directory.
    Written,
    /// They and those of all its parents are in a device that is read from a registry.
    Lazy,
}

/// What the files of a snapshot occupy, without its parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, directories and whatever else has a name, hard links once.
    pub inodes: u64,
}

//! `containerd.services.snapshots.v1` and, for [`Mount`], `containerd.types`.

use std::collections::HashMap;

use prost_types::{FieldMask, Timestamp};

/// The service.
pub const SERVICE: &str = "containerd.services.snapshots.v1.Snapshots";

/// `PrepareSnapshotRequest`, and `ViewSnapshotRequest`, which has the same fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NewRequest {
    /// The name of this snapshotter in containerd's configuration.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// The name of the new snapshot.
    #[prost(string, tag = "2")]
    pub key: String,
    /// The committed snapshot below it; empty for none.
    #[prost(string, tag = "3")]
    pub parent: String,
    /// Its labels.
    #[prost(map = "string, string", tag = "4")]
    pub labels: HashMap<String, String>,
}

/// What is asked of one snapshot: `MountsRequest`, `RemoveSnapshotRequest`, `StatSnapshotRequest` and
/// `UsageRequest`, which have the same fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyRequest {
    /// The name of this snapshotter in containerd's configuration.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// The name of the snapshot.
    #[prost(string, tag = "2")]
    pub key: String,
}

/// `CommitSnapshotRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitRequest {
    /// The name of this snapshotter in containerd's configuration.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// The name to commit it under.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The name of the active snapshot.
    #[prost(string, tag = "3")]
    pub key: String,
    /// The labels of the committed snapshot.
    #[prost(map = "string, string", tag = "4")]
    pub labels: HashMap<String, String>,
}

/// `UpdateSnapshotRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRequest {
    /// The name of this snapshotter in containerd's configuration.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// The name of the snapshot, and the new values.
    #[prost(message, optional, tag = "2")]
    pub info: Option<Info>,
    /// Which of the values are meant; all that can change, if absent.
    #[prost(message, optional, tag = "3")]
    pub update_mask: Option<FieldMask>,
}

/// `ListSnapshotsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListRequest {
    /// The name of this snapshotter in containerd's configuration.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Filters, of which one must let a snapshot through.
    #[prost(string, repeated, tag = "2")]
    pub filters: Vec<String>,
}

/// `CleanupRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CleanupRequest {
    /// The name of this snapshotter in containerd's configuration.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
}

/// `PrepareSnapshotResponse`, `ViewSnapshotResponse` and `MountsResponse`, which have the same fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MountsResponse {
    /// What to mount, in order.
    #[prost(message, repeated, tag = "1")]
    pub mounts: Vec<Mount>,
}

/// `StatSnapshotResponse` and `UpdateSnapshotResponse`, which have the same fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InfoResponse {
    /// The snapshot.
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
}

/// `ListSnapshotsResponse`, of which there may be several.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListResponse {
    /// Some of the snapshots.
    #[prost(message, repeated, tag = "1")]
    pub info: Vec<Info>,
}

/// `UsageResponse`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct UsageResponse {
    /// Bytes.
    #[prost(int64, tag = "1")]
    pub size: i64,
    /// Files and directories.
    #[prost(int64, tag = "2")]
    pub inodes: i64,
}

/// `Info`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Info {
    /// The name of the snapshot.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The snapshot below it; empty for none.
    #[prost(string, tag = "2")]
    pub parent: String,
    /// What it is.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    /// When it was made.
    #[prost(message, optional, tag = "4")]
    pub created_at: Option<Timestamp>,
    /// When it was changed.
    #[prost(message, optional, tag = "5")]
    pub updated_at: Option<Timestamp>,
    /// Its labels.
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
}

/// `Kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Nothing that there is.
    Unknown = 0,
    /// Read-only.
    View = 1,
    /// Being written.
    Active = 2,
    /// Finished.
    Committed = 3,
}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Mount {
    /// The kind of filesystem, or `bind`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// What is mounted.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Where in the rootfs; empty for its root.
    #[prost(string, tag = "3")]
    pub target: String,
    /// How it is mounted.
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

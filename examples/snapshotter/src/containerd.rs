//! The messages of containerd's gRPC services that are spoken here, written out by hand: they are few,
//! they do not change, and this way no build needs a protobuf compiler.

pub mod cri;
pub mod snapshots;

//! Labels of snapshots that mean something here.

use crate::record::Labels;

/// What a layer is being unpacked for: the chain id (OCI image-spec, "Layer ChainID") of the layer and
/// those below it. containerd's unpacker sets it.
pub(crate) const TARGET: &str = "containerd.io/snapshot.ref";

/// The image that is being pulled: as the CRI plugin says it, and as other clients do.
const IMAGE: [&str; 2] = ["containerd.io/snapshot/cri.image-ref", "containerd.io/snapshot/image-ref"];

/// The image that `labels` name.
pub(crate) fn image(labels: &Labels) -> Option<&str> {
    IMAGE.iter().find_map(|key| labels.get(*key)).map(String::as_str)
}

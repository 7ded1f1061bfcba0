//! What a layer is to say of itself and how it is to be written.

use crate::lsmt::Uuid;
use crate::tar::Tar;
use crate::zfile::Compression;
use crate::{Image, Layer, Wrappers};

/// What a layer says of itself and how it is wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LayerOptions {
    /// Size of the device in bytes, a multiple of 512; 0 leaves it to the layers below.
    pub virtual_size: u64,
    /// Identity of the layer.
    pub uuid: Uuid,
    /// Identity of the layer below.
    pub parent_uuid: Uuid,
    /// Commit message, at most 256 bytes.
    pub user_tag: Vec<u8>,
    /// Whether data that is zeros for a whole page of 4 KiB is recorded as zeroed and not stored. The
    /// reference stores it, so without this its bytes are matched.
    pub zeroed_pages: bool,
    /// Whether this is an index-only layer, whose segments may point into a
    /// [target](crate::LayerWriter::target).
    pub index_only: bool,
    /// How the layer is compressed, and whether it is in a tar, as registries expect it.
    pub wrappers: Wrappers,
}

impl LayerOptions {
    /// Options for a device of `virtual_size` bytes: no identity, no wrapper.
    #[must_use]
    pub fn new(virtual_size: u64) -> Self {
        Self { virtual_size, ..Self::default() }
    }

    /// Options for a commit of `layer`: the same size and parent, but no identity of its own.
    #[must_use]
    pub fn of_layer(layer: &Layer) -> Self {
        Self::new(layer.virtual_size()).with_identity(Uuid::NIL, layer.parent_uuid())
    }

    /// Options for one layer in place of all of `image`: the size of the device and the parent of the
    /// bottom layer.
    #[must_use]
    pub fn of_image(image: &Image) -> Self {
        let parent = image.layers().first().map(Layer::parent_uuid).unwrap_or_default();
        Self::new(crate::ReadAt::size(image)).with_identity(Uuid::NIL, parent)
    }

    /// Sets [`uuid`](Self::uuid) and [`parent_uuid`](Self::parent_uuid).
    #[must_use]
    pub fn with_identity(mut self, uuid: Uuid, parent_uuid: Uuid) -> Self {
        (self.uuid, self.parent_uuid) = (uuid, parent_uuid);
        self
    }

    /// Sets [`user_tag`](Self::user_tag).
    #[must_use]
    pub fn with_user_tag(mut self, tag: impl Into<Vec<u8>>) -> Self {
        self.user_tag = tag.into();
        self
    }

    /// Sets [`zeroed_pages`](Self::zeroed_pages).
    #[must_use]
    pub fn with_zeroed_pages(mut self, zeroed_pages: bool) -> Self {
        self.zeroed_pages = zeroed_pages;
        self
    }

    /// Sets [`index_only`](Self::index_only).
    #[must_use]
    pub fn with_index_only(mut self, index_only: bool) -> Self {
        self.index_only = index_only;
        self
    }

    /// Sets the compression of [`wrappers`](Self::wrappers).
    #[must_use]
    pub fn with_compression(mut self, compression: Option<Compression>) -> Self {
        self.wrappers.compression = compression;
        self
    }

    /// Sets the tar of [`wrappers`](Self::wrappers).
    #[must_use]
    pub fn with_tar(mut self, tar: Option<Tar>) -> Self {
        self.wrappers.tar = tar;
        self
    }
}

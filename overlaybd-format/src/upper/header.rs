//! The header at the front of each file of a writable layer.

use std::sync::Arc;

use super::{Storage, UpperOptions};
use crate::lsmt::{self, BLOCK_SIZE};
use crate::{Error, Result};

/// A header and the file that it is the front of.
#[derive(Debug)]
pub(super) struct FileHeader {
    pub(super) storage: Arc<dyn Storage>,
    record: lsmt::Header,
}

/// Which file of a writable layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The data of an append-only layer.
    Data,
    /// The index of an append-only layer.
    Index,
    /// A sparse layer.
    Sparse,
}

impl FileHeader {
    /// Begins an empty file.
    pub(super) fn create(storage: Arc<dyn Storage>, role: Role, options: &UpperOptions) -> Result<Self> {
        if storage.length()? != 0 {
            let refused = Error::Refused { operation: "create a layer", why: "the file is not empty" };
            return Err(refused.in_blob(storage.name()));
        }
        let record = lsmt::Header {
            flags: role.flags(),
            index_offset: if role == Role::Index { BLOCK_SIZE as u64 } else { 0 },
            index_entries: 0,
            virtual_size: options.virtual_size,
            uuid: options.uuid,
            parent_uuid: options.parent_uuid,
            user_tag: Vec::new(),
        };
        storage.write(&record.encode(), 0)?;
        Ok(Self { storage, record })
    }

    /// Reads the header of a file that is to be written on.
    pub(super) fn open(storage: Arc<dyn Storage>, role: Role) -> Result<Self> {
        let mut bytes = vec![0; BLOCK_SIZE];
        if storage.length()? < BLOCK_SIZE as u64 {
            return Err(Error::broken(role.what(), 0, "the file is shorter").in_blob(storage.name()));
        }
        storage.read(&mut bytes, 0)?;
        let record =
            lsmt::Header::decode(&bytes, role.what(), 0).map_err(|error| error.in_blob(storage.name()))?;
        let mut file = Self { storage, record };
        file.check(role).map_err(|error| error.in_blob(file.storage.name()))?;
        file.record.flags = role.flags();
        Ok(file)
    }

    pub(super) fn record(&self) -> &lsmt::Header {
        &self.record
    }

    /// Writes the header with another virtual size and waits until it is on the medium.
    ///
    /// Only bytes of the first sector change, so a crash leaves the old size or the new one.
    pub(super) fn set_virtual_size(&mut self, virtual_size: u64) -> Result<()> {
        let before = std::mem::replace(&mut self.record.virtual_size, virtual_size);
        let written = self.storage.write(&self.record.encode(), 0).and_then(|()| self.storage.persist());
        if written.is_err() {
            self.record.virtual_size = before;
        }
        written
    }

    fn check(&self, role: Role) -> Result<()> {
        let lsmt::Header { flags, index_offset, virtual_size, .. } = self.record;
        let broken = |why: String| Err(Error::broken(role.what(), 0, why));
        let known = lsmt::FLAG_HEADER | lsmt::FLAG_DATA | lsmt::FLAG_SEALED | lsmt::FLAG_SPARSE;
        if self.record.is_header() && self.record.is_data() && self.record.is_sealed() {
            return Err(Error::ReadOnly { what: "a committed layer" });
        }
        if flags & known != role.flags() {
            return broken(format!("flags {flags:#x}"));
        }
        if role == Role::Index && index_offset != BLOCK_SIZE as u64 {
            return broken(format!("an index at {index_offset}, where there is only one place for it"));
        }
        if !virtual_size.is_multiple_of(lsmt::SECTOR_SIZE) {
            return broken(format!("a virtual size of {virtual_size} bytes, no multiple of a sector"));
        }
        Ok(())
    }
}

/// Whether the file is a sparse layer, as far as its header says.
pub(super) fn is_sparse(storage: &Arc<dyn Storage>) -> Result<bool> {
    let mut bytes = vec![0; BLOCK_SIZE];
    storage.read(&mut bytes, 0)?;
    let what = "header of a writable layer";
    let record = lsmt::Header::decode(&bytes, what, 0).map_err(|error| error.in_blob(storage.name()))?;
    Ok(record.is_sparse())
}

impl Role {
    fn flags(self) -> u32 {
        match self {
            Self::Data => lsmt::FLAG_HEADER | lsmt::FLAG_DATA,
            Self::Index => lsmt::FLAG_HEADER,
            Self::Sparse => lsmt::FLAG_HEADER | lsmt::FLAG_DATA | lsmt::FLAG_SPARSE,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Data => "header of a data file",
            Self::Index => "header of an index file",
            Self::Sparse => "header of a sparse layer",
        }
    }
}

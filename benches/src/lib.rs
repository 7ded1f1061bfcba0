//! What the benches measure on: generated devices, and the floors they are held against.

pub mod device;
pub mod floor;
pub mod mapped;
pub mod origin;
pub mod random;

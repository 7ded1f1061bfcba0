//! A program that embeds the crates as they are packaged: its own origin, its own cache directory, its
//! own reader, and a device over them.

mod device;
mod pieces;
mod shelf;

pub use device::open;
pub use pieces::{Pieces, Swarm};
pub use shelf::Shelf;

//! A device as a file that the kernel reads through FUSE, and the filesystem on it at a directory.
//!
//! ```text
//!  DIR ── overlayfs ─┐ (on request)
//!                    ├─ EROFS ──────────────┐
//!                    └─ ext4 ─ loop device ─┴─► file "device" ─ FUSE ─► threads ── at hand ─► answered there
//!                                               in no directory                └── not ────► a task, then answered
//! ```
//!
//! The FUSE filesystem is mounted nowhere: what holds it is the file that the loop device or EROFS has open.
//! So the directory is all there is to see, whoever unmounts it ends the server as well, and a server that is
//! killed leaves nothing but a directory to be unmounted.
//!
//! A read that fails, at the deadline of the blobs at the latest, is EIO to the reader. Nothing is
//! remembered of it: the next read of the same bytes is tried again.

mod device_file;
mod filesystem;
mod loop_device;
mod mounted;
mod reads;
mod server;

pub use filesystem::Filesystem;
pub use mounted::{Mounted, mount};
pub use reads::Reads;
pub use server::Server;

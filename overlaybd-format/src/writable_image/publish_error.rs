//! What is known of a stack that was not published.

use std::io;

/// Why the new stack of a [`WritableImage`](crate::WritableImage) is not known to be the one that will be
/// opened after a crash.
///
/// The two differ in what the device may do: writes that it acknowledges must be in a layer that is
/// opened.
///
/// ```no_run
/// use std::fs::{self, File};
/// use overlaybd_format::PublishError;
///
/// fn publish(new: &str, config: &str, directory: &File) -> Result<(), PublishError> {
///     File::open(new)?.sync_all()?;
///     fs::rename(new, config)?;
///     directory.sync_all().map_err(PublishError::InDoubt)
/// }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The old stack is the one that will be opened, as if nothing had been tried: the device goes on
    /// with it. This is what an [`io::Error`] becomes.
    #[error("the stack is not published: {0}")]
    NotDone(#[from] io::Error),

    /// It is the old one or the new one, as after a rename whose directory failed to sync. The device
    /// takes no more writes, and its upper stays as both stacks need it: whichever is found when it is
    /// opened again has all that was acknowledged. The upper is sealed after a
    /// [snapshot](crate::WritableImage::snapshot); if the old stack is found,
    /// [`Upper::unseal`](crate::Upper::unseal) opens it.
    #[error("it is in doubt whether the stack is published: {0}")]
    InDoubt(#[source] io::Error),
}

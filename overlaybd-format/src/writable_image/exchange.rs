//! Exchanging a part of the stack while the device is in use.

use std::io;
use std::sync::Arc;

use super::stack::bytes_of;
use super::{PublishError, WritableImage};
use crate::upper::{exclusive, lock, sectors_of};
use crate::{Error, Image, ReadAt, Result, Storage, Upper};

impl WritableImage {
    /// Makes the present state one that no longer changes: the upper layer is sealed in place and
    /// becomes the topmost lower, and `next`, which is empty, takes the writes from now on.
    ///
    /// `publish` makes the new stack the one that will be opened after a crash, durably – it
    /// replaces a configuration file by one that names the data file of the old upper as the last
    /// lower, and `next` as the upper. It runs when the old upper is sealed and before anything can be
    /// written to `next`, so no write that was acknowledged is ever in a layer that nothing names. It
    /// must not write to the device. What its error means for the device, [`PublishError`] says.
    ///
    /// A crash before it has done its work leaves a configuration that names a sealed upper:
    /// [`Upper::unseal`] opens it.
    ///
    /// If `next` has a size, it becomes that of the device.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if `next` is not empty; [`Error::Io`] from the layers or from `publish`.
    pub fn snapshot(
        &self,
        next: impl Into<Upper>,
        publish: impl FnOnce() -> Result<(), PublishError>,
    ) -> Result<()> {
        let next = next.into();
        if !next.segments().is_empty() {
            let why = "the layer to go on with is not empty";
            return Err(Error::Refused { operation: "take a snapshot", why });
        }
        let _exchange = lock(&self.exchange);
        let _gate = exclusive(&self.gate);
        let stack = self.stack();
        let with_next = stack.with_upper_on_top(next);
        with_next.adopt()?;
        stack.upper().seal()?;
        match publish() {
            Ok(()) => {}
            Err(PublishError::NotDone(error)) => {
                stack.upper().open_again()?;
                return Err(unpublished(error));
            }
            Err(PublishError::InDoubt(error)) => return Err(stack.upper().fail(in_doubt(error))),
        }
        self.replace(with_next);
        Ok(())
    }

    /// Puts `lowers` in the place of everything below the upper layer, sealed uppers of snapshots
    /// included.
    ///
    /// The new lowers must read as the old ones do – they are their compressed, merged or downloaded
    /// form. That is not checked, except for the size.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if `lowers` have less than the device and the present lowers have.
    pub fn restack(&self, lowers: Image) -> Result<()> {
        let _exchange = lock(&self.exchange);
        let _gate = exclusive(&self.gate);
        let stack = self.stack();
        if lowers.size() < stack.size().min(stack.size_below()) {
            let why = "the new ones are smaller than those they replace";
            return Err(Error::Refused { operation: "exchange the lower layers", why });
        }
        let stack = stack.with_image(Arc::new(lowers));
        stack.adopt()?;
        self.replace(stack);
        Ok(())
    }

    /// Makes the device `size` bytes large, durably, and flushes it on the way. What is cut off is
    /// discarded; what is gained reads as zeros, whatever was there before or is in lower layers.
    ///
    /// What is below is read first, while the device is in use, and anew if it has changed by the time
    /// the discards are made.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`] for a size that is no multiple of 512, [`Error::Io`].
    pub async fn resize(&self, size: u64) -> Result<()> {
        sectors_of(0, size)?;
        loop {
            let stack = self.stack();
            let before = stack.size();
            let (start, end) = (size.min(before), size.max(before));
            let changed = sectors_of(start, end.saturating_sub(start))?;
            let stored = stack.whole().stored(changed.clone());
            let mut discards = Vec::with_capacity(stored.len());
            for sectors in &stored {
                discards.push((sectors, stack.below(sectors.clone()).await?));
            }

            let _exchange = lock(&self.exchange);
            let _gate = exclusive(&self.gate);
            let unchanged = Arc::ptr_eq(&stack, &self.stack()) && stack.size() == before;
            if !unchanged || stack.whole().stored(changed) != stored {
                continue;
            }
            let upper = stack.upper();
            // Before the size tells of them, so that no crash shows them as they are.
            for (sectors, below) in discards {
                let len = sectors.end.saturating_sub(sectors.start);
                upper.discard_over(bytes_of(sectors.start), bytes_of(len), &below)?;
            }
            upper.flush()?;
            return upper.set_virtual_size(size);
        }
    }

    /// Rewrites an append-only upper layer without its garbage into two empty files, and goes on with
    /// those. Returns how many bytes smaller the data file is.
    ///
    /// `publish` makes the new files the ones that will be opened after a crash, as in
    /// [`snapshot`](Self::snapshot). Both change at once there: the data of one layer with the index
    /// of the other would be wrong.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for a sparse upper layer, which has no garbage, and if a file is not empty;
    /// [`Error::Io`] from the layers or from `publish`.
    pub fn compact(
        &self,
        data: impl Storage + 'static,
        index: impl Storage + 'static,
        publish: impl FnOnce() -> Result<(), PublishError>,
    ) -> Result<u64> {
        let _exchange = lock(&self.exchange);
        let stack = self.stack();
        let Upper::AppendOnly(old) = stack.upper() else {
            return Err(Error::Refused {
                operation: "compact the layer",
                why: "a sparse one has no garbage",
            });
        };
        let (new, copied) = old.copy_live(data, index)?;
        new.flush()?;

        let _gate = exclusive(&self.gate);
        old.check()?;
        new.take_over(old, copied)?;
        new.flush()?;
        publish().map_err(|error| match error {
            PublishError::NotDone(error) => unpublished(error),
            PublishError::InDoubt(error) => stack.upper().fail(in_doubt(error)),
        })?;
        let freed = old.extent().1.saturating_sub(new.extent().1);
        let stack = stack.with_upper(new.into());
        stack.adopt()?;
        self.replace(stack);
        Ok(freed)
    }
}

fn unpublished(source: io::Error) -> Error {
    Error::Io { op: "publishing the stack", offset: 0, len: 0, source: Arc::new(source) }
}

fn in_doubt(source: io::Error) -> Error {
    Error::Io { op: "publishing the stack, now in doubt,", offset: 0, len: 0, source: Arc::new(source) }
}

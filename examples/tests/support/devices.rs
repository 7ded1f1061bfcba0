//! Devices in memory.

use examples::ext4::{Change, Ext4State};
use examples::tree::Tree;

/// The state of `tree` with its lowest `layers` layers, made from nothing.
pub(crate) fn bytes(tree: &Tree, layers: usize) -> Vec<u8> {
    let state = Ext4State::new(tree, layers).unwrap();
    let mut device = vec![0; state.size() as usize];
    apply(&state, None, &mut device);
    device
}

/// Lays the changes since `below` over `device` and checks that they are in ascending order.
pub(crate) fn apply(state: &Ext4State<'_>, below: Option<&Ext4State<'_>>, device: &mut [u8]) {
    let mut end = 0;
    state
        .changes(below, |change| {
            let (offset, len) = match change {
                Change::Write { offset, bytes } => {
                    device[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                    (offset, bytes.len() as u64)
                }
                Change::Zero { offset, len } => {
                    device[offset as usize..][..len as usize].fill(0);
                    (offset, len)
                }
            };
            assert!(offset >= end, "not ascending");
            end = offset + len;
            Ok(())
        })
        .unwrap();
}

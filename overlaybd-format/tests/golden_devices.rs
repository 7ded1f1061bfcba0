//! Every committed, sealed and merged layer of the reference tools gives the device it was made from.

use futures::executor::block_on;
use overlaybd_format::{Error, Image, Limits, ReadAt};

use crate::golden::{Case, Device, sha256_of};

#[path = "harness/golden.rs"]
mod golden;

fn check_devices(name: &'static str) {
    let case = Case::open(name);
    for device in case.devices() {
        match &device.sha256 {
            Some(sha256) => check_content(&case, &device, sha256),
            None => check_size_is_refused(&case, &device),
        }
    }
}

fn check_content(case: &Case, device: &Device, sha256: &str) {
    let image = block_on(Image::open(case.layers(device), &Limits::default()))
        .unwrap_or_else(|e| panic!("{:?} does not open: {e}", device.layers));
    assert_eq!(image.size(), device.size, "size of {:?}", device.layers);
    let found =
        block_on(sha256_of(&image)).unwrap_or_else(|e| panic!("{:?} does not read: {e}", device.layers));
    assert_eq!(found, sha256, "content of {:?}", device.layers);
}

/// A device whose layers all leave the size open has none: the reference uses an uninitialised
/// variable for it.
fn check_size_is_refused(case: &Case, device: &Device) {
    let error = block_on(Image::open(case.layers(device), &Limits::default())).unwrap_err();
    assert!(matches!(error.root(), Error::Broken { .. }), "{:?}: {error}", device.layers);
    assert!(error.to_string().contains("size"), "{:?}: {error}", device.layers);
}

macro_rules! case_tests {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check_devices($name);
            }
        )*

        #[test]
        fn every_case_has_a_test() {
            assert_eq!([$($name),*], golden::DEVICE_CASES);
        }
    };
}

case_tests! {
    apply_ext4: "apply-ext4",
    append: "lsmt-append",
    append_group: "lsmt-append-group",
    cli_create: "lsmt-cli-create",
    commit_zfile: "lsmt-commit-zfile",
    edge: "lsmt-edge",
    sparse: "lsmt-sparse",
    stack: "stack",
}

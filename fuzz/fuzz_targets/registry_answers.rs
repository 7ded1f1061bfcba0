//! What registries, files and people say to the crate `referrers`: the first byte chooses the parser.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use referrers::{ImageConfig, Manifest, Pins, PullSecret, Reference, classify, fuzzing, media_type};

fuzz_target!(|data: &[u8]| {
    let Some((parser, rest)) = data.split_first() else { return };
    let bytes = Bytes::copy_from_slice(rest);
    let text = String::from_utf8_lossy(rest);
    match parser % 10 {
        0 => {
            if let Ok(reference) = text.parse::<Reference>() {
                assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
        1 => manifest(bytes, media_type::OCI_MANIFEST),
        2 => manifest(bytes, media_type::OCI_INDEX),
        3 => drop(ImageConfig::parse(bytes)),
        4 => drop((PullSecret::parse(rest), PullSecret::parse_list(rest))),
        5 => fuzzing::challenge(&text),
        6 => fuzzing::link(&text),
        7 => fuzzing::hosts_toml(&text),
        9 => fuzzing::docker_config(rest),
        _ => {
            if let Ok(pins) = text.parse::<Pins>() {
                assert_eq!(pins.to_string().parse::<Pins>().unwrap(), pins);
            }
        }
    }
});

fn manifest(bytes: Bytes, media_type: &str) {
    if let Ok(manifest) = Manifest::parse(bytes, media_type, None)
        && let Some(image) = manifest.image()
    {
        let _ = classify(image);
    }
}

//! A device configuration, `config.v1.json`. The parser is compiled from its file, because the package
//! that it belongs to has an HTTP client and more, of which it needs nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../examples/src/config/keys.rs"]
#[allow(dead_code)]
mod keys;

fuzz_target!(|data: &[u8]| {
    match keys::Config::parse(data) {
        Ok(config) => assert!(config.lowers.len() <= data.len()),
        Err(error) => assert!(!format!("{error:#}").contains('\n')),
    }
});

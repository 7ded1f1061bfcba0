//! What a registry, or anybody, tells the service that converts what is pushed. The parser is compiled from its file,
//! because the package that it belongs to has a server and more, of which it needs nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../examples/src/accelerate/push.rs"]
#[allow(dead_code)]
mod push;

fuzz_target!(|data: &[u8]| {
    if let Ok(pushes) = push::Push::parse(data) {
        assert!(pushes.len() <= data.len());
        assert!(pushes.iter().all(|push| !push.tag.is_empty()));
    }
});

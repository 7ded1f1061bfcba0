//! What a layer says of itself: UUIDs and the commit message.

use futures::executor::block_on;
use overlaybd_format::{Layer, LayerBlob, Limits, Uuid};

use crate::golden::Case;

#[path = "harness/golden.rs"]
mod golden;

fn layer(case: &Case, file: &str) -> Layer {
    block_on(Layer::open(LayerBlob::new(file, case.blob(file)), &Limits::default())).unwrap()
}

fn uuid(text: &str) -> Uuid {
    Uuid::parse(text.as_bytes()).unwrap()
}

#[test]
fn uuids() {
    let case = Case::open("lsmt-append");
    let (source, parent) =
        (uuid("f7f590d1-08c2-4454-8063-94e4467c56f9"), uuid("4e250b52-e769-4632-b509-30982b49ef2d"));
    for (file, own, below) in [
        // A commit without a UUID has none, and takes the parent from its source.
        ("commit.plain", Uuid::NIL, parent),
        ("commit.baduuid", Uuid::NIL, parent),
        ("sealed.data", source, parent),
        (
            "commit.uuid",
            uuid("41ba245b-523d-48d8-8da4-f372c5ab5aac"),
            uuid("c1330e3c-bba7-43e2-a860-eaa7fa5cd5e0"),
        ),
    ] {
        let layer = layer(&case, file);
        assert_eq!((layer.uuid(), layer.parent_uuid()), (own, below), "{file}");
    }
}

#[test]
fn parents_in_a_stack() {
    let case = Case::open("stack");
    let layers = ["L0.obd", "L1.obd", "L2.obd", "L3.obd", "L4.obd"].map(|file| layer(&case, file));
    assert_eq!(layers[0].parent_uuid(), Uuid::NIL);
    for pair in layers.windows(2) {
        assert_ne!(pair[0].uuid(), Uuid::NIL);
        assert_eq!(pair[1].parent_uuid(), pair[0].uuid());
    }
}

#[test]
fn commit_messages() {
    let case = Case::open("lsmt-append");
    assert_eq!(layer(&case, "commit.plain").user_tag(), b"");
    assert_eq!(layer(&case, "commit.tag").user_tag(), b"hello, user tag");
    assert_eq!(layer(&case, "commit.tag256").user_tag(), [b'T'; 256]);
}

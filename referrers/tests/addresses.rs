//! Addresses that nobody may have connected to: by a reference, a redirect, a realm, an upload location.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use bytes::Bytes;
use referrers::{Error, ErrorKind, Reference, media_type};

use registry::{TestRegistry, index};
use server::Response;

const FORBIDDEN: [&str; 5] = [
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:169.254.169.254]/latest/meta-data",
    "http://100.100.100.200/latest/meta-data",
    "http://[fd00:ec2::254]/latest",
    "http://0.0.0.0/",
];

fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused { .. }) && !error.is_transient()
}

#[tokio::test]
async fn a_reference_cannot_name_them() {
    let registry = TestRegistry::start().await;
    for host in ["169.254.169.254", "100.100.100.200", "[fd00:ec2::254]:80", "0.0.0.0"] {
        let reference: Reference = format!("{host}/a:t").parse().unwrap();
        let options = registry.options().with_plain_http(host);
        let error =
            registry.client_with(options, referrers::Anonymous).manifest(&reference).await.unwrap_err();
        assert!(is_refused(&error), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_cannot_lead_to_them() {
    for target in FORBIDDEN {
        let registry = TestRegistry::start().await;
        registry.fault(move |_| Some(Response::new(307).with("location", target)));
        let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
        assert!(is_refused(&error), "{target}: {error}");
    }
}

#[tokio::test]
async fn a_realm_cannot_be_on_them() {
    for target in FORBIDDEN {
        let registry = TestRegistry::start().await;
        let challenge = format!("Bearer realm=\"{target}\"");
        registry.fault(move |_| Some(Response::new(401).with("www-authenticate", challenge.as_str())));
        let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
        assert!(is_refused(&error), "{target}: {error}");
    }
}

#[tokio::test]
async fn an_upload_cannot_be_sent_to_them() {
    for target in FORBIDDEN {
        let registry = TestRegistry::start().await;
        registry.fault(move |r| (r.method == "POST").then(|| Response::new(202).with("location", target)));
        let error = registry.client().push_blob(&registry.repository, Bytes::from("x")).await.unwrap_err();
        assert!(is_refused(&error), "{target}: {error}");
    }
}

#[tokio::test]
async fn private_networks_can_be_kept_out_of_redirects_but_not_the_registry_itself() {
    let registry = TestRegistry::start().await;
    registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
    registry.fault(|r| {
        r.path().ends_with("/away").then(|| Response::new(307).with("location", "http://10.255.255.1:1/"))
    });
    let options = registry.options().without_private_redirects();
    let client = registry.client_with(options, referrers::Anonymous);
    client.manifest(&registry.tagged("t")).await.unwrap();
    let error = client.manifest(&registry.tagged("away")).await.unwrap_err();
    assert!(is_refused(&error) && error.to_string().contains("private network"), "{error}");
}

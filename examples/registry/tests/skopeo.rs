//! An independent client copies an image in and out; the digest stays the same.

use std::io::{self, Write};
use std::path::Path;

use registry::{Account, Auth, Bearer, Digest, Registry};
use serde_json::{Value, json};
use tokio::process::Command;

/// Writes an OCI layout with one small image; the result is the manifest's digest.
fn layout(root: &Path) -> Digest {
    let blobs = root.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        std::fs::write(blobs.join(&digest.as_str()[7..]), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
    };
    let layer = put("application/vnd.oci.image.layer.v1.tar+gzip", &EMPTY_ARCHIVE);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [Digest::sha256(&[0; 1024]).as_str()] },
    });
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut entry = put("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "t" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    std::fs::write(root.join("index.json"), index.to_string()).unwrap();
    std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Digest::sha256(manifest.to_string().as_bytes())
}

async fn copy(from: &str, to: &str) -> bool {
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ]);
    if from.starts_with("docker:") {
        skopeo.args(["--src-creds", "user:secret"]);
    } else {
        skopeo.args(["--dest-creds", "user:secret"]);
    }
    match skopeo.args([from, to]).status().await {
        Ok(status) => {
            assert!(status.success(), "skopeo copy {from} {to}");
            true
        }
        Err(_) => false,
    }
}

/// With tokens and redirects on the way, since skopeo knows both.
#[tokio::test]
async fn copy_in_and_out() {
    let root = tempfile::tempdir().unwrap();
    let digest = layout(&root.path().join("in"));
    let auth = Auth::Bearer(Bearer::new(Account::new("user", "secret")));
    let server = Registry::builder().auth(auth).redirect_blobs().serve().await.unwrap();
    let image = format!("docker://{}/a/b:t", server.addr());
    if !copy(&format!("oci:{}:t", root.path().join("in").display()), &image).await {
        // The test runner withholds what a passing test prints, but not what it writes.
        writeln!(io::stderr(), "SKIPPED: skopeo not installed").unwrap();
        return;
    }
    copy(&image, &format!("oci:{}:t", root.path().join("out").display())).await;
    let index = std::fs::read(root.path().join("out/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest.as_str());
}

/// The empty tar archive, two blocks of zeros, compressed with gzip; skopeo would compress a plain one.
const EMPTY_ARCHIVE: [u8; 29] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 99, 96, 24, 5, 163, 96, 20, 140, 84, 0, 0, 46, 175, 181, 239, 0, 4, 0, 0,
];

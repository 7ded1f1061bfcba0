//! The distribution project's registry 2.8.2, as Debian packages it, and where it deviates.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Checks that this version is known not to pass.
pub(crate) const DEVIATIONS: &[&str] = &[
    // Tags come in the order of the directory, and `n` and `last` are ignored.
    "tags_are_sorted",
    "tags_come_in_pages",
    // A chunk is appended wherever it claims to belong.
    "chunk_out_of_order",
    // A blob pushed with sha512 is reported, and found, by its sha256; a manifest is refused.
    "sha512_blob",
    "sha512_manifest",
    // 400 MANIFEST_INVALID instead of 413.
    "too_large_manifest",
    // The layer must be there, unless its type is Docker's.
    "nondistributable_layer",
    // 500 instead of 400.
    "manifest_with_a_malformed_digest",
    // A 416 promises the whole blob and breaks off.
    "range_outside",
    // Only digests can be deleted.
    "delete_tag",
    // If-Match is ignored.
    "update_on_a_condition",
    // There is no Referrers API.
    "r1_digest_nobody_pushed",
    "r2_manifest_with_a_subject",
    "r3_index_with_a_subject",
    "r4_subject_that_does_not_exist",
    "r5_listing_is_complete",
    "r6_image_without_an_artifact_type",
    "r7_tagged_and_untagged",
    "r8_filter",
    "r9_index_without_an_artifact_type",
    "r10_content_type",
    "r11_deleted_referrer",
    "referrers_of_a_malformed_digest",
];

/// A running registry on a free port; it ends when this is dropped.
pub(crate) struct DockerRegistry {
    pub(crate) url: String,
    _process: Child,
    _root: TempDir,
}

/// Starts it on an empty directory, `None` if it is not installed.
pub(crate) async fn start() -> Option<DockerRegistry> {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("config.yml");
    let storage = root.path().join("storage");
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
        storage.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut process = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("docker-registry ended before it listened");
        if let Some((_, rest)) = line.split_once("listening on ") {
            let address: String =
                rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
            // The pipe must be read for as long as the process writes to it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(DockerRegistry { url: format!("http://{address}"), _process: process, _root: root });
        }
    }
}

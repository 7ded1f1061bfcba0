//! Debian's docker-registry.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The distribution project's registry on a free port; it ends when this is dropped.
pub(crate) struct DockerRegistry {
    pub(crate) host: String,
    _process: Child,
    _root: tempfile::TempDir,
}

impl DockerRegistry {
    /// Starts it on an empty directory, where blobs can be deleted, with `more` in its configuration; `None` if it is
    /// not installed.
    pub(crate) async fn start(more: &str) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("config.yml");
        let storage = root.path().join("storage");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n{more}\n",
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
            let Some((_, rest)) = line.split_once("listening on ") else { continue };
            let host = rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
            // The pipe must be read for as long as the process writes to it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(Self { host, _process: process, _root: root });
        }
    }
}

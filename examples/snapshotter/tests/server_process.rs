//! Processes that serve devices: what goes wrong with them is told, and the next try starts afresh. What they
//! do when all is well is in `containerd.rs`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use snapshotter::{Rootfs, ServerProcess};
use tempfile::TempDir;

#[tokio::test]
async fn a_server_that_ends_says_why() {
    let place = Place::new();
    let error = place.mount("echo first >&2; echo 'error: no such blob' >&2; exit 3", PATIENCE).await;
    assert_eq!(error, "the server of the device ended with exit status: 3: error: no such blob");
    assert_eq!(place.mount("exit 0", PATIENCE).await.split(": ").last(), Some("it said nothing"));
    let error = place.mount("echo ready; echo 'another program' >&2", PATIENCE).await;
    assert!(error.ends_with(": another program"), "{error}");
}

#[tokio::test]
async fn a_server_gets_what_it_needs_and_not_what_interrupts_the_snapshotter() {
    let place = Place::new();
    let script = r#"test "$(cut -d' ' -f5 /proc/self/stat)" = $$ && echo "$1 $2" >&2"#;
    let error = place.mount(script, PATIENCE).await;
    let path = |name: &str| place.0.path().join(name).display().to_string();
    assert!(error.ends_with(&format!(": {} {}", path("device.json"), path("rootfs"))), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_ended() {
    let place = Place::new();
    let error = place.mount("exec sleep 1000", BRIEF).await;
    assert_eq!(error, "nothing was mounted for 0.2 s");
    // Its end takes its lock with it. Until then the next one is refused.
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "it lives");
        match place.mount("echo next >&2", PATIENCE).await {
            busy if busy.starts_with("an earlier server is still busy") => tokio::task::yield_now().await,
            next => break assert!(next.ends_with(": next"), "{next}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_mounted_is_unmounted() {
    let place = Place::new();
    place.server("", PATIENCE).unmount(&place.0.path().join("rootfs")).await.unwrap();
    place.server("", PATIENCE).unmount(&place.0.path().join("absent/rootfs")).await.unwrap();
}

/// The directory of a lazy snapshot.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.0.path().join("rootfs")).unwrap();
        place
    }

    fn server(&self, script: &str, patience: Duration) -> ServerProcess {
        let arguments = vec!["-c".into(), script.into(), "server".into()];
        ServerProcess { program: PathBuf::from("/bin/sh"), arguments, patience }
    }

    /// Why nothing is mounted.
    async fn mount(&self, script: &str, patience: Duration) -> String {
        let (device, directory) = (self.0.path().join("device.json"), self.0.path().join("rootfs"));
        let mounted = self.server(script, patience).mount(&device, &directory).await;
        format!("{:#}", mounted.unwrap_err())
    }
}

/// Longer than a shell takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const BRIEF: Duration = Duration::from_millis(200);

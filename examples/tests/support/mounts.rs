//! `obd mount` in a process of its own, over the images of a registry in this one.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use registry::{Builder, Registry, Server, Store};
use serde_json::Value;
use tempfile::TempDir;

use super::images::Images;
use super::trees;

/// Whether mounts can be made here. Says so if they cannot.
#[track_caller]
pub(crate) fn can_mount() -> bool {
    let missing = if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success()) {
        "the right to mount"
    } else if File::options().read(true).write(true).open("/dev/fuse").is_err() {
        "FUSE"
    } else if File::open("/dev/loop-control").is_err() {
        "a loop device"
    } else {
        return true;
    };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {test}: there is no {missing}").unwrap();
    false
}

/// A registry with both images as `demo/app:1`, the tree they were made from, and a directory to work in.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) source: TempDir,
    directory: TempDir,
    images: Arc<Images>,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::of(Registry::builder())
    }

    pub(crate) fn of(builder: Builder) -> Self {
        let images = Images::shared();
        let [source, directory] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        trees::varied(source.path());
        std::fs::create_dir(directory.path().join("mnt")).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // A copy, so that it can be changed.
        let content = directory.path().join("content");
        assert!(Command::new("cp").arg("-r").arg(images.content()).arg(&content).status().unwrap().success());
        let store = Store::dir(&content).unwrap();
        let server = runtime.block_on(builder.store(store).serve()).unwrap();
        Self { server, source, directory, images, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn images(&self) -> &Images {
        &self.images
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    pub(crate) fn reference(&self) -> String {
        format!("{}/demo/app:1", self.server.addr())
    }

    /// Mounts the image at `mnt`, with further arguments, which are divided at spaces.
    pub(crate) fn mount(&self, arguments: &str) -> Mount {
        Mount::start(self.directory.path(), &format!("{} mnt --plain-http {arguments}", self.reference()))
    }

    pub(crate) fn source_file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.source.path().join(name)).unwrap()
    }
}

/// Something mounted at `mnt` of a directory, until this is dropped.
pub(crate) struct Mount {
    server: Child,
    stderr: BufReader<ChildStderr>,
    at: PathBuf,
}

impl Mount {
    pub(crate) fn start(directory: &Path, arguments: &str) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_obd"))
            .args(["mount", "--json"])
            .args(arguments.split_whitespace())
            .current_dir(directory)
            .env("DOCKER_CONFIG", directory.join("no-docker"))
            .env_remove("OBD_PASSWORD")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(server.stderr.take().unwrap());
        let mut mount = Self { server, stderr, at: directory.join("mnt") };
        loop {
            let line = mount.line();
            if line.starts_with("mounted ") {
                return mount;
            }
            assert!(!line.is_empty() && !line.starts_with("error: "), "{line}");
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.path(name))
    }

    /// The next line that the server says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.server.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Kills the server, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    pub(crate) fn unmount(&self) {
        let unmounted = Command::new("umount").arg(&self.at).output().unwrap();
        assert!(unmounted.status.success(), "{}", String::from_utf8_lossy(&unmounted.stderr));
    }

    pub(crate) fn is_mounted(&self) -> bool {
        let at = self.at.canonicalize().unwrap();
        std::fs::read_to_string("/proc/mounts").unwrap().contains(&format!(" {} ", at.display()))
    }

    /// Waits until the server ends well; gives what it says.
    pub(crate) fn ended(mut self) -> Value {
        let (mut said, mut stderr) = (String::new(), String::new());
        self.server.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        assert!(self.server.wait().unwrap().success(), "{stderr}");
        assert!(!self.is_mounted());
        serde_json::from_str(&said).unwrap()
    }

    /// Interrupts the server, as a service is ended.
    pub(crate) fn terminate(self) -> Value {
        self.signal("-TERM");
        self.ended()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        // Nothing is there any more if all went well.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).stderr(Stdio::null()).status();
    }
}

/// Checks that two trees have the same files, but for what ext4 adds.
#[track_caller]
pub(crate) fn assert_same_files(a: &Path, b: &Path) {
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--no-dereference", "--exclude=lost+found"]).args([a, b]);
    let diff = diff.output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

//! The built toolbox as a user calls it.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use examples::hashing::digest_of;
use serde_json::Value;
use tempfile::TempDir;

/// A directory to call the toolbox in. Arguments are divided at spaces, so that file names stay short.
pub(crate) struct Obd(TempDir);

impl Obd {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names in the directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The digest of a file in lower-case hex.
    pub(crate) fn sha256(&self, name: &str) -> String {
        let (digest, _) = digest_of(&mut File::open(self.path(name)).unwrap()).unwrap();
        digest.hex().to_owned()
    }

    /// Runs the toolbox.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        command(env!("CARGO_BIN_EXE_obd"), self.0.path()).args(arguments.split(' ')).output().unwrap()
    }

    /// Starts the toolbox, to be ended by the caller.
    pub(crate) fn start(&self, arguments: &str) -> Child {
        let mut command = command(env!("CARGO_BIN_EXE_obd"), self.0.path());
        command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs the toolbox behind a line of shell, which sees it as `$OBD`.
    pub(crate) fn shell(&self, line: &str) -> Output {
        command("sh", self.0.path())
            .env("OBD", env!("CARGO_BIN_EXE_obd"))
            .args(["-c", line])
            .output()
            .unwrap()
    }

    /// What it says as text.
    pub(crate) fn text(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "obd {arguments}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one JSON object it says, with nothing on standard error.
    pub(crate) fn said(&self, arguments: &str) -> Value {
        let output = self.run(&format!("{arguments} --json"));
        assert_eq!(stderr(&output), "", "obd {arguments}");
        said(&output)
    }

    /// The one line of an error, after the check that it comes as promised.
    pub(crate) fn refused(&self, arguments: &str) -> String {
        refused(&self.run(&format!("{arguments} --json")))
    }
}

/// The JSON object of a call that went well.
pub(crate) fn said(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value.is_object(), "{value}");
    value
}

/// The line of a call that failed.
pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let error = stderr(output);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: "), "{error}");
    error
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Checks that `error` has each of `parts`.
#[track_caller]
pub(crate) fn assert_names(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

/// `obd registry` in a process of its own, until this is dropped.
pub(crate) struct RegistryProcess {
    process: Child,
    address: String,
}

impl RegistryProcess {
    /// Serves `directory` on a free port.
    pub(crate) fn start(directory: &Path, switches: &str) -> Self {
        let mut process = command(env!("CARGO_BIN_EXE_obd"), directory)
            .args(["registry", "--json", "--dir", "."])
            .args(switches.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process, address }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Interrupts it; what it says at its end.
    pub(crate) fn interrupt(mut self) -> Value {
        let kill = format!("kill -INT {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let status = self.process.wait().unwrap();
        let value = serde_json::from_reader(self.process.stdout.take().unwrap()).unwrap();
        assert!(status.success());
        value
    }
}

impl Drop for RegistryProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that knows nothing of who runs the tests.
fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env("DOCKER_CONFIG", directory.join("no-docker"))
        .env_remove("OBD_PASSWORD");
    command
}

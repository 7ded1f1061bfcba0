//! containerd and the snapshotter in processes of their own, in a directory of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::images::BUSYBOX;

/// Whether containers can be run here. Says so if they cannot.
pub(crate) fn can_run_containers() -> bool {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let missing = if !works("unshare", &["--mount", "--pid", "--fork", "true"]) {
        "right to mount and to make namespaces"
    } else if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        "FUSE"
    } else if !fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("erofs")) {
        "EROFS"
    } else if fs::File::open("/dev/loop-control").is_err() {
        "loop device"
    } else if !works("containerd", &["--version"]) || !works("ctr", &["--version"]) {
        "containerd"
    } else if !works("runc", &["--version"]) {
        "runc"
    } else if !works(BUSYBOX, &["true"]) {
        "busybox-static"
    } else {
        return true;
    };
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Past what hides the output of tests that pass.
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {test}: there is no {missing}").unwrap();
    false
}

/// Both daemons.
pub(crate) struct Daemons {
    root: TempDir,
    registry: String,
    containerd: Child,
    snapshotter: Child,
    log: Log,
}

/// What the daemons said.
type Log = Arc<Mutex<Vec<String>>>;

impl Daemons {
    /// Starts them. Images of `registry` are spoken to without TLS.
    pub(crate) fn start(registry: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        let config = format!(
            r#"
            version = 2
            root = "{}"
            state = "{}"
            disabled_plugins = ["io.containerd.internal.v1.opt"]
            [grpc]
              address = "{}"
            [plugins."io.containerd.gc.v1.scheduler"]
              startup_delay = "0s"
            [plugins."io.containerd.grpc.v1.cri".containerd]
              snapshotter = "overlaybd"
              disable_snapshot_annotations = false
            [proxy_plugins.overlaybd]
              type = "snapshot"
              address = "{}"
            "#,
            path("containerd"),
            path("state"),
            path("containerd.sock"),
            path("snapshotter.sock"),
        );
        fs::write(root.path().join("config.toml"), config).unwrap();
        let log = Log::default();
        let snapshotter = snapshotter(root.path(), registry, &log);
        let mut containerd = Command::new("containerd");
        containerd.arg("--config").arg(root.path().join("config.toml"));
        let containerd = start(containerd, "containerd successfully booted", &log);
        Self { root, registry: registry.to_owned(), containerd, snapshotter, log }
    }

    /// Kills the snapshotter and starts it again.
    pub(crate) fn restart_snapshotter(&mut self) {
        self.snapshotter.kill().unwrap();
        self.snapshotter.wait().unwrap();
        self.snapshotter = snapshotter(self.root.path(), &self.registry, &self.log);
        // containerd may have met nobody in between. Then it refuses requests for a second or so.
        let begun = Instant::now();
        while !self.ctr_command("snapshots --snapshotter overlaybd ls").output().unwrap().status.success() {
            assert!(begun.elapsed() < Duration::from_secs(20), "containerd does not come back");
        }
    }

    /// Pulls an image as users do.
    pub(crate) fn pull(&self, image: &str) {
        let begun = Instant::now();
        loop {
            let mut pull = Command::new(PROGRAM);
            pull.args(["pull", image, "--containerd"]).arg(self.path("containerd.sock"));
            let Output { status, stderr, .. } = pull.output().unwrap();
            if status.success() {
                return;
            }
            // The CRI plugin may need a moment more than the rest of containerd.
            let said = String::from_utf8_lossy(&stderr);
            let is_early = said.contains("not initialized") && begun.elapsed() < Duration::from_secs(20);
            assert!(is_early, "{image}: {said}");
        }
    }

    /// What `ctr` says, divided at blanks, in the namespace that images are pulled into.
    pub(crate) fn ctr(&self, arguments: &str) -> String {
        succeeded(&mut self.ctr_command(arguments))
    }

    /// Removes all images, each of which has several names, and waits for the collection of garbage.
    pub(crate) fn remove_images(&self) {
        let names = self.ctr("images ls --quiet");
        self.ctr(&format!("images rm --sync {}", names.trim().replace('\n', " ")));
    }

    /// What a shell command in a new container of `image` says.
    pub(crate) fn run(&self, image: &str, id: &str, command: &str) -> String {
        let id = self.id(id);
        let run = format!("run --rm --snapshotter overlaybd {image} {id} {BUSYBOX} sh -c");
        succeeded(self.ctr_command(&run).arg(command))
    }

    /// Starts a container of `image` that does nothing until it is killed.
    pub(crate) fn start_idle(&self, image: &str, id: &str) {
        let (id, idle) = (self.id(id), "tail -f /dev/null");
        // Its output would keep this test's pipes open.
        self.ctr(&format!("run --detach --null-io --snapshotter overlaybd {image} {id} {BUSYBOX} {idle}"));
    }

    /// What a program in a running container says.
    pub(crate) fn exec(&self, id: &str, command: &str) -> Output {
        let id = self.id(id);
        self.ctr_command(&format!("tasks exec --exec-id x {id} {BUSYBOX} {command}")).output().unwrap()
    }

    /// Ends a container.
    pub(crate) fn end(&self, id: &str) {
        let id = self.id(id);
        self.ctr(&format!("tasks rm --force {id}"));
        self.ctr(&format!("containers rm {id}"));
    }

    /// Kills the servers of all devices.
    pub(crate) fn kill_servers(&self) {
        let below = self.path("snapshotter").display().to_string();
        for process in fs::read_dir("/proc").unwrap() {
            let process = process.unwrap();
            // Not all are processes, and others end meanwhile.
            let arguments = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            if arguments.starts_with(&format!("{PROGRAM}\0device\0")) && arguments.contains(&below) {
                let mut kill = Command::new("kill");
                succeeded(kill.arg("-KILL").arg(process.file_name()));
            }
        }
    }

    /// What is mounted for snapshots.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        mounts_below(&self.path("snapshotter"))
    }

    /// The directories of snapshots.
    pub(crate) fn directories(&self) -> usize {
        let entries = fs::read_dir(self.path("snapshotter/snapshots")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    }

    /// The name of a container, which is the only one on this machine: runc keeps all in one place.
    fn id(&self, id: &str) -> String {
        let root = self.root.path().file_name().unwrap().to_string_lossy();
        format!("{id}-{}", root.trim_start_matches('.'))
    }

    fn ctr_command(&self, arguments: &str) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.path("containerd.sock")).args(["--namespace", "k8s.io"]);
        ctr.args(arguments.split(' '));
        ctr
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        if thread::panicking() {
            self.log.lock().unwrap().iter().for_each(|line| eprintln!("{line}"));
            for snapshot in fs::read_dir(self.path("snapshotter/snapshots")).into_iter().flatten().flatten() {
                let log = snapshot.path().join("server.log");
                fs::read_to_string(&log).iter().for_each(|said| eprintln!("{}: {said}", log.display()));
            }
        }
        // A test that failed may leave containers.
        let tasks = self.ctr_command("tasks ls --quiet").output();
        for id in tasks.iter().flat_map(|tasks| tasks.stdout.split(|byte| *byte == b'\n')) {
            let id = String::from_utf8_lossy(id);
            let _ = self.ctr_command(&format!("tasks rm --force {id}")).output();
        }
        for daemon in [&mut self.containerd, &mut self.snapshotter] {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // It may leave devices, too, whose servers end with their mounts.
        for mount in mounts_below(self.root.path()).into_iter().rev() {
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
    }
}

fn snapshotter(root: &Path, registry: &str, log: &Log) -> Child {
    let mut snapshotter = Command::new(PROGRAM);
    snapshotter.args(["serve", "--plain-http", registry]);
    snapshotter
        .arg("--root")
        .arg(root.join("snapshotter"))
        .arg("--socket")
        .arg(root.join("snapshotter.sock"));
    start(snapshotter, "listening on ", log)
}

/// Starts a daemon and waits until a line on its standard error says that it is ready. All lines go into
/// `log`.
fn start(mut command: Command, ready: &str, log: &Log) -> Child {
    let mut daemon = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines().map_while(Result::ok);
    let log = Arc::clone(log);
    let mut keep = move |line: &String| log.lock().unwrap().push(line.clone());
    let is_ready = lines.by_ref().inspect(&mut keep).any(|line| line.contains(ready));
    assert!(is_ready, "{command:?} is not ready");
    thread::spawn(move || lines.for_each(|line| keep(&line)));
    daemon
}

fn succeeded(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().map(|line| PathBuf::from(line.split(' ').nth(4).unwrap()));
    points.filter(|point| point.starts_with(directory)).collect()
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_overlaybd-snapshotter");

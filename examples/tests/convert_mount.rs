//! A converted image of files of this machine, mounted by the kernel beside what `tar` unpacks of the same
//! layers: the same names, contents, modes, owners, times and links.

#[path = "support/conversions.rs"]
mod conversions;
#[path = "support/images.rs"]
mod images;
#[path = "support/mounts.rs"]
mod mounts;
#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/trees.rs"]
mod trees;

use std::path::{Path, PathBuf};
use std::process::Command;

use conversions::Scene;
use examples::convert::options::{Mode, Options};
use mounts::{Mount, assert_same_files, can_mount};
use ordinary::{Layer, gzip};
use referrers::media_type::{OCI_LAYER, OCI_LAYER_GZIP};

#[tokio::test(flavor = "multi_thread")]
async fn a_small_image() {
    // What every Debian has, and what has links of both kinds.
    converted_and_mounted(&["usr/share/perl5", "etc/alternatives", "usr/lib/udev"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an image of a gigabyte; the nightly checks run it"]
async fn a_large_image() {
    converted_and_mounted(&["usr/lib", "usr/bin", "usr/share"]).await;
}

/// Makes an image of these directories, a layer each and two more that change and remove, and compares its two
/// conversions with the unpacked layers.
async fn converted_and_mounted(directories: &[&str]) {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let unpacked = scene.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let mut layers: Vec<Layer> = Vec::new();
    for (n, directory) in directories.iter().filter(|path| Path::new("/").join(path).is_dir()).enumerate() {
        let tar = pack(Path::new("/"), directory);
        unpack(&tar, &unpacked);
        layers.push(if n == 1 { (OCI_LAYER, tar) } else { (OCI_LAYER_GZIP, gzip(&tar, n + 1)) });
    }
    assert!(!layers.is_empty(), "there is nothing to make an image of");
    layers.extend(changes(&scene, &unpacked));
    let layout = scene.layout("images");
    layout.list(ordinary::image(&layout, "amd64", &layers), Some("1")).unwrap();

    for mode in [Mode::Full, Mode::IndexOnly] {
        let options = Options::new(mode).with_suffix(Some(format!("_{mode}")));
        let report = scene.convert(&scene.image("images"), &options).await.unwrap();
        eprintln!("{mode}: {} bytes of {} in {:.1} s", report.bytes, report.base_bytes, report.seconds);
        std::fs::create_dir_all(scene.path("mnt")).unwrap();
        let mount = Mount::start(&scene.path(""), &format!("oci:images:1_{mode} mnt --timeout 600"));
        assert_eq!(listed(&mount.path("")), listed(&unpacked), "{mode}");
        assert_same_files(&unpacked, &mount.path(""));
        mount.terminate();
    }
}

/// A layer that changes files of the ones below and one that removes some, made of what is `unpacked` and applied to
/// it.
fn changes(scene: &Scene, unpacked: &Path) -> [Layer; 2] {
    let files = files(unpacked);
    let change = scene.path("change");
    for (n, file) in files.iter().step_by(7).enumerate() {
        let to = change.join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(&to, trees::noise(n as u64, n * 37 % 9000)).unwrap();
    }
    let changed = pack(&change, ".");
    unpack(&changed, unpacked);

    let remove = scene.path("remove");
    for file in files.iter().step_by(5) {
        let directory = remove.join(file.parent().unwrap());
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!(".wh.{}", file.file_name().unwrap().to_str().unwrap())), "")
            .unwrap();
        std::fs::remove_file(unpacked.join(file)).unwrap();
    }
    let removed = pack(&remove, ".");
    // Of the directories, the layer has what they are now.
    run(
        Command::new("tar").args(["-C", unpacked.to_str().unwrap(), "--exclude=.wh.*", "-xpf", "-"]),
        &removed,
    );
    [(OCI_LAYER_GZIP, gzip(&changed, 1)), (OCI_LAYER_GZIP, gzip(&removed, 1))]
}

/// The tar of a directory below `root`, with the directories above it.
fn pack(root: &Path, directory: &str) -> Vec<u8> {
    let above: Vec<_> =
        Path::new(directory).ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root).args(["--format=posix", "--sort=name", "-cf", "-", "--no-recursion"]);
    tar.args(above.into_iter().rev()).arg("--recursion").arg(directory);
    let output = tar.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn unpack(tar: &[u8], directory: &Path) {
    run(Command::new("tar").arg("-C").arg(directory).args(["-xpf", "-"]), tar);
}

/// Runs a command with these bytes as its input.
fn run(command: &mut Command, input: &[u8]) {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
}

/// What there is in a directory, a line each: name, kind, mode, owner, number of names, time, length and target. A
/// directory's length is the filesystem's own affair.
fn listed(directory: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    find.arg(directory).args(["-mindepth", "1", "("]);
    find.args(["-type", "d", "-printf", "%P %y %m %U %G %T@\n", "-o"]);
    find.args(["-printf", "%P %y %m %U %G %n %T@ %s %l\n", ")"]);
    let output = find.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert!(lines.len() > 10, "{lines:?}");
    lines
}

/// The regular files in a directory that have one name, relative to it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut find = Command::new("find");
    let output =
        find.arg(directory).args(["-type", "f", "-links", "1", "-printf", "%P\\n"]).output().unwrap();
    let mut files: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect();
    files.sort();
    files
}

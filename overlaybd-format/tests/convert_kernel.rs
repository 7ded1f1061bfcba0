//! Converted stacks before other judges: `fsck.erofs`, the kernel's EROFS, and GNU tar, which unpacks the same tars.
#![cfg(feature = "convert")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use futures::executor::block_on;
use overlaybd_format::{Image, ReadAt};

use crate::golden::{Case, sha256};
use crate::stack::{Listed, Listing, Mode, list, open, stack, text};
use crate::tars::Tar;

#[path = "harness/golden.rs"]
mod golden;
#[path = "harness/stack.rs"]
mod stack;
#[path = "harness/tars.rs"]
mod tars;

/// Stacks of tars, bottom first, with everything that the format stores in a way of its own.
fn stacks() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut cases = vec![("reference", ["L1", "L2", "L3"].map(golden_tar).to_vec())];

    let edges = [0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 100_000].into_iter();
    let bottom = edges.fold(Tar::new(), |tar, size| tar.file(format!("sizes/{size}"), content(size)));
    // Names on both sides of the two that each directory has.
    let bottom = ["!", "+", ".a", "..a", "-", "..."]
        .into_iter()
        .fold(bottom, |tar, name| tar.file(format!("order/{name}"), name));
    let bottom = (0..900).fold(bottom, |tar, number| tar.file(format!("many/{number:0>40}"), b""));
    let bottom = bottom
        .file("zeros", [&content(5000)[..], &[0; 20_000], &content(70)].concat())
        .with("mtime", "1700000000.123456789")
        .with("uid", "3000000000")
        .with("gid", "2999999999")
        .file("time", b"t")
        .with("mtime", "-1.5")
        .mode(0o4711)
        .file("before", b"t")
        .symlink("short", "sizes/1")
        .symlink("long", "x/".repeat(2040))
        .with("SCHILY.xattr.user.large", vec![b'l'; 20_000])
        .with("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
        .with("SCHILY.xattr.com.apple.provenance", b"left out")
        .file("attributes", b"a")
        .with("SCHILY.xattr.user.on-a-directory", b"d")
        .directory("attributes-below")
        .file("attributes-below/file", b"a")
        .file(b"not-text-\xff\xfe", b"n")
        .device("console", 5, 1)
        .device("large", 0xfff, 0xfffff)
        .fifo("fifo")
        .link("second", "zeros")
        .with("SCHILY.xattr.user.large", vec![b'l'; 4500])
        .directory("room")
        .end();
    let middle = Tar::new()
        .file("sizes/511", content(3))
        .whiteout("sizes", "513")
        .opaque("order")
        .file("order/new", b"")
        .link("order/third", "second")
        .whiteout("", "zeros")
        // The directory gets more attributes than its inode has room for, and moves.
        .with("SCHILY.xattr.user.on-a-directory", vec![b'd'; 3000])
        .directory("attributes-below")
        .directory("many/0000/below")
        // The inode keeps the room for its attributes, which is more than a block: the names, of 4040 bytes, have
        // room there but for the end of the block.
        .directory("room")
        .file(format!("room/{}", "n".repeat(41)), b"");
    let middle = (0..99).fold(middle, |tar, number| tar.file(format!("room/{number:0>28}"), b"")).end();
    let top =
        (0..40).fold(Tar::new(), |tar, number| tar.file(format!("sizes/more/{number}"), content(number)));
    let top = top.directory("attributes-below/directory").whiteout("many/0000", "below").end();
    cases.push(("forms", vec![bottom, middle, top]));
    cases.push((
        "empty",
        vec![Tar::new().end(), Tar::new().file("a", b"a").end(), Tar::new().whiteout("", "a").end()],
    ));
    cases
}

fn golden_tar(name: &str) -> Vec<u8> {
    let gzip = Case::open("turbooci").bytes(&format!("{name}.tar.gz"));
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(gzip.as_ref()), &mut bytes).unwrap();
    bytes
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 + 1).collect()
}

/// The device that the first `layers` of `tars` make in each of three mixtures of modes, and how it is called.
fn devices(name: &str, tars: &[Vec<u8>], layers: usize) -> impl Iterator<Item = (String, Arc<Image>)> {
    let modes = [[Mode::Full; 3], [Mode::IndexOnly; 3], [Mode::IndexOnly, Mode::Full, Mode::IndexOnly]];
    // A mixture begins with the second layer.
    modes.into_iter().take(if layers == 1 { 2 } else { 3 }).map(move |modes| {
        let stacked: Vec<_> = tars.iter().map(Vec::as_slice).zip(modes).take(layers).collect();
        (format!("{layers} layers of {name}, {modes:?}"), open(stack(&stacked).unwrap()))
    })
}

/// Writes what the device has into a file with holes.
fn write(device: &Image, path: &Path) {
    let file = File::create(path).unwrap();
    let segments = device.index().segments();
    for segment in segments {
        let mut bytes = vec![0; usize::try_from(segment.len() * 512).unwrap()];
        block_on(device.read_at(&mut bytes, segment.start() * 512)).unwrap();
        file.write_all_at(&bytes, segment.start() * 512).unwrap();
    }
    file.set_len(device.size()).unwrap();
}

/// Whether devices can be mounted here; says what is missing. Root in a container may have no right to.
fn can_mount() -> bool {
    let missing = if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success()) {
        "right to mount"
    } else if fs::File::open("/dev/loop-control").is_err() {
        "loop device"
    } else if !Command::new("modprobe").arg("erofs").status().is_ok_and(|s| s.success())
        && !fs::read_to_string("/proc/filesystems").unwrap().contains("erofs")
    {
        "EROFS in the kernel"
    } else {
        return true;
    };
    skipped(&format!("there is no {missing}"));
    false
}

/// Whether the program is there; says so if it is not.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skipped(&format!("there is no {program}"));
    }
    found
}

fn succeeds(command: &mut Command, what: &str) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{what}: {command:?}\n{}", said.escape_ascii());
}

#[test]
fn every_prefix_of_a_stack_is_clean() {
    if !is_there("fsck.erofs") || !is_there("dump.erofs") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device");
    for (name, tars) in stacks() {
        for (what, device) in (1..=tars.len()).flat_map(|layers| devices(name, &tars, layers)) {
            write(&device, &path);
            succeeds(Command::new("fsck.erofs").arg("--extract").arg(&path), &what);
            succeeds(Command::new("dump.erofs").arg("-s").arg(&path), &what);
        }
    }
}

#[test]
fn the_kernel_sees_the_files_that_tar_unpacks() {
    let directory = tempfile::tempdir().unwrap();
    if !can_mount() {
        return;
    }
    let (path, at) = (directory.path().join("device"), directory.path().join("mounted"));
    fs::create_dir(&at).unwrap();
    for (name, tars) in stacks() {
        let unpacked = directory.path().join(name);
        fs::create_dir(&unpacked).unwrap();
        for layers in 1..=tars.len() {
            let unpacked = unpack(&tars[layers - 1], &unpacked).then(|| walk(&unpacked));
            for (what, device) in devices(name, &tars, layers) {
                write(&device, &path);
                let mounted = Mounted::new(&path, &at);
                let seen = walk(mounted.0);
                drop(mounted);
                assert_same(&seen, &list(&*device), &what);
                if let Some(unpacked) = &unpacked {
                    assert_same(&as_unpacked(seen, unpacked), unpacked, &what);
                }
            }
        }
    }
}

fn assert_same(found: &Listing, expected: &Listing, what: &str) {
    for (path, expected) in expected {
        assert_eq!(found.get(path), Some(expected), "{path}, {what}");
    }
    assert!(found.keys().eq(expected.keys()), "{what}");
}

/// The files as tar leaves them: unpacking a layer changes the times of directories that it does not name, and
/// not every filesystem takes an attribute of 20,000 bytes.
fn as_unpacked(mut found: Listing, unpacked: &Listing) -> Listing {
    for (path, file) in &mut found {
        file.xattr_hex.retain(|name, _| name != "user.large");
        if let Some(unpacked) = unpacked.get(path).filter(|_| is_directory(file)) {
            (file.mtime, file.nanoseconds) = (unpacked.mtime, unpacked.nanoseconds);
        }
    }
    found
}

fn is_directory(file: &Listed) -> bool {
    file.mode.starts_with("0o4") && file.mode.len() == 7
}

/// A mounted device, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(device: &Path, at: &'a Path) -> Self {
        succeeds(Command::new("mount").args(["-t", "erofs", "-o", "ro"]).arg(device).arg(at), "mounting");
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        succeeds(Command::new("umount").arg(self.0), "unmounting");
    }
}

/// Unpacks a layer over others by GNU tar, having removed what it takes away, of which tar knows nothing. Gives
/// whether tar could: it takes no name with `..`.
fn unpack(tar: &[u8], to: &Path) -> bool {
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        if path.split(|&byte| byte == b'/').any(|name| name == b"..") {
            return false;
        }
        let path = to.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(&path)));
        let name = path.file_name().unwrap_or_default().as_bytes();
        let removed = match name.strip_prefix(b".wh.") {
            Some(b".wh..opq") => {
                let content = fs::read_dir(path.parent().unwrap()).into_iter().flatten();
                content.map(|entry| entry.unwrap().path()).collect()
            }
            Some(name) => vec![path.with_file_name(OsStr::from_bytes(name))],
            // Tar replaces no directory either.
            None if path.is_dir() && !entry.header().entry_type().is_dir() => vec![path],
            None => vec![],
        };
        for path in removed {
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path).unwrap();
            } else {
                let _ = fs::remove_file(path);
            }
        }
    }
    let archive = to.with_extension("tar");
    fs::write(&archive, tar).unwrap();
    let flags = ["--numeric-owner", "--xattrs", "--xattrs-include=*.*", "--exclude=.wh.*", "-xpf"];
    let output = Command::new("tar").args(flags).arg(&archive).arg("-C").arg(to).output().unwrap();
    // Of attributes that the filesystem below does not take, tar only warns.
    assert!(output.status.success(), "{}", output.stderr.escape_ascii());
    true
}

fn walk(root: &Path) -> Listing {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let path = directory.join(entry.unwrap().file_name());
            let listed = see(&root.join(&path));
            if is_directory(&listed) {
                directories.push(path.clone());
            }
            found.insert(text(path.as_os_str().as_bytes()), listed);
        }
    }
    found
}

fn see(path: &Path) -> Listed {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    let device = metadata.rdev();
    let is_directory = kind.is_dir();
    Listed {
        mode: format!("{:#o}", metadata.mode()),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: metadata.mtime(),
        nanoseconds: metadata.mtime_nsec() as u32,
        // Not every filesystem counts the names of directories.
        nlink: if is_directory {
            let below = fs::read_dir(path)
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir());
            2 + below.count() as u32
        } else {
            metadata.nlink() as u32
        },
        size: kind.is_file().then_some(metadata.len()),
        sha256: kind.is_file().then(|| sha256(&fs::read(path).unwrap())),
        target: kind.is_symlink().then(|| text(fs::read_link(path).unwrap().as_os_str().as_bytes())),
        rdev: is_device.then(|| format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))),
        xattr_hex: xattrs(path),
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap();
    names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = str::from_utf8(name).unwrap();
            let mut value = vec![0; 1 << 16];
            let len = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
            (name.to_owned(), value[..len].iter().map(|byte| format!("{byte:02x}")).collect())
        })
        .collect()
}

/// Says what is not tested, past the test runner, which withholds what a passing test prints.
fn skipped(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {why}").unwrap();
}

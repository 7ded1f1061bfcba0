//! A disk that is really full: a small tmpfs. Needs the right to mount one; says so where it is missing.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use blob_under_test::{CHUNK, build_over, options};
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{CompleteOptions, Digest, DiskOptions, DiskStore, ErrorKind};
use tempfile::TempDir;

const LEN: usize = 64 * CHUNK as usize;

/// A file system of `pages` pages of 4 KiB.
struct Small(TempDir);

impl Small {
    fn mount(pages: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={}k", pages * 4), "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn whatever_fits_is_kept_and_the_rest_is_read_from_the_origin() {
    for pages in [4, 5, 9, 17, 33, 50, 100] {
        let Some(disk) = Small::mount(pages) else {
            let mut stderr = std::io::stderr();
            writeln!(stderr, "SKIPPED: no right to mount a tmpfs").unwrap();
            return;
        };
        let time = VirtualTime::new();
        let Ok(store) = DiskStore::open(Arc::new(time.clone()), disk.path(), DiskOptions::default()) else {
            continue;
        };
        let world = build_over(time.clone(), LEN, options(), vec![Arc::new(store.clone())], |source| source);
        world.read(0, LEN).unwrap();
        world.time.run_until_idle();
        let kept = store.bytes() / u64::from(CHUNK);
        assert_eq!(world.blob.stats().store_failures, 64 - kept, "{pages} pages");
        assert!(kept < pages as u64 && (kept > 0 || pages < 9), "{kept} chunks in {pages} pages");

        let again = build_over(time.clone(), LEN, options(), vec![Arc::new(store)], |source| source);
        again.read(0, LEN).unwrap();
        assert_eq!(again.blob.stats().hits_store, kept, "{pages} pages");
    }
}

#[test]
fn completing_fails_with_an_error_and_reads_go_on() {
    let Some(disk) = Small::mount(20) else {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: no right to mount a tmpfs").unwrap();
        return;
    };
    let world = blob_under_test::blob(LEN, []);
    let path = disk.path().join("blob");
    let completion = world.blob.complete(&path, Digest::of(&world.content), CompleteOptions::default());
    let error = world.time.block_on(completion).unwrap_err();
    assert_eq!((error.kind(), world.blob.is_complete()), (ErrorKind::Storage, false));
    assert!(error.to_string().contains("blob"), "{error}");
    world.read(0, LEN).unwrap();
}

//! Small source trees.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// A tree with one of everything: nesting, an empty file, odd lengths, a hole, modes, a short and a
/// long symbolic link, a directory of more than one block.
pub(crate) fn varied(root: &Path) {
    for directory in ["bin", "lib/deep/er", "many", "empty"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    write(root, "bin/tool", &noise(1, 70_001), 0o4755);
    write(root, "bin/nothing", b"", 0o600);
    write(root, "lib/deep/er/block", &noise(2, 4096), 0o644);
    write(root, "lib/big", &noise(3, 3_000_000), 0o444);
    let mut sparse = noise(4, 40_960);
    sparse[8192..32768].fill(0);
    write(root, "lib/sparse", &sparse, 0o644);
    for n in 0..300 {
        write(
            root,
            &format!("many/file-with-a-rather-long-name-{n:03}"),
            &noise(100 + n, 10 + n as usize),
            0o644,
        );
    }
    symlink("../lib/big", root.join("bin/short")).unwrap();
    symlink(format!("/{}", "long/".repeat(60)), root.join("lib/long")).unwrap();
    symlink("deep/er/block", root.join("lib/block")).unwrap();
}

/// Reproducible bytes that do not compress: a xorshift sequence.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

fn write(root: &Path, path: &str, bytes: &[u8], mode: u32) {
    let path = root.join(path);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

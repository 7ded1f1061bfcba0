//! What a directory occupies.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::record::Usage;

/// What everything below `directory` occupies, itself included.
///
/// # Errors
///
/// If a directory cannot be read. What vanishes meanwhile occupies nothing.
pub(crate) fn of(directory: &Path) -> io::Result<Usage> {
    let (mut usage, mut linked) = (Usage::default(), BTreeSet::new());
    let mut rest = vec![directory.to_owned()];
    while let Some(path) = rest.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.nlink() > 1 && !metadata.is_dir() && !linked.insert(metadata.ino()) {
            continue;
        }
        usage.inodes = usage.inodes.saturating_add(1);
        usage.bytes = usage.bytes.saturating_add(metadata.blocks().saturating_mul(STAT_BLOCK));
        if metadata.is_dir() {
            match fs::read_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                entries => {
                    for entry in entries? {
                        rest.push(entry?.path());
                    }
                }
            }
        }
    }
    Ok(usage)
}

/// The unit of `st_blocks`, whatever the filesystem's own blocks are (stat(3type)).
const STAT_BLOCK: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once_and_holes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let empty = of(directory.path()).unwrap();
        fs::write(path("a"), vec![1; 100_000]).unwrap();
        let one = of(directory.path()).unwrap();
        assert_eq!(one.inodes, 2);
        assert!(one.bytes >= empty.bytes + 100_000);
        fs::hard_link(path("a"), path("b")).unwrap();
        assert_eq!(of(directory.path()).unwrap(), one);
        fs::File::create(path("hole")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", path("link")).unwrap();
        let more = of(directory.path()).unwrap();
        assert_eq!(more.inodes, 4);
        assert!(more.bytes < one.bytes + (1 << 20));
    }
}

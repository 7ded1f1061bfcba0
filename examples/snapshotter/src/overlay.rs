//! What containerd is to mount: ordinary overlayfs.
//!
//! ```text
//! on top of nothing     bind of fs
//! a view of one         bind of that one, read-only
//! a view of several     overlay of those below
//! active                overlay of those below, with fs to be written
//! ```

use std::path::{Path, PathBuf};

use crate::containerd::snapshots::Mount;

/// The part of a snapshot's directory that holds its files.
pub(crate) const FILES: &str = "fs";
/// The part that overlayfs works in. It must be on the same filesystem.
pub(crate) const WORK: &str = "work";

/// The mount of a snapshot that is written in `place`, on top of the directories `below`, the nearest
/// first.
pub(crate) fn active(place: &Path, below: &[PathBuf]) -> Mount {
    let files = place.join(FILES);
    if below.is_empty() {
        return bind(&files, "rw");
    }
    let upper = [option("workdir", &place.join(WORK)), option("upperdir", &files), lower(below)];
    overlay(upper.into())
}

/// The mount of a snapshot that is only read, on top of the directories `below`, the nearest first.
pub(crate) fn view(place: &Path, below: &[PathBuf]) -> Mount {
    match below {
        [] => bind(&place.join(FILES), "ro"),
        [one] => bind(one, "ro"),
        several => overlay(vec![lower(several)]),
    }
}

fn bind(source: &Path, access: &str) -> Mount {
    let options = vec![access.to_owned(), "rbind".to_owned()];
    Mount { r#type: "bind".into(), source: source.display().to_string(), target: String::new(), options }
}

fn overlay(mut options: Vec<String>) -> Mount {
    // With an index, an upper whose lowers were mounted anew after a restart is refused as stale.
    options.insert(0, "index=off".into());
    Mount { r#type: "overlay".into(), source: "overlay".into(), target: String::new(), options }
}

fn lower(below: &[PathBuf]) -> String {
    let below: Vec<_> = below.iter().map(|path| path.display().to_string()).collect();
    format!("lowerdir={}", below.join(":"))
}

fn option(key: &str, path: &Path) -> String {
    format!("{key}={}", path.display())
}

//! Small files that somebody else wrote.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

/// The content of a file that is small if it is what it should be.
///
/// # Errors
///
/// If it cannot be read, or is longer than 4 MiB.
pub fn read(path: &Path) -> Result<Bytes> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    ensure!(bytes.len() as u64 <= LONGEST, "{} is longer than 4 MiB", path.display());
    Ok(bytes.into())
}

/// The size of manifest that registries and clients are expected to handle (OCI distribution
/// specification, "Pushing manifests"). A configuration of 255 layers is much smaller.
const LONGEST: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_not_read_to_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LONGEST).unwrap();
        assert_eq!(read(file.path()).unwrap().len() as u64, LONGEST);
        file.as_file().set_len(1 << 40).unwrap();
        assert!(read(file.path()).unwrap_err().to_string().contains("longer than 4 MiB"));
    }
}

//! The trace in an acceleration layer: a layer on top of an image that is no part of its files.

use std::io::Read;

use anyhow::{Context, Result};
use overlaybd_format::Limits;
use overlaybd_format::trace::Trace;

/// Takes the trace out of the `tar`.
pub(super) fn trace(tar: &[u8], limits: &Limits) -> Result<Trace> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        if entry.path_bytes().strip_prefix(b"./").unwrap_or(&entry.path_bytes()) == b"trace" {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Trace::decode(&bytes, limits).context("the file trace");
        }
    }
    anyhow::bail!("it has no file trace")
}

#[cfg(test)]
mod tests {
    use overlaybd_format::trace::Record;

    use super::*;

    fn tar(name: &str, content: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, "other", content).unwrap();
        tar.append_data(&mut header, name, content).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn the_trace_is_the_file_of_that_name() {
        let expected = Trace { records: vec![Record::read(1, 512..1024)] };
        let of = |tar: &[u8]| trace(tar, &Limits::default());
        assert_eq!(of(&tar("trace", &expected.encode())).unwrap(), expected);
        assert_eq!(of(&tar("./trace", &expected.encode())).unwrap(), expected);
        assert!(of(&tar("traces", &expected.encode())).unwrap_err().to_string().contains("no file trace"));
        assert!(format!("{:#}", of(&tar("trace", b"bin/app\n")).unwrap_err()).contains("trace magic"));
        assert!(of(&[7; 1024]).is_err());
    }
}

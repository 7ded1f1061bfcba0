//! What becomes of every mutation of a reference blob: unchanged content, other content, or which
//! error. Where the reference rejects broken structure, so must this crate; where it accepts, crashes
//! or hangs, the verdict is ours and has a reason. `docs/format.md` shows the same table.

use std::sync::Arc;

use futures::executor::block_on;
use overlaybd_format::{Content, Error, Image, LayerBlob, Limits, MemoryBlob};
use serde::Deserialize;

use crate::Verdict::{Broken, Checksum, Limit, Reference, Same, Unsupported};
use crate::golden::{Case, manifest, sha256_of};

#[path = "harness/golden.rs"]
mod golden;

/// What opening a mutated blob and reading all of it comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// It reads as the blob before the mutation.
    Same,
    /// It reads otherwise, and exactly as the reference reads it.
    Reference,
    /// It reads, but neither as before nor as the reference reads it.
    Wrong,
    Broken,
    Checksum,
    Unsupported,
    Limit,
    /// An error that an unreadable or misused blob may give, but not a readable one.
    OtherError,
}

#[derive(Deserialize)]
struct Mutations {
    mutations: Vec<Mutation>,
}

#[derive(Deserialize)]
struct Mutation {
    name: String,
    /// `CASE/FILE`.
    base: String,
    /// Offset and replacing bytes in hex.
    #[serde(default)]
    patches: Vec<(usize, String)>,
    truncate: Option<usize>,
    /// Zero bytes.
    #[serde(default)]
    append: usize,
    reference: String,
    reference_sha256: Option<String>,
}

impl Mutation {
    fn apply(&self, base: &[u8]) -> Vec<u8> {
        let mut bytes = base.to_vec();
        for (offset, hex) in &self.patches {
            let patch: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            bytes[*offset..*offset + patch.len()].copy_from_slice(&patch);
        }
        bytes.truncate(self.truncate.unwrap_or(usize::MAX));
        bytes.resize(bytes.len() + self.append, 0);
        bytes
    }
}

/// The digest of what `bytes` hold, read the way the reference was asked to: layers as a device,
/// ZFiles of other data as a stream. A blob that is not seen as a ZFile must be a layer.
fn content(bytes: Vec<u8>, is_layer: bool) -> Result<String, Error> {
    let blob = Arc::new(MemoryBlob::new(bytes));
    block_on(async {
        let content = Content::open(blob.clone(), &Limits::default()).await?;
        if !is_layer && content.compression().is_some() {
            return sha256_of(&content).await;
        }
        let image = Image::open(vec![LayerBlob::new("mutated", blob)], &Limits::default()).await?;
        sha256_of(&image).await
    })
}

fn verdict(mutation: &Mutation, bytes: Vec<u8>, unchanged: &str) -> Verdict {
    match content(bytes, mutation.base.starts_with("lsmt-")) {
        Ok(sha256) if sha256 == unchanged => Same,
        Ok(sha256) if Some(&sha256) == mutation.reference_sha256.as_ref() => Reference,
        Ok(_) => Verdict::Wrong,
        Err(error) => match error.root() {
            Error::Broken { .. } => Broken,
            Error::Checksum { .. } => Checksum,
            Error::Unsupported { .. } => Unsupported,
            Error::Limit { .. } => Limit,
            _ => Verdict::OtherError,
        },
    }
}

#[test]
fn every_mutation_has_its_verdict() {
    let (layers, zfiles) = (Case::open("lsmt-append"), Case::open("zfile-raw"));
    let mutations = manifest::<Mutations>("reject").mutations;
    let unchanged_layer = content(layers.bytes("commit.plain").to_vec(), true).unwrap();
    let unchanged_zfile = content(zfiles.bytes("z.lz4.4k").to_vec(), false).unwrap();

    let mut wrong = Vec::new();
    for (mutation, &(name, expected, reason)) in mutations.iter().zip(&VERDICTS) {
        assert_eq!(mutation.name, name, "the table has the order of the mutations");
        let (case, unchanged) = match mutation.base.split_once('/').unwrap() {
            ("lsmt-append", file) => (layers.bytes(file), &unchanged_layer),
            (_, file) => (zfiles.bytes(file), &unchanged_zfile),
        };
        let found = verdict(mutation, mutation.apply(&case), unchanged);
        if found != expected {
            wrong.push(format!(
                "{name}: {found:?}, expected {expected:?}; the reference: {}",
                mutation.reference
            ));
        }

        let is_error = matches!(expected, Broken | Checksum | Unsupported | Limit);
        assert!(is_error || mutation.reference != "reject", "{name}: the reference rejects it, so must we");
        assert!(
            mutation.reference == "reject" || !reason.is_empty(),
            "{name}: no reason for a verdict of our own"
        );
    }
    assert_eq!(mutations.len(), VERDICTS.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documentation_shows_this_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/format.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    let rows: Vec<String> = manifest::<Mutations>("reject")
        .mutations
        .iter()
        .zip(&VERDICTS)
        .map(|(mutation, (name, verdict, reason))| {
            let ours = match verdict {
                Same => "same content",
                Reference => "other content, as the reference",
                Broken => "`Broken`",
                Checksum => "`Checksum`",
                Unsupported => "`Unsupported`",
                Limit => "`Limit`",
                Verdict::Wrong | Verdict::OtherError => unreachable!("no verdict"),
            };
            format!("| `{name}` | {} | {ours} | {reason} |", mutation.reference)
        })
        .collect();
    let table = rows.join("\n");
    assert!(documentation.contains(&table), "docs/format.md should have these rows:\n{table}");
}

/// The verdicts, in the order of the mutations. A reason is given where the reference does not reject.
#[rustfmt::skip]
const VERDICTS: [(&str, Verdict, &str); 136] = [
    ("l-none", Same, "the unchanged base"),
    ("l-hdr-magic0", Broken, ""),
    ("l-hdr-magic1", Broken, ""),
    ("l-trl-magic0", Broken, ""),
    ("l-trl-magic1", Broken, ""),
    ("l-hdr-size-field", Same, "the size of the record is never used"),
    ("l-trl-size-field", Same, "the size of the record is never used"),
    ("l-hdr-noheaderbit", Broken, ""),
    ("l-hdr-indextype", Broken, ""),
    ("l-hdr-unsealed", Same, "sealing in place leaves the header as it was"),
    ("l-hdr-sparse", Same, "tells how the file was written, not how to read it"),
    ("l-hdr-unknownflags", Same, "only named flags mean anything"),
    ("l-trl-headerbit", Broken, ""),
    ("l-trl-indextype", Broken, ""),
    ("l-trl-unsealed", Broken, ""),
    ("l-trl-unknownflags", Same, "only named flags mean anything"),
    ("l-hdr-vsize", Same, "the trailer decides"),
    ("l-trl-vsize", Reference, "a larger device is as valid; nothing protects the field"),
    ("l-trl-vsize0", Broken, "no layer gives the device a size"),
    ("l-trl-vsize-odd", Broken, ""),
    ("l-version2", Same, "no reader ever looked at it, so writers may have stored anything"),
    ("l-version0", Same, "no reader ever looked at it, so writers may have stored anything"),
    ("l-subversion9", Same, "no reader ever looked at it, so writers may have stored anything"),
    ("l-uuid-garbage", Same, "identities are advisory"),
    ("l-idx-size-max+1", Broken, ""),
    ("l-idx-size-too-big", Broken, ""),
    ("l-idx-size-minus1", Same, "the entry left out is padding"),
    ("l-idx-size0", Broken, "an index that ends early would turn data into zeros"),
    ("l-idx-size-wrap", Limit, ""),
    ("l-idx-off-beyond", Broken, ""),
    ("l-idx-off-huge", Broken, ""),
    ("l-seg-swap", Broken, ""),
    ("l-seg-overlap", Broken, ""),
    ("l-seg-moff0", Broken, ""),
    ("l-seg-moff7", Broken, ""),
    ("l-seg-moff-end", Reference, "the last data sectors are as good as others"),
    ("l-seg-moff-past", Broken, ""),
    ("l-seg-moff-huge", Broken, ""),
    ("l-seg-zeroed-moff-end", Reference, "a zeroed segment may name the end of the data"),
    ("l-seg-zeroed-moff-past", Broken, ""),
    ("l-seg-len0", Broken, ""),
    ("l-seg-len0-dup", Broken, ""),
    ("l-seg-tag7", Same, "the tag of an ordinary layer means nothing"),
    ("l-seg-beyond-vsize", Reference, "growing devices leave such segments; no read reaches them"),
    ("l-seg-invalid-first", Reference, "padding is dropped wherever it stands"),
    ("l-trunc1", Broken, ""),
    ("l-trunc512", Broken, ""),
    ("l-trunc-trailer", Broken, ""),
    ("l-trunc-4096", Broken, ""),
    ("l-trunc-100", Broken, ""),
    ("l-empty", Broken, ""),
    ("l-append-512", Broken, ""),
    ("l-append-1", Broken, ""),
    ("l-rw-data-as-layer", Broken, ""),
    ("z-trl-none", Same, "the unchanged base"),
    ("z-trl-hdr-magic0", Broken, ""),
    ("z-trl-hdr-magic1", Broken, ""),
    ("z-trl-hdr-digest-bad", Checksum, ""),
    ("z-trl-trl-digest-bad", Checksum, "the trailer has a digest, so it is checked"),
    ("z-trl-hdr-flag-nodigest", Same, "without the flag there is no digest to check"),
    ("z-trl-reserved-bytes", Checksum, ""),
    ("z-trl-algo0", Unsupported, "a codec that no writer has"),
    ("z-trl-algo3", Unsupported, "a codec that no writer has"),
    ("z-trl-algo2-on-lz4", Broken, ""),
    ("z-trl-level9", Same, "decoding does not depend on the level"),
    ("z-trl-use_dict", Same, "the dictionary has no bytes"),
    ("z-trl-dict_size1", Unsupported, ""),
    ("z-trl-verify0", Broken, ""),
    ("z-trl-verify2", Same, "anything but zero means yes"),
    ("z-trl-bs0", Broken, "no block has zero bytes"),
    ("z-trl-bs1", Broken, ""),
    ("z-trl-bs512", Broken, ""),
    ("z-trl-bs3000", Broken, ""),
    ("z-trl-bs8192", Broken, "the number of blocks does not fit the size"),
    ("z-trl-bs65536", Broken, "the number of blocks does not fit the size"),
    ("z-trl-bs131072", Unsupported, "blocks over 64 KiB; the number of blocks would not fit either"),
    ("z-trl-bs2147483648", Unsupported, "blocks over 64 KiB; the number of blocks would not fit either"),
    ("z-trl-origsize+1", Broken, "the last block is a byte short"),
    ("z-trl-origsize-1", Broken, "the last block is a byte long"),
    ("z-trl-origsize+1blk", Broken, ""),
    ("z-trl-origsize0", Broken, "the number of blocks does not fit the size"),
    ("z-trl-origsize-neg", Broken, "the number of blocks does not fit the size"),
    ("z-trl-idxcrc-bad", Checksum, ""),
    ("z-trl-idxoff+4", Broken, ""),
    ("z-trl-idxsize-1", Broken, ""),
    ("z-trl-idxsize-huge", Limit, ""),
    ("z-trl-idxsize0", Broken, ""),
    ("z-ovw-none", Same, "the unchanged base"),
    ("z-ovw-hdr-magic0", Broken, ""),
    ("z-ovw-hdr-magic1", Broken, ""),
    ("z-ovw-hdr-digest-bad", Checksum, ""),
    ("z-ovw-trl-digest-bad", Same, "a finished header makes the trailer redundant"),
    ("z-ovw-hdr-flag-nodigest", Same, "without the flag there is no digest to check"),
    ("z-ovw-reserved-bytes", Checksum, ""),
    ("z-ovw-algo0", Unsupported, "a codec that no writer has"),
    ("z-ovw-algo3", Unsupported, "a codec that no writer has"),
    ("z-ovw-algo2-on-lz4", Broken, ""),
    ("z-ovw-level9", Same, "decoding does not depend on the level"),
    ("z-ovw-use_dict", Same, "the dictionary has no bytes"),
    ("z-ovw-dict_size1", Unsupported, ""),
    ("z-ovw-verify0", Broken, ""),
    ("z-ovw-verify2", Same, "anything but zero means yes"),
    ("z-ovw-bs0", Broken, "no block has zero bytes"),
    ("z-ovw-bs1", Broken, ""),
    ("z-ovw-bs512", Broken, ""),
    ("z-ovw-bs3000", Broken, ""),
    ("z-ovw-bs8192", Broken, "the number of blocks does not fit the size"),
    ("z-ovw-bs65536", Broken, "the number of blocks does not fit the size"),
    ("z-ovw-bs131072", Unsupported, "blocks over 64 KiB; the number of blocks would not fit either"),
    ("z-ovw-bs2147483648", Unsupported, "blocks over 64 KiB; the number of blocks would not fit either"),
    ("z-ovw-origsize+1", Broken, "the last block is a byte short"),
    ("z-ovw-origsize-1", Broken, "the last block is a byte long"),
    ("z-ovw-origsize+1blk", Broken, ""),
    ("z-ovw-origsize0", Broken, "the number of blocks does not fit the size"),
    ("z-ovw-origsize-neg", Broken, "the number of blocks does not fit the size"),
    ("z-ovw-idxcrc-bad", Checksum, ""),
    ("z-ovw-idxoff+4", Broken, ""),
    ("z-ovw-idxsize-1", Broken, ""),
    ("z-ovw-idxsize-huge", Limit, ""),
    ("z-ovw-idxsize0", Broken, ""),
    ("z-trl-flag-header", Broken, ""),
    ("z-trl-flag-index", Broken, ""),
    ("z-trl-flag-unsealed", Broken, ""),
    ("z-hdr-flag-trailer", Broken, ""),
    ("z-hdr-flag-index", Broken, ""),
    ("z-hdr-flag-overwrite-set", Broken, "a jump table inside the header"),
    ("z-ovw-trl-magic", Same, "a finished header makes the trailer redundant"),
    ("z-idxcomp-flag", Same, "no writer compresses the jump table, and its checksum would not match"),
    ("z-block-byte", Checksum, ""),
    ("z-block-crc", Checksum, ""),
    ("z-noverify-block-byte", Reference, "without block checksums only the digest of the blob protects it"),
    ("z-trunc1", Broken, ""),
    ("z-append512", Broken, ""),
    ("z-ovw-append512", Same, "a finished header needs nothing from the end of the file"),
    ("z-ovw-trunc512", Broken, "a truncated file is refused even if what is left would do"),
    ("z-trunc100", Broken, ""),
];

//! `obd resolve`.

use anyhow::Result;
use examples::access::Keep;
use examples::image_name::ImageName;
use examples::image_place::ImagePlace;
use referrers::{Decision, Resolution};
use serde_json::{Value, json};

use crate::remote::Remote;

/// Show which accelerated image belongs to a reference, and why.
///
/// The stages are tried in turn until one finds an image: the image itself, its referrers, its tag
/// with a suffix. What became of each is shown, also when nothing is found, which is no error: the
/// ordinary image is run then.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd resolve registry.example/team/app:1

JSON keys:
  base         digest of the ordinary image for this platform
  accelerated  the image to read instead, or null, with
    digest       digest of its manifest
    kind         Native (full mode) or Turbo (index-only mode)
    stage        Itself, Referrer or TagSuffix
    binding      what ties it to the base: Itself, Subject, ListedSubject, TargetDigests or Unbound
    layers       the layers, bottom first, each with
      digest       digest of the blob
      size         its length in bytes
  decisions    what became of each stage and candidate, with
    stage        as above, or Base
    outcome      Used, Absent, Rejected, Failed or Skipped
    candidate    digest, or null if it is about the stage
    reason       why, for people"
)]
pub(crate) struct Args {
    /// An image, such as `registry.example/team/app:1` or `oci:DIR:TAG`.
    #[arg(value_name = "REF")]
    image: ImageName,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let access = args.remote.access(Keep::Nowhere);
    let place = ImagePlace::of(&args.image, &access, false)?;
    Ok(describe(&place.resolve(&args.image, &access.resolve).await?))
}

fn describe(resolution: &Resolution) -> Value {
    let accelerated = resolution.accelerated.as_ref().map(|found| {
        let layers: Vec<_> = found
            .layers
            .iter()
            .map(|layer| json!({ "digest": layer.digest.to_string(), "size": layer.size }))
            .collect();
        json!({
            "digest": found.descriptor.digest.to_string(),
            "kind": format!("{:?}", found.kind),
            "stage": format!("{:?}", found.stage),
            "binding": format!("{:?}", found.binding),
            "layers": layers,
        })
    });
    json!({
        "base": resolution.base.manifest.digest().to_string(),
        "accelerated": accelerated,
        "decisions": decisions(&resolution.decisions),
    })
}

/// What became of each stage and candidate.
pub(crate) fn decisions(decisions: &[Decision]) -> Value {
    let described = decisions.iter().map(|decision| {
        json!({
            "stage": format!("{:?}", decision.stage),
            "outcome": format!("{:?}", decision.outcome),
            "candidate": decision.candidate.as_ref().map(ToString::to_string),
            "reason": decision.reason,
        })
    });
    described.collect()
}

//! `obd resolve`.

use anyhow::Result;
use referrers::{Platform, Reference, Resolution, ResolveOptions, Resolver};
use serde_json::{Value, json};

use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An image reference, such as `registry.example/team/app:1`.
    reference: Reference,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let registry = args.remote.client(&args.reference)?;
    let resolver = Resolver::new(registry, ResolveOptions::default());
    Ok(describe(&resolver.resolve(&args.reference, &Platform::current()).await?))
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
    let decisions: Vec<_> = resolution
        .decisions
        .iter()
        .map(|decision| {
            json!({
                "stage": format!("{:?}", decision.stage),
                "outcome": format!("{:?}", decision.outcome),
                "candidate": decision.candidate.as_ref().map(ToString::to_string),
                "reason": decision.reason,
            })
        })
        .collect();
    json!({
        "base": resolution.base.manifest.digest().to_string(),
        "accelerated": accelerated,
        "decisions": decisions,
    })
}

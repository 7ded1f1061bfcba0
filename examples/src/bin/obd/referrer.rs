//! `obd referrers`.

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use examples::access::{Access, Keep};
use examples::referrer::referrer_of;
use referrers::{
    Descriptor, Listing, Mode, Pins, Platform, Reference, Registry, Repository, ResolveOptions, Resolver,
    media_type,
};
use serde_json::{Value, json};

use crate::remote::Remote;

/// List, attach or detach what refers to an image.
///
/// A registry lists for each image what names it as its subject: accelerated images, signatures,
/// and whatever else. Where there is no Referrers API, a tag holds the list.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd referrers list registry.example/team/app:1

JSON keys of list:
  manifests      the image's manifest; of an index those of its platforms, too; each with
    manifest       its digest
    api            whether the registry has the Referrers API: Supported, Unsupported or Unknown
    ignored        what stands at the fallback tag and is no list, or null
    referrers      what refers to it, each with
      digest         digest of its manifest
      artifact_type  what it is, or null
      size           length of its manifest in bytes
      annotations    its annotations, as KEY=VALUE

JSON keys of attach:
  digest         digest of the new manifest
  subject        digest of the base image's manifest
  listed         where it is listed: Api or FallbackTag

JSON keys of detach:
  detached       digest of what is no referrer any more"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what refers to an image.
    List {
        /// The image.
        #[arg(value_name = "REF")]
        image: Reference,
        /// Only those of this artifact type.
        #[arg(long, value_name = "TYPE")]
        artifact_type: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Tie an accelerated image, which was found by its tag until now, to its base image.
    ///
    /// Both are in one repository; of an index the image for this machine's platform is taken. The
    /// image is checked as `resolve` does. A new manifest is made of it; layers stay where they are.
    #[command(verbatim_doc_comment)]
    Attach {
        /// The base image.
        #[arg(value_name = "BASE")]
        base: Reference,
        /// The accelerated image.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        #[command(flatten)]
        remote: Remote,
    },
    /// Take a referrer out of the list of its image and delete its manifest.
    #[command(verbatim_doc_comment)]
    Detach {
        /// The referrer, by its digest.
        #[arg(value_name = "REF@DIGEST")]
        referrer: Reference,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    match args.action {
        Action::List { image, artifact_type, remote } => {
            let access = remote.access(Keep::Nowhere);
            list(&access.registry(image.repository())?, &image, artifact_type.as_deref()).await
        }
        Action::Attach { base, image, remote } => attach(&remote.access(Keep::Nowhere), &base, &image).await,
        Action::Detach { referrer, remote } => {
            let digest = referrer.digest().context("a referrer is detached by its digest")?;
            let registry = remote.access(Keep::Nowhere).registry(referrer.repository())?;
            registry.detach(referrer.repository(), digest).await?;
            Ok(json!({ "detached": digest.to_string() }))
        }
    }
}

async fn list(registry: &Registry, image: &Reference, artifact_type: Option<&str>) -> Result<Value> {
    let manifest = registry.manifest(image).await?;
    let children = manifest.index().map_or(&[][..], |index| &index.manifests);
    let mut manifests = Vec::new();
    for subject in [&manifest.descriptor()].into_iter().chain(children) {
        let listing = registry.referrers(image.repository(), &subject.digest, artifact_type).await?;
        manifests.push(describe(subject, &listing));
    }
    Ok(json!({ "manifests": manifests }))
}

fn describe(subject: &Descriptor, listing: &Listing) -> Value {
    let annotations = |entry: &Descriptor| -> Vec<String> {
        entry.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let referrers: Vec<_> = listing
        .referrers
        .iter()
        .map(|entry| {
            json!({
                "digest": entry.digest.to_string(),
                "artifact_type": entry.artifact_type,
                "size": entry.size,
                "annotations": annotations(entry),
            })
        })
        .collect();
    json!({
        "manifest": subject.digest.to_string(),
        "api": format!("{:?}", listing.api),
        "ignored": listing.ignored,
        "referrers": referrers,
    })
}

async fn attach(access: &Access, base: &Reference, image: &Reference) -> Result<Value> {
    let repository: &Repository = base.repository();
    ensure!(repository == image.repository(), "{base} and {image} are in different repositories");
    let registry = access.registry(repository)?;
    let alone = Resolver::new(registry.clone(), ResolveOptions::default().with_mode(Mode::Off));
    let [base, image] = {
        let platform = Platform::current();
        let (base, image) = (alone.resolve(base, &platform).await?, alone.resolve(image, &platform).await?);
        [base, image].map(|resolution| resolution.base.manifest)
    };
    // What is pinned is put to every check that a referrer is put to, but for the subject it has not got.
    let pins = Pins::default().with(base.digest().clone(), image.digest().clone());
    let options = ResolveOptions::default().with_pins(pins).with_mode(Mode::Require);
    let by_digest = repository.with_digest(base.digest().clone());
    let resolution =
        Resolver::new(registry.clone(), options).resolve(&by_digest, &Platform::current()).await?;
    let found = resolution.accelerated.context("the base image is itself accelerated")?;
    let body = referrer_of(&base.descriptor(), &image, found.kind)?;
    let attached = registry.attach(repository, media_type::OCI_MANIFEST, body).await?;
    Ok(json!({
        "digest": attached.descriptor.digest.to_string(),
        "subject": base.digest().to_string(),
        "listed": format!("{:?}", attached.listed),
    }))
}

//! `obd doctor`.

use anyhow::Result;
use examples::access::{Access, Keep};
use examples::one_line::one_line;
use referrers::{
    ApiSupport, Authentication, Credential, Outcome, Platform, Reason, Reference, Registry, Resolver,
};
use serde_json::{Value, json};

use crate::remote::Remote;
use crate::resolve;

/// Look for the reason why an image is not accelerated, or not reached.
///
/// Asks the registry what it is and how it wants to be asked, looks for credentials, and resolves
/// the image. Each step is made whatever became of the one before. What is wrong is said under
/// problems, in the order in which to look into it; it is no error of this verb.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd doctor registry.example/team/app:1

JSON keys:
  authentication  how the registry wants to be asked: none, basic, bearer, unknown; null if it
                  does not answer
  realm           its token server, or null
  realm_trusted   whether credentials are sent there, or null
  clock_ahead     seconds that its clock is ahead of this host's, or null
  credentials     kinds of what was found for the repository
  base            digest of the ordinary image for this platform, or null
  api             whether there is a Referrers API: Supported, Unsupported, Unknown, or null
  referrers       how many refer to the image, of whatever kind, or null
  accelerated     digest of the image to read instead, or null
  decisions       what became of each stage, as resolve says it, with
    stage, outcome, candidate, reason
  warnings        what the registry wants people to know
  problems        what is wrong, for people"
)]
pub(crate) struct Args {
    /// An image reference, such as `registry.example/team/app:1`.
    #[arg(value_name = "REF")]
    reference: Reference,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let access = args.remote.access(Keep::Nowhere);
    let registry = access.registry(args.reference.repository())?;
    let mut findings = Findings::default();
    findings.front_door(&registry, &args.reference).await;
    findings.credentials(&access, &args.reference).await;
    findings.resolution(&access, &registry, &args.reference).await;
    findings.said.insert("warnings".to_owned(), json!(registry.warnings()));
    findings.said.insert("problems".to_owned(), json!(findings.problems));
    Ok(Value::Object(findings.said))
}

#[derive(Default)]
struct Findings {
    said: serde_json::Map<String, Value>,
    problems: Vec<String>,
}

impl Findings {
    fn say<const N: usize>(&mut self, pairs: [(&str, Value); N]) {
        self.said.extend(pairs.map(|(key, value)| (key.to_owned(), value)));
    }

    async fn front_door(&mut self, registry: &Registry, reference: &Reference) {
        let probe = match registry.probe(reference.repository()).await {
            Ok(probe) => Some(probe),
            Err(error) => {
                self.problem("the registry", error);
                None
            }
        };
        let (mut name, mut server, mut sent_there) = (None, None, None);
        match probe.as_ref().map(|probe| &probe.authentication) {
            None => {}
            Some(Authentication::None) => name = Some("none"),
            Some(Authentication::Basic) => name = Some("basic"),
            Some(Authentication::Bearer { realm, trusted }) => {
                (name, server, sent_there) = (Some("bearer"), Some(realm.clone()), Some(*trusted));
                if !trusted {
                    self.problems.push(format!("credentials are not sent to the token server {realm}"));
                }
            }
            Some(_) => {
                name = Some("unknown");
                self.problems
                    .push("the registry asks for credentials in a way that is not spoken".to_owned());
            }
        }
        let ahead = probe.and_then(|probe| probe.clock_ahead);
        if let Some(seconds) = ahead.filter(|seconds| seconds.unsigned_abs() > CLOCK_SKEW) {
            self.problems
                .push(format!("the clocks differ by {} s: tokens may be refused", seconds.unsigned_abs()));
        }
        self.say([
            ("authentication", json!(name)),
            ("realm", json!(server)),
            ("realm_trusted", json!(sent_there)),
            ("clock_ahead", json!(ahead)),
        ]);
    }

    async fn credentials(&mut self, access: &Access, reference: &Reference) {
        let source = access.credentials(reference.repository());
        let found = match source.get(reference.repository(), Reason::First).await {
            Ok(found) => found,
            Err(error) => {
                self.problem("looking for credentials", error);
                Vec::new()
            }
        };
        let kind = |credential: &Credential| match credential {
            Credential::Password { .. } => "password",
            Credential::IdentityToken(_) => "identity token",
            _ => "token",
        };
        self.say([("credentials", json!(found.iter().map(kind).collect::<Vec<_>>()))]);
    }

    async fn resolution(&mut self, access: &Access, registry: &Registry, reference: &Reference) {
        let resolver = Resolver::new(registry.clone(), access.resolve.clone());
        let resolution = match resolver.resolve(reference, &Platform::current()).await {
            Ok(resolution) => Some(resolution),
            Err(error) => {
                self.problem("the ordinary image", error);
                None
            }
        };
        let base = resolution.as_ref().map(|resolution| resolution.base.manifest.digest().clone());
        let mut listing = None;
        if let Some(base) = &base {
            match registry.referrers(reference.repository(), base, None).await {
                Ok(found) => listing = Some(found),
                Err(error) => self.problem("the list of referrers", error),
            }
        }
        if let Some(why) = listing.as_ref().and_then(|listing| listing.ignored.as_ref()) {
            self.problems.push(why.clone());
        }
        if listing.as_ref().is_some_and(|l| l.api == ApiSupport::Unsupported && l.referrers.is_empty()) {
            let why = "there is no Referrers API, and nothing at the fallback tag";
            self.problems.push(why.to_owned());
        }
        let decisions = resolution.as_ref().map_or(&[][..], |resolution| &resolution.decisions);
        let accelerated = resolution.as_ref().and_then(|resolution| resolution.accelerated.as_ref());
        if accelerated.is_none() {
            let bad = decisions.iter().filter(|d| matches!(d.outcome, Outcome::Rejected | Outcome::Failed));
            self.problems.extend(bad.map(ToString::to_string));
        }
        self.say([
            ("base", json!(base.map(|digest| digest.to_string()))),
            ("api", json!(listing.as_ref().map(|listing| format!("{:?}", listing.api)))),
            ("referrers", json!(listing.as_ref().map(|listing| listing.referrers.len()))),
            ("accelerated", json!(accelerated.map(|found| found.descriptor.digest.to_string()))),
            ("decisions", resolve::decisions(decisions)),
        ]);
    }

    fn problem(&mut self, of: &str, error: referrers::Error) {
        self.problems.push(format!("{of}: {}", one_line(&error.into())));
    }
}

/// Seconds that no token server minds.
const CLOCK_SKEW: u64 = 60;

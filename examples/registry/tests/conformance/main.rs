//! The distribution specification as a list of checks, run against every store of ours and, to keep
//! the checks honest, against an independent registry with the list of its known deviations.

mod base;
mod content;
mod deletion;
mod deviations;
#[path = "../../../tests/support/docker_registry.rs"]
mod docker_registry;
mod reading;
mod referrers;
mod target;
mod uploads;

use std::io::{self, Write};

use registry::{Registry, Store};

use docker_registry::DockerRegistry;
use target::{Check, Target};

/// Runs every check and compares those that fail with those that are expected to.
///
/// A deviation that is gone fails the run as well as one that is new.
async fn run(target: &Target, deviations: &[&str]) {
    let suites: [&[Check]; 6] = [
        base::CHECKS,
        uploads::CHECKS,
        content::CHECKS,
        reading::CHECKS,
        deletion::CHECKS,
        referrers::CHECKS,
    ];
    let mut wrong = Vec::new();
    for (name, check) in suites.into_iter().flatten() {
        let outcome = check(target).await;
        match (outcome, deviations.contains(name)) {
            (Ok(()), false) | (Err(_), true) => {}
            (Ok(()), true) => wrong.push(format!("{name}: expected to fail, but passed")),
            (Err(error), false) => wrong.push(format!("{name}: {error:#}")),
        }
    }
    assert!(wrong.is_empty(), "{} checks:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn memory_store() {
    let server = Registry::builder().serve().await.unwrap();
    run(&Target::new(server.url()), &[]).await;
}

#[tokio::test]
async fn directory_store() {
    let root = tempfile::tempdir().unwrap();
    let server = Registry::builder().store(Store::dir(root.path()).unwrap()).serve().await.unwrap();
    run(&Target::new(server.url()), &[]).await;
}

#[tokio::test]
async fn docker_registry_2_8_2() {
    let Some(server) = DockerRegistry::start("").await else {
        // The test runner withholds what a passing test prints, but not what it writes.
        writeln!(io::stderr(), "SKIPPED: docker-registry not installed").unwrap();
        return;
    };
    run(&Target::new(&format!("http://{}", server.host)), deviations::DOCKER_REGISTRY).await;
}

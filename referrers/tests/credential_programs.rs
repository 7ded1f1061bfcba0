//! Programs and services that give out credentials: what they are asked, and what when they misbehave.
#![cfg(unix)]

#[path = "support/clock.rs"]
mod clock;
#[path = "support/server.rs"]
mod server;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use referrers::{
    Credential, CredentialEndpoint, CredentialHelper, CredentialPlugin, CredentialSource, DockerConfig,
    Error, ErrorKind, Reason, Repository, Secret,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use server::{Response, Server};

/// A program that is a shell script.
struct Script {
    directory: TempDir,
    path: PathBuf,
}

impl Script {
    fn new(name: &str, body: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        // Written by another process: a file that this one has open for writing could not be run, also by a
        // child that another test is just starting.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\ncd '{}'\n{body}\n", directory.path().display());
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        Self { directory, path }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

async fn ask(source: &impl CredentialSource, host: &str, path: &str) -> Result<Vec<Credential>, Error> {
    source.get(&Repository::new(host, path).unwrap(), Reason::First).await
}

#[tokio::test]
async fn a_helper_is_asked_for_the_host_and_answers_with_a_login_or_an_identity_token() {
    for (login, expected) in [
        (r#"{"ServerURL":"x","Username":"u","Secret":"s"}"#, Credential::password("u", "s")),
        (r#"{"Username":"<token>","Secret":"s"}"#, Credential::IdentityToken(Secret::new("s"))),
    ] {
        let script = Script::new("helper", &format!("echo $1 > args; cat > input; echo '{login}'"));
        let helper = CredentialHelper::at(&script.path);
        assert_eq!(ask(&helper, "h.io:5000", "a/b").await.unwrap(), [expected]);
        assert_eq!((script.file("args").trim(), script.file("input").trim()), ("get", "h.io:5000"));
    }
    let script = Script::new("helper", "cat > input; echo '{\"Username\":\"u\",\"Secret\":\"s\"}'");
    ask(&CredentialHelper::at(&script.path), "docker.io", "library/a").await.unwrap();
    assert_eq!(script.file("input"), "https://index.docker.io/v1/");
}

#[tokio::test]
async fn a_helper_that_knows_nothing_is_told_from_one_that_fails() {
    let none = Script::new("helper", "echo 'credentials not found in native keychain'; exit 1");
    assert!(ask(&CredentialHelper::at(&none.path), "h.io", "a").await.unwrap().is_empty());
    for body in [
        "echo hunter2; exit 1",
        "echo hunter2",
        "echo '{\"Secret\":\"hunter2\"}'",
        "echo hunter2 >&2; exit 3",
    ] {
        let script = Script::new("helper", body);
        let error = ask(&CredentialHelper::at(&script.path), "h.io", "a").await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && text.contains("helper"), "{text}");
    }
    let absent = CredentialHelper::at("/nonexistent/helper");
    assert_eq!(*ask(&absent, "h.io", "a").await.unwrap_err().kind(), ErrorKind::Credentials);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let script = Script::new("helper", "yes");
    let error = ask(&CredentialHelper::at(&script.path), "h.io", "a").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_helper_that_does_not_answer_ends_at_its_time_limit() {
    let script = Script::new("helper", "exec sleep 1000");
    let error = ask(&CredentialHelper::at(&script.path), "h.io", "a").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Timeout { after: Duration::from_secs(10) });
}

#[tokio::test]
async fn a_helper_dies_with_all_it_started_when_nobody_waits_any_more() {
    let script = Script::new("helper", "exec 3> alive; sleep 1000 & echo started >&3; wait");
    let pipe = script.directory.path().join("alive");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let helper = CredentialHelper::at(&script.path);
    let repository = Repository::new("h.io", "a").unwrap();
    let (started, is_started) = tokio::sync::oneshot::channel();
    let (ended, is_ended) = tokio::sync::oneshot::channel();
    // The pipe ends when the last process that holds it is gone.
    std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(pipe).unwrap();
        let mut first = [0; 8];
        pipe.read_exact(&mut first).unwrap();
        started.send(()).unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap();
        ended.send(()).unwrap();
    });
    tokio::select! {
        answer = helper.get(&repository, Reason::First) => panic!("{answer:?}"),
        _ = is_started => {}
    }
    tokio::time::timeout(Duration::from_secs(5), is_ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_configuration_file_names_helpers_by_host_and_for_all_others() {
    let script = Script::new(
        "docker-credential-test",
        "cat > input; echo '{\"Username\":\"helper\",\"Secret\":\"s\"}'",
    );
    let config = script.directory.path().join("config.json");
    let text = r#"{
        "credHelpers": {"one.io": "test"}, "credsStore": "test",
        "auths": {"one.io": {"username": "file", "password": "p"}, "two.io": {"username": "file", "password": "p"}, "three.io": {}}
    }"#;
    std::fs::write(&config, text).unwrap();
    // The helper is looked for on the search path of the process, so the test runs itself with another.
    let run = |host: &str| {
        let path = format!("{}:{}", script.directory.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "print_the_users_of_a_configuration_file", "--nocapture"])
            .env("PATH", path)
            .env("CONFIG", &config)
            .env("ASKED", host)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.split_once("users: ")).map(|(_, users)| users.to_owned()).unwrap()
    };
    assert_eq!(run("one.io"), "helper file");
    assert_eq!(run("two.io"), "file");
    assert_eq!(run("three.io"), "helper");
}

#[tokio::test]
#[ignore = "a part of another test"]
async fn print_the_users_of_a_configuration_file() {
    let source = DockerConfig::new(std::env::var("CONFIG").unwrap());
    let users: Vec<_> = ask(&source, &std::env::var("ASKED").unwrap(), "a")
        .await
        .unwrap()
        .into_iter()
        .map(|credential| match credential {
            Credential::Password { username, .. } => username,
            other => panic!("{other:?}"),
        })
        .collect();
    println!("\nusers: {}", users.join(" "));
}

fn response(cache: &str, user: &str) -> String {
    format!(
        r#"{{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",{cache},"auth":{{"*.example.com":{{"username":"{user}","password":"p"}}}}}}"#
    )
}

#[tokio::test]
async fn a_plugin_is_asked_for_what_it_is_for_and_its_answer_kept() {
    let answer = response(r#""cacheKeyType":"Registry","cacheDuration":"1h0m0s""#, "u");
    let script = Script::new(
        "plugin",
        &format!("echo \"$1 $REGION\" > args; cat >> asked; echo >> asked; echo '{answer}'"),
    );
    let clock = std::sync::Arc::new(clock::JumpingClock::new());
    let plugin = CredentialPlugin::new(&script.path, ["*.example.com"])
        .with_args(["get-credentials"])
        .with_clock(clock.clone())
        .with_env("REGION", "r");
    let expected = [Credential::password("u", "p")];
    assert!(ask(&plugin, "other.io", "a").await.unwrap().is_empty());
    assert_eq!(script.file("asked"), "");
    assert_eq!(ask(&plugin, "one.example.com", "a").await.unwrap(), expected);
    assert_eq!(ask(&plugin, "one.example.com", "b").await.unwrap(), expected);
    assert_eq!(script.file("args").trim(), "get-credentials r");
    let asked = || script.file("asked").lines().count();
    assert_eq!(asked(), 1);
    assert!(script.file("asked").contains(r#""image":"one.example.com/a""#), "{}", script.file("asked"));
    ask(&plugin, "two.example.com", "a").await.unwrap();
    assert_eq!(asked(), 2);
    let repository = Repository::new("one.example.com", "a").unwrap();
    plugin.get(&repository, Reason::Rejected).await.unwrap();
    assert_eq!(asked(), 3, "what was refused is not given again from memory");
    clock.advance(Duration::from_secs(3600));
    ask(&plugin, "one.example.com", "a").await.unwrap();
    assert_eq!(asked(), 4);
}

#[tokio::test]
async fn a_plugins_broken_answers_are_errors_without_secrets() {
    for answer in [
        "hunter2".to_owned(),
        response(r#""cacheKeyType":"Pod""#, "hunter2"),
        response(r#""cacheKeyType":"Image","cacheDuration":"soon""#, "hunter2"),
        response(r#""cacheKeyType":"Image""#, "hunter2").replace("Response", "Request"),
    ] {
        let script = Script::new("plugin", &format!("echo '{answer}'"));
        let plugin = CredentialPlugin::new(&script.path, ["*.example.com"]);
        let error = ask(&plugin, "one.example.com", "a").await.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

const LOGIN: &str =
    r#"{"success":true,"traceId":"t","data":{"auths":{"h.io":{"username":"u","password":"p"}}}}"#;

#[tokio::test]
async fn a_service_is_asked_for_the_repository_over_tcp() {
    let service = Server::start(|_| Response::ok("application/json", LOGIN)).await;
    let source = CredentialEndpoint::new(&format!("http://{}/auth?x=1", service.host)).unwrap();
    assert_eq!(ask(&source, "h.io", "a/b").await.unwrap(), [Credential::password("u", "p")]);
    assert_eq!(service.asked(), ["GET /auth?x=1&remote_url=https%3A%2F%2Fh.io%2Fv2%2Fa%2Fb%2Fblobs"]);
    assert!(ask(&source, "o.io", "a").await.unwrap().is_empty(), "the answer is matched here as well");
}

#[tokio::test]
async fn a_service_is_asked_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /credentials?remote_url="));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LOGIN.len());
        stream.write_all(format!("{head}{LOGIN}").as_bytes()).await.unwrap();
    });
    let source = CredentialEndpoint::unix(&path, "http://localhost/credentials").unwrap();
    assert_eq!(ask(&source, "h.io", "a").await.unwrap(), [Credential::password("u", "p")]);
}

#[tokio::test]
async fn a_services_refusal_is_an_error() {
    for answer in [
        Response::new(500),
        Response::new(302).with("location", "http://127.0.0.1:1/"),
        Response::ok("application/json", r#"{"success":false}"#),
        Response::ok("application/json", "hunter2"),
        Response::ok("application/json", vec![b' '; (1 << 20) + 1]),
    ] {
        let service = Server::start(move |_| answer.clone()).await;
        let source = CredentialEndpoint::new(&format!("http://{}/", service.host)).unwrap();
        let error = ask(&source, "h.io", "a").await.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert_eq!(service.requests().len(), 1);
    }
    assert!(CredentialEndpoint::new("ftp://h.io/").is_err());
}

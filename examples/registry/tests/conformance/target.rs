//! The registry under test, and the requests that most checks are made of.

use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use registry::Digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A check's name and the check.
pub(crate) type Check = (&'static str, fn(&Target) -> Pin<Box<dyn Future<Output = Result<()>> + '_>>);

/// A table of checks, each named after its function.
macro_rules! checks {
    ($($check:ident),* $(,)?) => {
        pub(crate) const CHECKS: &[crate::target::Check] =
            &[$((stringify!($check), |target| Box::pin($check(target)))),*];
    };
}
pub(crate) use checks;

/// A registry that anybody may push to.
pub(crate) struct Target {
    url: String,
    client: Client,
}

impl Target {
    /// The registry at `url`, which is scheme, host and port.
    pub(crate) fn new(url: &str) -> Self {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { url: url.to_owned(), client }
    }

    /// A request of a path, or of a URL that the registry gave.
    pub(crate) fn request(&self, method: Method, location: &str) -> RequestBuilder {
        let url =
            if location.starts_with('/') { format!("{}{location}", self.url) } else { location.to_owned() };
        self.client.request(method, url)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response> {
        Ok(self.request(Method::GET, path).header(ACCEPT, format!("{MANIFEST}, {INDEX}")).send().await?)
    }

    pub(crate) async fn head(&self, path: &str) -> Result<Response> {
        Ok(self.request(Method::HEAD, path).header(ACCEPT, format!("{MANIFEST}, {INDEX}")).send().await?)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Response> {
        Ok(self.request(Method::DELETE, path).send().await?)
    }

    /// Opens an upload; the result is its location.
    pub(crate) async fn open_upload(&self, repository: &str) -> Result<String> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let response = self.request(Method::POST, &path).header("content-length", 0).send().await?;
        expect(&response, StatusCode::ACCEPTED)?;
        location(&response)
    }

    /// Closes an upload with the rest of the bytes.
    pub(crate) async fn close_upload(
        &self,
        location: &str,
        digest: &Digest,
        rest: Vec<u8>,
    ) -> Result<Response> {
        let separator = if location.contains('?') { '&' } else { '?' };
        Ok(self
            .request(Method::PUT, &format!("{location}{separator}digest={digest}"))
            .body(rest)
            .send()
            .await?)
    }

    pub(crate) async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        let location = self.open_upload(repository).await?;
        let response = self.close_upload(&location, &digest, bytes.to_vec()).await?;
        expect(&response, StatusCode::CREATED)?;
        Ok(digest)
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Value,
    ) -> Result<Response> {
        let media_type = manifest["mediaType"].as_str().context("a manifest without mediaType")?;
        self.put_manifest_bytes(repository, reference, media_type, manifest.to_string().into()).await
    }

    pub(crate) async fn put_manifest_bytes(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Response> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        Ok(self.request(Method::PUT, &path).header(CONTENT_TYPE, media_type).body(bytes).send().await?)
    }

    /// Pushes a manifest by its digest, and has it accepted.
    pub(crate) async fn push_manifest(&self, repository: &str, manifest: &Value) -> Result<Digest> {
        let digest = digest_of(manifest);
        let response = self.put_manifest(repository, digest.as_str(), manifest).await?;
        expect(&response, StatusCode::CREATED)?;
        Ok(digest)
    }

    /// Pushes the blobs of a small image; the result is its manifest.
    pub(crate) async fn image(&self, repository: &str, content: &str) -> Result<Value> {
        let (config, layer) = (format!("{{\"made for\":\"{content}\"}}"), format!("layer of {content}"));
        self.push_blob(repository, config.as_bytes()).await?;
        self.push_blob(repository, layer.as_bytes()).await?;
        Ok(json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()),
            "layers": [descriptor(LAYER, layer.as_bytes())],
        }))
    }

    /// Pushes the empty blob; the result is the manifest of an artifact without content.
    pub(crate) async fn artifact(&self, repository: &str, artifact_type: &str) -> Result<Value> {
        self.push_blob(repository, b"{}").await?;
        Ok(json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": descriptor(EMPTY, b"{}"),
            "layers": [descriptor(EMPTY, b"{}")],
        }))
    }
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(bytes).as_str(), "size": bytes.len() })
}

/// The descriptor of a manifest that is serialized as it is pushed.
pub(crate) fn manifest_descriptor(manifest: &Value) -> Value {
    descriptor(manifest["mediaType"].as_str().unwrap_or_default(), manifest.to_string().as_bytes())
}

pub(crate) fn digest_of(manifest: &Value) -> Digest {
    Digest::sha256(manifest.to_string().as_bytes())
}

pub(crate) fn expect(response: &Response, status: StatusCode) -> Result<()> {
    ensure!(response.status() == status, "{} is {}, expected {status}", response.url(), response.status());
    Ok(())
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Result<&'a str> {
    let value = response.headers().get(name).with_context(|| format!("{} has no {name}", response.url()))?;
    Ok(value.to_str()?)
}

pub(crate) fn location(response: &Response) -> Result<String> {
    Ok(header(response, LOCATION.as_str())?.to_owned())
}

/// The code of the first error in the body.
pub(crate) async fn error_code(response: Response) -> Result<String> {
    let body: Value = serde_json::from_str(&response.text().await?).context("the error body is not JSON")?;
    Ok(body["errors"][0]["code"].as_str().context("no errors[0].code")?.to_owned())
}

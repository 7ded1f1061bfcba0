//! Making a referrer of an image that nothing ties to its base image.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use referrers::{Descriptor, Kind, Manifest, artifact_type, media_type};
use serde_json::{Value, json};

/// The manifest of `image` with `subject`, under the artifact type of its kind. An image of the Docker family
/// becomes one of the OCI family, whose manifests alone have subjects; layers and configuration stay. One that has
/// a subject stays as it is.
///
/// # Errors
///
/// If it is no image.
pub fn referrer_of(subject: &Descriptor, image: &Manifest, kind: Kind) -> Result<Bytes> {
    if image.subject().is_some() {
        return Ok(image.bytes().clone());
    }
    let mut body: Value = serde_json::from_slice(image.bytes()).context("the manifest")?;
    let Some(fields) = body.as_object_mut().filter(|_| image.image().is_some()) else {
        bail!("{} is no image for one platform", image.digest());
    };
    let artifact_type = match kind {
        Kind::Native => artifact_type::OVERLAYBD_NATIVE,
        Kind::Turbo => artifact_type::OVERLAYBD_TURBO,
    };
    let subject = Descriptor::new(&*subject.media_type, subject.digest.clone(), subject.size);
    fields.insert("mediaType".to_owned(), json!(media_type::OCI_MANIFEST));
    fields.insert("artifactType".to_owned(), json!(artifact_type));
    fields.insert("subject".to_owned(), serde_json::to_value(subject)?);
    let layers = fields.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten();
    layers.for_each(to_oci);
    fields.get_mut("config").into_iter().for_each(to_oci);
    Ok(body.to_string().into())
}

/// Gives a descriptor the type of the OCI family.
fn to_oci(descriptor: &mut Value) {
    let Some(media_type) = descriptor.get_mut("mediaType") else { return };
    let oci = match media_type.as_str() {
        Some(media_type::DOCKER_CONFIG) => media_type::OCI_CONFIG,
        Some(media_type::DOCKER_LAYER) => media_type::OCI_LAYER,
        Some(media_type::DOCKER_LAYER_GZIP) => media_type::OCI_LAYER_GZIP,
        _ => return,
    };
    *media_type = json!(oci);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_image_becomes_a_referrer_of_the_oci_family() {
        let descriptor = |media_type: &str| json!(Descriptor::of(media_type, b"x"));
        let mut layer = descriptor(media_type::DOCKER_LAYER);
        layer["annotations"] = json!({ "a": "b" });
        let body = json!({
            "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST, "novel": 1,
            "config": descriptor(media_type::DOCKER_CONFIG), "layers": [layer],
        });
        let image = Manifest::parse(body.to_string().into(), media_type::DOCKER_MANIFEST, None).unwrap();
        let base = Descriptor::of(media_type::DOCKER_MANIFEST, b"base");
        let referrer = referrer_of(&base, &image, Kind::Native).unwrap();
        let referrer = Manifest::parse(referrer, media_type::OCI_MANIFEST, None).unwrap();
        assert_eq!(referrer.subject(), Some(&base));
        assert_eq!(referrer.artifact_type(), Some(artifact_type::OVERLAYBD_NATIVE));
        let own = referrer.image().unwrap();
        assert_eq!(own.config.media_type, media_type::OCI_CONFIG);
        assert_eq!(own.layers[0].media_type, media_type::OCI_LAYER);
        assert_eq!(own.layers[0].annotation("a"), Some("b"));
        let text = std::str::from_utf8(referrer.bytes()).unwrap();
        assert!(text.contains("\"novel\":1"), "what is not understood is kept: {text}");
    }

    #[test]
    fn an_index_is_refused() {
        let body = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] });
        let index = Manifest::parse(body.to_string().into(), media_type::OCI_INDEX, None).unwrap();
        let base = Descriptor::of(media_type::OCI_MANIFEST, b"base");
        assert!(referrer_of(&base, &index, Kind::Native).is_err());
    }
}

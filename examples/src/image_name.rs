//! The names of images that the tools are given: references, and images of a directory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use referrers::Reference;

/// An image of a registry, or of a directory in the OCI image layout.
///
/// ```
/// use examples::image_name::ImageName;
///
/// let name: ImageName = "oci:images/app:1".parse()?;
/// assert_eq!(name, ImageName::Layout { directory: "images/app".into(), tag: Some("1".to_owned()) });
/// assert!(matches!("registry.example/app:1".parse()?, ImageName::Registry(_)));
/// # Ok::<_, anyhow::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// `oci:DIR[:TAG]`.
    Layout {
        /// The directory.
        directory: PathBuf,
        /// The tag in its index; the only image without one.
        tag: Option<String>,
    },
    /// `HOST/PATH[:TAG][@DIGEST]`.
    Registry(Reference),
}

impl ImageName {
    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Layout { tag, .. } => tag.as_deref(),
            Self::Registry(reference) => reference.tag(),
        }
    }

    /// The name of what has the tag `tag` in the same place.
    ///
    /// # Errors
    ///
    /// If `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        Ok(match self {
            Self::Layout { directory, .. } => {
                Self::Layout { directory: directory.clone(), tag: Some(tag.to_owned()) }
            }
            Self::Registry(reference) => Self::Registry(reference.repository().with_tag(tag)?),
        })
    }
}

impl FromStr for ImageName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(rest) = text.strip_prefix(LAYOUT) else {
            return Ok(Self::Registry(text.parse()?));
        };
        // A colon before a slash is a part of the directory's name.
        let (directory, tag) = match rest.rsplit_once(':') {
            Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag)),
            _ => (rest, None),
        };
        ensure!(!directory.is_empty(), "{text} names no directory");
        if let Some(tag) = tag {
            // Whatever copies the image to a registry needs a tag that is one there.
            format!("layout:{tag}").parse::<Reference>().with_context(|| text.to_owned())?;
        }
        Ok(Self::Layout { directory: directory.into(), tag: tag.map(str::to_owned) })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { directory, tag: None } => write!(f, "{LAYOUT}{}", directory.display()),
            Self::Layout { directory, tag: Some(tag) } => write!(f, "{LAYOUT}{}:{tag}", directory.display()),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

/// How skopeo and others begin the name of a layout.
const LAYOUT: &str = "oci:";

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(directory: &str, tag: Option<&str>) -> ImageName {
        ImageName::Layout { directory: directory.into(), tag: tag.map(str::to_owned) }
    }

    #[test]
    fn a_layout_is_named_with_or_without_a_tag() {
        for (text, name) in [
            ("oci:dir", layout("dir", None)),
            ("oci:/a/b:1.2", layout("/a/b", Some("1.2"))),
            ("oci:/a:b/c", layout("/a:b/c", None)),
            ("oci:/a:b/c:t", layout("/a:b/c", Some("t"))),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap(), name);
            assert_eq!(name.to_string(), text);
        }
        for text in ["oci:", "oci::t", "oci:d:", "oci:d:not a tag", "UPPER/case"] {
            text.parse::<ImageName>().unwrap_err();
        }
    }
}

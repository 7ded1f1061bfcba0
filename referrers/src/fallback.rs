//! The referrers tag schema: where referrers are listed on a registry without the Referrers API.

use crate::{Digest, Error, Reference, Repository, Result};

/// The tag that lists the referrers of `subject` on registries without the Referrers API
/// (OCI distribution-spec, "Referrers Tag Schema").
///
/// ```
/// use referrers::{Digest, fallback_tag};
///
/// let tag = fallback_tag(&Digest::sha256_of(b""));
/// assert!(tag.starts_with("sha256-e3b0c44298fc1c14"));
/// ```
pub fn fallback_tag(subject: &Digest) -> String {
    schema(subject.algorithm().name(), subject.hex())
}

pub(crate) fn fallback_reference(repository: &Repository, subject: &Digest) -> Result<Reference, Error> {
    repository.with_tag(&fallback_tag(subject))
}

/// Both parts cut to their lengths, every character that no tag may hold replaced by a dash.
fn schema(algorithm: &str, encoded: &str) -> String {
    let cut = |text: &str, len| text.chars().take(len).collect::<String>();
    let tag = format!("{}-{}", cut(algorithm, MAX_ALGORITHM), cut(encoded, MAX_ENCODED));
    tag.replace(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')), "-")
}

/// OCI distribution-spec, "Referrers Tag Schema".
const MAX_ALGORITHM: usize = 32;
const MAX_ENCODED: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Algorithm;

    #[test]
    fn names_of_the_specification() {
        let a64 = "a".repeat(64);
        assert_eq!(schema("sha256", &a64), format!("sha256-{a64}"));
        assert_eq!(schema("sha512", &"b".repeat(128)), format!("sha512-{}", "b".repeat(64)));
        assert_eq!(schema("blake3", &a64), format!("blake3-{a64}"));
        // Separators of the algorithm and padding of the encoding are no tag characters; both are cut.
        assert_eq!(
            schema(
                "test+algorithm+using+algorithm+separators+and+lots+of+characters+to+excercise+overall+truncation",
                "alsoSome=InTheEncodedSectionToShowHyphenReplacementAndLotsAndLotsOfCharactersToExcerciseEncodedTruncation",
            ),
            "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShowHyphenReplacementAndLotsAndLot",
        );
    }

    proptest! {
        #[test]
        fn every_digest_has_a_valid_tag(bytes: Vec<u8>, long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let tag = fallback_tag(&Digest::of(algorithm, &bytes));
            prop_assert_eq!(tag.len(), "sha256-".len() + 64);
            let repository = Repository::new("h.io", "a").unwrap();
            prop_assert!(repository.with_tag(&tag).is_ok());
        }

        #[test]
        fn any_algorithm_and_encoding_gives_a_valid_tag(
            algorithm in "[a-z0-9][a-z0-9+._-]{0,50}",
            encoded in "[a-zA-Z0-9=_-]{1,140}",
        ) {
            let tag = schema(&algorithm, &encoded);
            prop_assert!(tag.len() <= 97);
            prop_assert!(Repository::new("h.io", "a").unwrap().with_tag(&tag).is_ok());
        }
    }
}

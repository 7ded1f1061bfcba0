//! Where other registries deviate from the specification.

/// Checks that the distribution project's registry 2.8.2, as Debian packages it, is known not to pass.
pub(crate) const DOCKER_REGISTRY: &[&str] = &[
    // Tags come in the order of the directory, and `n` and `last` are ignored.
    "tags_are_sorted",
    "tags_come_in_pages",
    // A chunk is appended wherever it claims to belong.
    "chunk_out_of_order",
    // A blob pushed with sha512 is reported, and found, by its sha256; a manifest is refused.
    "sha512_blob",
    "sha512_manifest",
    // 400 MANIFEST_INVALID instead of 413.
    "too_large_manifest",
    // The layer must be there, unless its type is Docker's.
    "nondistributable_layer",
    // 500 instead of 400.
    "manifest_with_a_malformed_digest",
    // A 416 promises the whole blob and breaks off.
    "range_outside",
    // Only digests can be deleted.
    "delete_tag",
    // If-Match is ignored.
    "update_on_a_condition",
    // There is no Referrers API.
    "r1_digest_nobody_pushed",
    "r2_manifest_with_a_subject",
    "r3_index_with_a_subject",
    "r4_subject_that_does_not_exist",
    "r5_listing_is_complete",
    "r6_image_without_an_artifact_type",
    "r7_tagged_and_untagged",
    "r8_filter",
    "r9_index_without_an_artifact_type",
    "r10_content_type",
    "r11_deleted_referrer",
    "referrers_of_a_malformed_digest",
];

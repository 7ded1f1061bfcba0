//! The order in which candidates are tried. It depends on what they are, never on how they are listed.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use crate::artifact_type::AcceptedType;
use crate::{Descriptor, Platform, media_type};

/// The entries of `listed` that can be for `platform`, the best first: by the order of the accepted
/// types, then those that name the platform, then the newest, then the smallest digest.
pub(crate) fn rank<'a>(
    listed: &'a [Descriptor],
    accepted: &[AcceptedType],
    platform: &Platform,
    now: Timestamp,
) -> Vec<&'a Descriptor> {
    let mut ranked: Vec<_> = listed
        .iter()
        .filter_map(|entry| {
            let artifact_type = entry.artifact_type.as_deref()?;
            let preference = accepted.iter().position(|accepted| accepted.artifact_type == artifact_type)?;
            let named = platform_of(entry);
            let fits = named.as_ref().is_none_or(|named| named.is_same(platform));
            let readable = media_type::is_image(&entry.media_type) || media_type::is_index(&entry.media_type);
            (fits && readable).then(|| (preference, named.is_none(), Reverse(created(entry, now)), entry))
        })
        .collect();
    ranked.sort_by(|(preference, unnamed, created, entry), other| {
        let rest = |d: &'a Descriptor| (&d.digest, d.size, &d.media_type, &d.annotations);
        (preference, unnamed, created)
            .cmp(&(&other.0, &other.1, &other.2))
            .then_with(|| rest(entry).cmp(&rest(other.3)))
    });
    ranked.dedup_by(|a, b| a.3 == b.3);
    ranked.into_iter().map(|(.., entry)| entry).collect()
}

/// The platform that an entry names: in its descriptor, or in the annotations of artifact streaming.
pub(crate) fn platform_of(entry: &Descriptor) -> Option<Platform> {
    let annotated = || {
        let (os, arch) = (entry.annotation(STREAMING_OS)?, entry.annotation(STREAMING_ARCH)?);
        Some(Platform::new(os, arch))
    };
    entry.platform.clone().or_else(annotated)
}

/// When an entry was made, by its own account. Nobody gains by naming a time to come.
fn created(entry: &Descriptor, now: Timestamp) -> Option<Timestamp> {
    let created: Timestamp = entry.annotation(CREATED)?.parse().ok()?;
    let skewed = now.checked_add(CLOCK_SKEW).unwrap_or(now);
    (created <= skewed).then_some(created)
}

/// OCI image-spec, "Pre-Defined Annotation Keys".
const CREATED: &str = "org.opencontainers.image.created";
const STREAMING_OS: &str = "streaming.platform.os";
const STREAMING_ARCH: &str = "streaming.platform.arch";
/// How far clocks may differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::artifact_type::{AZURE_STREAMING, OVERLAYBD_NATIVE, OVERLAYBD_TURBO};
    use crate::{Digest, Kind};

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn entry(artifact_type: &str, name: u8, created: Option<&str>, platform: Option<Platform>) -> Descriptor {
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of(&[name]), 1);
        entry.artifact_type = Some(artifact_type.into());
        entry.platform = platform;
        entry.annotations.extend(created.map(|text| (CREATED.to_owned(), text.to_owned())));
        entry
    }

    fn ranked(listed: &[Descriptor]) -> Vec<Descriptor> {
        let amd64 = Platform::new("linux", "amd64");
        let now = NOW.parse().unwrap();
        rank(listed, &AcceptedType::all_known(), &amd64, now).into_iter().cloned().collect()
    }

    #[test]
    fn each_rule_decides_where_those_before_it_do_not() {
        let amd64 = || Some(Platform::new("linux", "amd64"));
        let expected = [
            entry(OVERLAYBD_NATIVE, 1, Some("2020-01-01T00:00:00Z"), amd64()),
            entry(OVERLAYBD_NATIVE, 2, Some("2025-12-31T22:59:30-01:00"), None),
            entry(OVERLAYBD_NATIVE, 3, Some("2025-12-31T23:59:00Z"), None),
            entry(OVERLAYBD_NATIVE, 4, Some("2026-01-01T00:06:00Z"), None),
            entry(AZURE_STREAMING, 5, None, None),
            entry(OVERLAYBD_TURBO, 6, Some("2025-01-01T00:00:00Z"), amd64()),
        ];
        let mut reversed = expected.to_vec();
        reversed.reverse();
        assert_eq!(ranked(&reversed), expected);
    }

    #[test]
    fn what_cannot_be_used_is_left_out() {
        let mut blob = entry(OVERLAYBD_NATIVE, 1, None, None);
        blob.media_type = "application/octet-stream".into();
        let mut streaming = entry(AZURE_STREAMING, 2, None, None);
        streaming.annotations.insert(STREAMING_OS.into(), "linux".into());
        streaming.annotations.insert(STREAMING_ARCH.into(), "arm64".into());
        let untyped = Descriptor::of(media_type::OCI_MANIFEST, b"");
        let arm64 = Some(Platform::new("linux", "arm64"));
        let listed =
            [blob, streaming, untyped, entry("a/b", 3, None, None), entry(OVERLAYBD_NATIVE, 4, None, arm64)];
        assert_eq!(ranked(&listed), []);
    }

    #[test]
    fn the_order_of_accepted_types_is_the_callers() {
        let listed = [entry(OVERLAYBD_NATIVE, 1, None, None), entry(OVERLAYBD_TURBO, 2, None, None)];
        let accepted = [
            AcceptedType::new(OVERLAYBD_TURBO, Kind::Turbo),
            AcceptedType::new(OVERLAYBD_NATIVE, Kind::Native),
        ];
        let amd64 = Platform::new("linux", "amd64");
        let order = rank(&listed, &accepted, &amd64, NOW.parse().unwrap());
        assert_eq!(order, [&listed[1], &listed[0]]);
    }

    fn any_entry() -> impl Strategy<Value = Descriptor> {
        let types = prop::sample::select(vec![OVERLAYBD_NATIVE, AZURE_STREAMING, OVERLAYBD_TURBO, "a/b"]);
        let times = prop::sample::select(vec![
            None,
            Some("yesterday"),
            Some("2025-01-01T00:00:00Z"),
            Some("2025-01-02T00:00:00Z"),
            Some("2027-01-01T00:00:00Z"),
        ]);
        let platforms = prop::sample::select(vec![
            None,
            Some(Platform::new("linux", "amd64")),
            Some(Platform::new("linux", "arm64")),
        ]);
        // Few names, so that one digest stands in several entries.
        (types, 0..4u8, times, platforms).prop_map(|(artifact_type, name, created, platform)| {
            entry(artifact_type, name, created, platform)
        })
    }

    proptest! {
        #[test]
        fn the_order_of_the_list_does_not_matter(
            (list, shuffled) in prop::collection::vec(any_entry(), 0..12)
                .prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle()))
        ) {
            prop_assert_eq!(ranked(&list), ranked(&shuffled));
        }
    }
}

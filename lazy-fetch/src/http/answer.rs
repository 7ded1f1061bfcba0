//! Whether the answer to a ranged GET holds the bytes that were asked for (RFC 9110, section 14).
//!
//! | status | what follows |
//! | --- | --- |
//! | 206 | `Content-Range` starts as asked, ends not later, and states the size of the blob or `*` |
//! | 200 | the whole blob, by its length: skip to the offset, within [`MAX_SKIP`] |
//! | 416 | the blob is shorter than stated |
//! | 401, 403 | denied (the source answers challenges before it comes to that) |
//! | 404 | not found |
//! | 429 | rate limited, with `Retry-After` |
//! | 408, 500, 502, 503, 504 | unavailable, with `Retry-After` |
//! | all else | not the protocol |
//!
//! A coded or multipart body is refused: its offsets are not those of the blob.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER,
};

use crate::{Error, ErrorKind, Result};

/// How the body of an accepted answer holds the wanted bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// Bytes to skip first.
    pub(super) skip: u64,
    /// Wanted bytes after that; fewer than asked for if the origin cut the range.
    pub(super) len: u64,
    /// Whether the blob goes on after them.
    pub(super) whole: bool,
}

/// Judges an answer to a request for `asked`, not empty, of a blob of `size` bytes.
pub(super) fn judge(status: u16, headers: &HeaderMap, asked: &Range<u64>, size: u64) -> Result<Body> {
    match status {
        206 => partial(headers, asked, size),
        200 => whole(headers, asked, size),
        _ => Err(refusal(status, headers)),
    }
}

fn partial(headers: &HeaderMap, asked: &Range<u64>, size: u64) -> Result<Body> {
    if text(headers, &CONTENT_TYPE)?.is_some_and(|t| t.to_ascii_lowercase().starts_with("multipart/")) {
        return Err(broken("a multipart body for one range"));
    }
    check_coding(headers)?;
    let stated = text(headers, &CONTENT_RANGE)?.ok_or_else(|| broken("a 206 without content-range"))?;
    let (first, last, total) =
        parse_content_range(stated).ok_or_else(|| broken("a content-range that is none"))?;
    if first != asked.start || last < first || last >= asked.end {
        return Err(broken(format!(
            "bytes {first}-{last} for bytes {}-{}",
            asked.start,
            asked.end.saturating_sub(1)
        )));
    }
    if let Some(total) = total
        && total != size
    {
        return Err(other_size(total, size));
    }
    let len = last.saturating_sub(first).saturating_add(1);
    match content_length(headers)? {
        Some(stated) if stated != len => {
            Err(broken(format!("a body of {stated} bytes for a range of {len}")))
        }
        _ => Ok(Body { skip: 0, len, whole: false }),
    }
}

fn whole(headers: &HeaderMap, asked: &Range<u64>, size: u64) -> Result<Body> {
    check_coding(headers)?;
    // Without a length, the blob cannot be told from an error page.
    match content_length(headers)? {
        None => return Err(broken("a 200 of unstated length")),
        Some(length) if length != size => return Err(other_size(length, size)),
        Some(_) => {}
    }
    if asked.start > MAX_SKIP {
        return Err(Error::new(
            ErrorKind::RangesUnsupported,
            format!("ranges are ignored, and byte {} is too far to skip to", asked.start),
        ));
    }
    Ok(Body { skip: asked.start, len: asked.end.saturating_sub(asked.start), whole: true })
}

/// The error that a status stands for.
fn refusal(status: u16, headers: &HeaderMap) -> Error {
    let kind = match status {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        408 | 500 | 502 | 503 | 504 => ErrorKind::Unavailable,
        416 => ErrorKind::SizeMismatch,
        429 => ErrorKind::RateLimited,
        _ => ErrorKind::Protocol,
    };
    let error = Error::new(kind, format!("status {status}"));
    match retry_after(headers) {
        Some(wait) if error.is_transient() => error.with_retry_after(wait),
        _ => error,
    }
}

/// How long the origin asks to wait.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    parse_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Some(seconds) = digits(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn check_coding(headers: &HeaderMap) -> Result<()> {
    match text(headers, &CONTENT_ENCODING)? {
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            Err(broken("a body with a content coding"))
        }
        _ => Ok(()),
    }
}

/// `bytes FIRST-LAST/TOTAL`, where `TOTAL` may be `*`.
fn parse_content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (unit, rest) = value.split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(digits(total)?) };
    Some((digits(first)?, digits(last)?, total))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>> {
    match text(headers, &CONTENT_LENGTH)? {
        None => Ok(None),
        Some(value) => digits(value).map(Some).ok_or_else(|| broken("a content-length that is none")),
    }
}

/// The one value of a header. Two values may contradict each other.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(broken(format!("more than one {name}")));
    }
    first.map(|v| v.to_str().map_err(|_| broken(format!("a {name} that is no text")))).transpose()
}

/// A number without sign or space, which `parse` alone would admit in part.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn broken(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Protocol, why)
}

fn other_size(theirs: u64, ours: u64) -> Error {
    Error::new(ErrorKind::SizeMismatch, format!("a blob of {theirs} bytes where {ours} were stated"))
}

/// What a server without ranges may make us read in vain.
const MAX_SKIP: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let mut map = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    fn range(value: &str) -> Result<Body> {
        judge(206, &headers(&[(CONTENT_RANGE, value)]), &(10..20), 100)
    }

    #[test]
    fn only_the_range_that_was_asked_for_is_taken() {
        assert_eq!(range("bytes 10-19/100").unwrap(), Body { skip: 0, len: 10, whole: false });
        assert_eq!(range("bytes 10-19/*").unwrap().len, 10);
        assert_eq!(range("Bytes 10-12/100").unwrap().len, 3);
        for wrong in [
            "bytes 0-19/100",
            "bytes 11-19/100",
            "bytes 10-20/100",
            "bytes 10-9/100",
            "bytes */100",
            "10-19/100",
            "bytes 10-19",
            "bytes +10-19/100",
            "bytes 10-19/",
            "items 10-19/100",
            "bytes 10-19/1e2",
            "",
            "bytes 10-18446744073709551616/100",
        ] {
            assert_eq!(range(wrong).unwrap_err().kind(), ErrorKind::Protocol, "{wrong}");
        }
        assert_eq!(range("bytes 10-19/99").unwrap_err().kind(), ErrorKind::SizeMismatch);
    }

    #[test]
    fn contradictions_and_codings_are_refused() {
        let good = (CONTENT_RANGE, "bytes 10-19/100");
        for bad in [
            (CONTENT_RANGE, "bytes 10-19/100"),
            (CONTENT_LENGTH, "11"),
            (CONTENT_LENGTH, "9"),
            (CONTENT_TYPE, "Multipart/byteranges; boundary=x"),
            (CONTENT_ENCODING, "gzip"),
        ] {
            let answer = judge(206, &headers(&[good.clone(), bad.clone()]), &(10..20), 100);
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Protocol, "{bad:?}");
        }
        let fine = headers(&[good, (CONTENT_LENGTH, "10"), (CONTENT_ENCODING, "identity")]);
        assert!(judge(206, &fine, &(10..20), 100).is_ok());
    }

    #[test]
    fn a_whole_blob_is_skipped_into_within_bounds() {
        let answer = |length: &str, asked: Range<u64>, size| {
            judge(200, &headers(&[(CONTENT_LENGTH, length)]), &asked, size)
        };
        assert_eq!(answer("100", 10..20, 100).unwrap(), Body { skip: 10, len: 10, whole: true });
        assert_eq!(answer("99", 0..20, 100).unwrap_err().kind(), ErrorKind::SizeMismatch);
        assert_eq!(judge(200, &HeaderMap::new(), &(0..1), 100).unwrap_err().kind(), ErrorKind::Protocol);
        let (far, size) = (MAX_SKIP + 1, 100 << 20);
        assert!(answer(&size.to_string(), MAX_SKIP..far, size).is_ok());
        assert_eq!(
            answer(&size.to_string(), far..far + 1, size).unwrap_err().kind(),
            ErrorKind::RangesUnsupported
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
    }

    proptest! {
        #[test]
        fn any_header_is_judged_without_panic_and_never_yields_more_than_asked(
            status in prop::sample::select(vec![200u16, 206, 301, 404, 416, 429, 500]),
            value in "[ -~]{0,40}", a in 0u64..200, b in 0u64..200, total in 0u64..200, valid: bool,
        ) {
            let value = if valid { format!("bytes {a}-{b}/{total}") } else { value };
            if let Ok(body) = judge(status, &headers(&[(CONTENT_RANGE, value.as_str())]), &(10..20), 100) {
                prop_assert!(body.len <= 10 && a == 10 && b < 20);
            }
        }
    }
}

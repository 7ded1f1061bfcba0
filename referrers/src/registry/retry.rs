//! When to ask again: growing waits, and what the registry asks for.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{Error, ErrorKind};

/// How often one request is sent at most.
pub(crate) const TRIES: u32 = 5;

/// Whether to ask once more after try number `tries` has failed with `error`. A registry that wants fewer
/// requests is asked for as long as there is time: it has not failed.
pub(crate) fn worth_another(tries: u32, error: &Error) -> bool {
    error.is_transient() && (tries < TRIES || matches!(error.kind(), ErrorKind::RateLimited { .. }))
}

/// How long to wait after the try number `tries` has failed with `error`.
///
/// The wait is a random part of a bound that doubles, so that those who failed together do not return
/// together; a wait that the registry asks for is kept, with such a part on top.
pub(crate) fn backoff(tries: u32, error: &Error) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(tries.saturating_sub(1)));
    match error.kind() {
        ErrorKind::RateLimited { retry_after: Some(asked) } => {
            (*asked).min(LONGEST_ASKED).saturating_add(random_part(FIRST))
        }
        _ => random_part(doubled.min(LONGEST)),
    }
}

/// The wait that a `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait: SignedDuration = date.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default())
}

/// A random duration below `bound`. The keys of a `RandomState` are as random as waits need to be.
pub(crate) fn random_part(bound: Duration) -> Duration {
    let share = f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX);
    bound.mul_f64(share)
}

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
const LONGEST_ASKED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_keep_what_is_asked() {
        let failure = Error::new(ErrorKind::Network, "GET h/p");
        for tries in 1..100 {
            let bound = FIRST.saturating_mul(1 << (tries - 1).min(10)).min(LONGEST);
            assert!(backoff(tries, &failure) <= bound);
        }
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            backoff(1, &Error::new(ErrorKind::RateLimited { retry_after }, "GET h/p"))
        };
        assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&asked(7)));
        assert!(asked(100_000) <= LONGEST_ASKED + FIRST);
        let waits: std::collections::HashSet<_> = (0..8).map(|_| backoff(5, &failure)).collect();
        assert!(waits.len() > 1, "waits are not random");
    }

    #[test]
    fn both_forms_of_retry_after() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        let wait = |text| parse_retry_after(text, now);
        assert_eq!(wait(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }
}

//! Which way to the bytes is known, and who is finding it.
//!
//! A registry answers a blob request with a redirect to a signed URL at a storage host. Going there
//! directly saves a round trip per request, for as long as the signature lives. Until the way is known,
//! one request goes to find it and the others wait for that one: a start that begins with fifty reads
//! asks the registry once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use reqwest::Url;
use tokio::time::Instant;

use super::endpoint::presentable;
use crate::source::{FetchRequest, Progress, Urgency};
use crate::sync::{Mutex, lock};

/// The way to one blob.
#[derive(Default)]
pub(super) struct Way {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    finding: Option<Finding>,
}

/// What the last request found.
#[derive(Clone, PartialEq, Eq)]
enum Known {
    /// The endpoint serves the bytes itself.
    Home,
    /// The signed URL that worked last, and when not to rely on it any more.
    Signed(Url, Instant),
}

#[derive(Clone)]
struct Finding {
    done: Shared<oneshot::Receiver<()>>,
    urgency: Urgency,
    progress: Progress,
}

/// The duty to find the way; the others go on when it is dropped.
pub(super) struct Finder {
    state: Arc<Mutex<State>>,
    _done: oneshot::Sender<()>,
}

/// Where to go.
pub(super) enum Start {
    /// To the endpoint. With a finder, others wait for the outcome.
    Endpoint(Option<Finder>),
    /// To the storage host.
    Signed(Url),
}

impl Way {
    /// Where a request starts. Waits for a request that is finding the way, which becomes as urgent as this
    /// one; should that one fail, nobody waits a second time.
    pub(super) async fn start(&self, request: &FetchRequest) -> Start {
        match self.look(request) {
            Ok(start) => start,
            Err(finding) => {
                finding.urgency.raise(request.urgency.get());
                // The sender is dropped, never used.
                let _ = request.progress.following(&finding.progress, finding.done).await;
                match self.known(Instant::now()) {
                    Some(Known::Signed(url, _)) => Start::Signed(url),
                    Some(Known::Home) | None => Start::Endpoint(None),
                }
            }
        }
    }

    /// The endpoint's redirect led to `url` and the bytes were there.
    pub(super) fn leads_to(&self, url: Url) {
        let until = Instant::now().checked_add(lifetime(&url, SystemTime::now()));
        lock(&self.state).known = until.map(|until| Known::Signed(url, until));
    }

    /// The endpoint had the bytes.
    pub(super) fn leads_home(&self) {
        lock(&self.state).known = Some(Known::Home);
    }

    /// Forgets `url`, unless another one has taken its place.
    pub(super) fn forget(&self, url: &Url) {
        lock(&self.state).known.take_if(|known| matches!(known, Known::Signed(known, _) if known == url));
    }

    fn known(&self, now: Instant) -> Option<Known> {
        let mut state = lock(&self.state);
        state.known.take_if(|known| matches!(known, Known::Signed(_, until) if *until <= now));
        state.known.clone()
    }

    fn look(&self, request: &FetchRequest) -> Result<Start, Finding> {
        match self.known(Instant::now()) {
            Some(Known::Signed(url, _)) => return Ok(Start::Signed(url)),
            Some(Known::Home) => return Ok(Start::Endpoint(None)),
            None => {}
        }
        let mut state = lock(&self.state);
        if let Some(finding) = &state.finding {
            return Err(finding.clone());
        }
        let (sender, receiver) = oneshot::channel();
        let (urgency, progress) = (request.urgency.clone(), request.progress.clone());
        state.finding = Some(Finding { done: receiver.shared(), urgency, progress });
        Ok(Start::Endpoint(Some(Finder { state: Arc::clone(&self.state), _done: sender })))
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        lock(&self.state).finding = None;
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match &lock(&self.state).known {
            None => "unknown".to_owned(),
            Some(Known::Home) => "home".to_owned(),
            Some(Known::Signed(url, _)) => presentable(url.as_str()),
        };
        f.debug_tuple("Way").field(&shown).finish()
    }
}

/// How long `url`, just received, may be used: until shortly before the end that its signature states,
/// and not longer than [`LIFETIME`].
///
/// | who | query |
/// | --- | --- |
/// | AWS Signature V4 and its likes, Google | `X-Amz-Date` + `X-Amz-Expires`, `X-Goog-…` |
/// | AWS V2, CloudFront, Alibaba OSS | `Expires`, seconds since 1970 |
/// | Azure | `se`, a date |
fn lifetime(url: &Url, now: SystemTime) -> Duration {
    let value = |name: &str| {
        url.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.into_owned())
    };
    let signed = |vendor: &str| {
        let date = seconds_of(&value(&format!("X-{vendor}-Date"))?)?;
        date.checked_add(value(&format!("X-{vendor}-Expires"))?.parse().ok()?)
    };
    let end = signed("Amz")
        .or_else(|| signed("Goog"))
        .or_else(|| value("Expires")?.parse().ok())
        .or_else(|| seconds_of(&value("se")?));
    let Some(end) = end.and_then(|end| UNIX_EPOCH.checked_add(Duration::from_secs(end))) else {
        return LIFETIME;
    };
    end.duration_since(now).unwrap_or_default().saturating_sub(MARGIN).min(LIFETIME)
}

/// Seconds since 1970 of `YYYYMMDDTHHMMSSZ`, with `-` and `:` or without.
#[allow(clippy::arithmetic_side_effects, reason = "fields of four and two digits, from 1970 on")]
fn seconds_of(date: &str) -> Option<u64> {
    let digits: String = date.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let field = |at: std::ops::Range<usize>| digits.get(at)?.parse::<u64>().ok();
    if digits.len() != 16 || digits.get(8..9)? != "T" || digits.get(15..)? != "Z" {
        return None;
    }
    let (year, month, day) = (field(0..4)?, field(4..6)?, field(6..8)?);
    let (hour, minute, second) = (field(9..11)?, field(11..13)?, field(13..15)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // A year that begins in March has its leap day at its end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - DAYS_BEFORE_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// What the reference implementation uses where nothing is stated; signatures usually live longer.
const LIFETIME: Duration = Duration::from_secs(300);
/// Clocks differ, and a request takes time.
const MARGIN: Duration = Duration::from_secs(30);
/// From the first of March of the year 0, in the Gregorian calendar.
const DAYS_BEFORE_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Priority;

    fn request(priority: Priority) -> FetchRequest {
        let deadline = Instant::now().checked_add(Duration::from_secs(1000)).unwrap();
        FetchRequest::new(0..1, deadline.into()).with_urgency(Urgency::new(priority))
    }

    fn url(query: &str) -> Url {
        Url::parse(&format!("https://storage.example/blob?{query}")).unwrap()
    }

    #[test]
    fn dates_are_read() {
        assert_eq!(seconds_of("19700101T000000Z"), Some(0));
        assert_eq!(seconds_of("20240229T235959Z"), Some(1_709_251_199));
        assert_eq!(seconds_of("2026-11-24T11:22:33Z"), Some(1_795_519_353));
        for wrong in ["", "2026-11-24", "20261324T112233Z", "2026112xT112233Z", "20261124T112233", "äääää123"]
        {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_signed_url_is_left_before_its_signature_ends() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_519_353);
        for (query, seconds) in [
            ("X-Amz-Date=20261124T112133Z&X-Amz-Expires=180&X-Amz-Signature=x", 90),
            ("x-goog-date=20261124T112233Z&x-goog-expires=60", 30),
            ("Expires=1795519403&Signature=x", 20),
            ("sv=1&se=2026-11-24T11%3A23%3A33Z&sig=x", 30),
            ("se=2026-11-24T11:00:00Z", 0),
            ("X-Amz-Date=20261124T112233Z&X-Amz-Expires=86400", 300),
            ("Expires=18446744073709551615", 300),
            ("X-Amz-Expires=5", 300),
            ("", 300),
        ] {
            assert_eq!(lifetime(&url(query), now), Duration::from_secs(seconds), "{query}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_finds_the_way_and_the_others_wait() {
        let way = Way::default();
        let (prefetch, demand) = (request(Priority::Prefetch), request(Priority::OnDemand));
        let Start::Endpoint(Some(finder)) = way.start(&prefetch).await else { panic!("no finder") };
        let mut second = Box::pin(way.start(&demand));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(prefetch.urgency.get(), Priority::OnDemand, "a reader waits for the finder");
        way.leads_to(url("sig=1"));
        drop(finder);
        assert!(matches!(second.await, Start::Signed(found) if found == url("sig=1")));
        assert!(!format!("{way:?}").contains("sig"));

        tokio::time::advance(LIFETIME).await;
        assert!(matches!(way.start(&demand).await, Start::Endpoint(Some(_))));
    }

    #[tokio::test]
    async fn a_finder_that_fails_lets_all_go() {
        let (way, requests) = (Way::default(), [(); 6].map(|()| request(Priority::OnDemand)));
        let Start::Endpoint(finder @ Some(_)) = way.start(&requests[0]).await else { panic!("no finder") };
        let mut waiting: Vec<_> = requests[1..].iter().map(|request| Box::pin(way.start(request))).collect();
        assert!(waiting.iter_mut().all(|start| start.now_or_never().is_none()));
        drop(finder);
        assert!(waiting.iter_mut().all(|start| matches!(start.now_or_never(), Some(Start::Endpoint(None)))));
    }

    #[tokio::test]
    async fn a_way_home_is_known_too_and_a_url_is_forgotten_only_by_its_own_name() {
        let (way, request) = (Way::default(), request(Priority::OnDemand));
        way.leads_home();
        assert!(matches!(way.start(&request).await, Start::Endpoint(None)));
        way.leads_to(url("sig=2"));
        way.forget(&url("sig=1"));
        assert!(matches!(way.start(&request).await, Start::Signed(_)));
        way.forget(&url("sig=2"));
        assert!(matches!(way.start(&request).await, Start::Endpoint(Some(_))));
    }
}

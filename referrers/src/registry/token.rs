//! Tokens: asking a token server (the distribution project's token authentication).

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::time::Duration;

use base64::Engine as _;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::{Error, ErrorKind, Registry, Result, Secret};

use super::exchange::{self, network};
use super::retry::parse_retry_after;

/// What a token server gave.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    /// How long it may be used, from now.
    pub(crate) lifetime: Duration,
}

/// In whose name a token is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Grant<'a> {
    Anonymous,
    /// Of a user: the header with user and password.
    Basic(&'a HeaderValue),
    /// Of whoever an identity token was made for.
    Identity(&'a Secret),
}

impl Registry {
    /// Asks for a token; `None` if the token server refuses the credential.
    ///
    /// Whether a credential may go to the realm is judged by the caller. Redirects are not followed: a realm is
    /// judged by its host, and a redirect would leave it.
    pub(crate) async fn token(
        &self,
        registry: &Url,
        mut realm: Url,
        service: Option<&str>,
        scopes: &[String],
        grant: Grant<'_>,
    ) -> Result<Option<Token>> {
        let http = self.client_for(&realm, registry, &exchange::place(&Method::GET, &realm))?;
        let asked = service.map(|service| ("service", service)).into_iter();
        let asked = asked.chain([("client_id", env!("CARGO_PKG_NAME"))]);
        let (method, request) = if let Grant::Identity(secret) = grant {
            // The OAuth 2.0 form, whose secrets are in the body.
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", secret.expose());
            let request = http
                .post(realm.clone())
                .body(form.extend_pairs(asked).append_pair("scope", &scopes.join(" ")).finish());
            (Method::POST, request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"))
        } else {
            let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
            realm.query_pairs_mut().extend_pairs(asked).extend_pairs(scopes);
            (Method::GET, http.get(realm.clone()))
        };
        let place = exchange::place(&method, &realm);
        let mut request = request.header(ACCEPT_ENCODING, "identity");
        if let Grant::Basic(basic) = grant {
            request = request.header(AUTHORIZATION, basic.clone());
        }
        let response = request.send().await.map_err(|e| network(&place, e))?;
        let status = response.status();
        match status.as_u16() {
            200..=299 => {}
            300..=399 => return Err(Error::refused(place, "a redirected token request")),
            401 | 403 => return Ok(None),
            // What OAuth 2.0 says of a token that is expired or unknown (RFC 6749, 5.2).
            400 if method == Method::POST => return Ok(None),
            429 => {
                let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = asked.and_then(|text| parse_retry_after(text, Timestamp::now()));
                return Err(Error::new(ErrorKind::RateLimited { retry_after }, place));
            }
            status => return Err(Error::new(ErrorKind::Status { status, code: None }, place)),
        }
        let body = exchange::read(response, self.0.options.limits.token, &place).await?;
        let now = Timestamp::now().as_second();
        Token::parse(&body, now).map(Some).map_err(|why| Error::protocol(place, "token", why))
    }
}

impl Token {
    /// Reads the answer. A parser's message could quote the token and is left out.
    ///
    /// `now` is in seconds since 1970, for tokens that say themselves when they expire.
    fn parse(body: &[u8], now: i64) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Body {
            token: Option<String>,
            access_token: Option<String>,
            #[serde(default)]
            expires_in: serde_json::Value,
        }
        let body: Body =
            serde_json::from_slice(body).map_err(|_| "the answer is not the JSON it should be")?;
        let text = body.token.filter(|text| !text.is_empty()).or(body.access_token);
        let text = text.filter(|text| !text.is_empty()).ok_or("the answer holds none")?;
        let own = expiry(&text).and_then(|expiry| u64::try_from(expiry.checked_sub(now)?).ok());
        let stated = body.expires_in.as_u64();
        // A clock that is wrong by more than a token's life is no reason to have none.
        let seconds = match (stated, own.filter(|seconds| *seconds > 0)) {
            (Some(stated), Some(own)) => stated.min(own),
            (stated, own) => stated.or(own).unwrap_or(DEFAULT_LIFETIME),
        };
        let seconds = seconds.min(LONGEST_LIFETIME);
        let lifetime = Duration::from_secs(seconds);
        // A token that expires on the way is refused; it is renewed a little before.
        let margin = lifetime.div_f64(10.0).max(Duration::from_secs(5));
        Ok(Self { secret: Secret::new(text), lifetime: lifetime.saturating_sub(margin) })
    }
}

/// When a token says that it expires, if it is one that says so (RFC 7519, `exp`). Nothing depends on whether
/// that is true: the registry decides.
fn expiry(token: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = token.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice::<Claims>(&claims).ok().map(|claims| claims.exp)
}

/// An `Authorization` header with a token.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    sensitive(format!("Bearer {}", token.expose()))
}

/// An `Authorization` header with user and password (RFC 7617).
pub(crate) fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    let pair = format!("{username}:{}", password.expose());
    sensitive(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

fn sensitive(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Seconds that a token lives if its server does not say.
const DEFAULT_LIFETIME: u64 = 60;
/// A day; a longer promise is not needed and would overflow dates.
const LONGEST_LIFETIME: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_and_the_lifetime() {
        for (body, text, seconds) in [
            (r#"{"token":"a","access_token":"b","expires_in":300}"#, "a", 270),
            (r#"{"token":"","access_token":"b","expires_in":"300"}"#, "b", 54),
            (r#"{"token":"a"}"#, "a", 54),
            (r#"{"token":"a","expires_in":3}"#, "a", 0),
            (r#"{"token":"a","expires_in":18446744073709551615}"#, "a", 77_760),
        ] {
            let token = Token::parse(body.as_bytes(), 1_000_000).unwrap();
            assert_eq!(
                (token.secret.expose(), token.lifetime),
                (text, Duration::from_secs(seconds)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_token_that_says_when_it_expires_is_believed_if_that_is_sooner() {
        let token = |exp: i64| {
            let claims =
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
            format!("h.{claims}.s")
        };
        for (exp, rest, seconds) in [
            (1_000_100, "", 90),
            (1_000_100, r#","expires_in":50"#, 45),
            (1_000_100, r#","expires_in":3600"#, 90),
            (999_000, r#","expires_in":3600"#, 3240),
            (999_000, "", 54),
        ] {
            let body = format!(r#"{{"token":"{}"{rest}}}"#, token(exp));
            let token = Token::parse(body.as_bytes(), 1_000_000).unwrap();
            assert_eq!(token.lifetime, Duration::from_secs(seconds), "{exp} {rest}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_answer() {
        for body in ["", "{}", "[]", r#"{"token":7}"#, r#"{"token":""}"#, "hunter2"] {
            let why = Token::parse(body.as_bytes(), 1_000_000).unwrap_err();
            assert!(!why.contains("hunter2"));
        }
    }

    #[test]
    fn headers_are_not_shown() {
        let header = basic("Aladdin", &Secret::new("open sesame")).unwrap();
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{header:?}").contains("QWxh"));
        assert!(bearer(&Secret::new("a\nb")).is_none());
    }
}

//! Tokens: asking a token server (the distribution project's token authentication).

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::{Error, ErrorKind, Registry, Result, Secret};

use super::exchange::{self, network};

/// What a token server gave.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    /// How long it may be used, from now.
    pub(crate) lifetime: Duration,
}

impl Registry {
    /// Asks for a token of one scope; `None` if the token server refuses the credential.
    ///
    /// Whether `basic` may go to the realm is judged by the caller. Redirects are not followed: a realm is
    /// judged by its host, and a redirect would leave it.
    pub(crate) async fn token(
        &self,
        mut realm: Url,
        service: Option<&str>,
        scope: &str,
        basic: Option<&HeaderValue>,
    ) -> Result<Option<Token>> {
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", scope).append_pair("client_id", env!("CARGO_PKG_NAME"));
        }
        let place = exchange::place(&Method::GET, &realm);
        let mut request = self.0.http.get(realm).header(ACCEPT_ENCODING, "identity");
        if let Some(basic) = basic {
            request = request.header(AUTHORIZATION, basic.clone());
        }
        let response = request.send().await.map_err(|e| network(&place, e))?;
        let status = response.status();
        match status.as_u16() {
            200..=299 => {}
            300..=399 => return Err(Error::refused(place, "a redirected token request")),
            401 | 403 => return Ok(None),
            429 => return Err(Error::new(ErrorKind::RateLimited { retry_after: None }, place)),
            status => return Err(Error::new(ErrorKind::Status { status, code: None }, place)),
        }
        let body = exchange::read(response, self.0.options.limits.token, &place).await?;
        Token::parse(&body).map(Some).map_err(|why| Error::protocol(place, "token", why))
    }
}

impl Token {
    /// Reads the answer. A parser's message could quote the token and is left out.
    fn parse(body: &[u8]) -> Result<Self, &'static str> {
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
        let seconds = body.expires_in.as_u64().unwrap_or(DEFAULT_LIFETIME).min(LONGEST_LIFETIME);
        let lifetime = Duration::from_secs(seconds);
        // A token that expires on the way is refused; it is renewed a little before.
        let margin = lifetime.div_f64(10.0).max(Duration::from_secs(5));
        Ok(Self { secret: Secret::new(text), lifetime: lifetime.saturating_sub(margin) })
    }
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
            let token = Token::parse(body.as_bytes()).unwrap();
            assert_eq!(
                (token.secret.expose(), token.lifetime),
                (text, Duration::from_secs(seconds)),
                "{body}"
            );
        }
    }

    #[test]
    fn errors_do_not_quote_the_answer() {
        for body in ["", "{}", "[]", r#"{"token":7}"#, r#"{"token":""}"#, "hunter2"] {
            let why = Token::parse(body.as_bytes()).unwrap_err();
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

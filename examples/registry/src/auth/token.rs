//! The token endpoint: the GET form with Basic credentials, and the OAuth2 POST form.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use hyper::{Method, StatusCode};
use serde_json::json;

use super::{Account, Auth, Bearer, Gate, Scope, basic};
use crate::call::{Answer, Call, With, answer, form};
use crate::faults::{Fault, Faults};
use crate::refusal::Refusal;

impl Gate {
    /// Answers a request for a token.
    pub(crate) async fn token(&self, call: &mut Call, faults: &Faults) -> Answer {
        let Auth::Bearer(bearer) = &self.auth else { return Err(Refusal::unsupported()) };
        let elsewhere = faults.strike(call.path(), |fault| match fault {
            Fault::RealmRedirect { to } => Some(to.clone()),
            _ => None,
        });
        if let Some(to) = elsewhere {
            return Ok(answer(StatusCode::TEMPORARY_REDIRECT).with(LOCATION, to));
        }
        let (known, asked) = match *call.method() {
            Method::GET => (self.by_header(bearer, call)?, call.query().to_vec()),
            Method::POST => {
                let asked = form(&call.read_body(FORM_MAX).await?);
                self.by_grant(bearer, &asked)?;
                (true, asked)
            }
            _ => return Err(Refusal::unsupported()),
        };
        let value =
            |key: &'static str| asked.iter().filter(move |(name, _)| name == key).map(|(_, value)| value);
        // One scope a parameter in the GET form, one parameter for all in the POST form.
        let scopes =
            value("scope").flat_map(|scopes| scopes.split(' ')).filter_map(|scope| scope.parse().ok());
        let granted: Vec<Scope> = if known {
            scopes.collect()
        } else if bearer.anonymous_pull {
            scopes.map(Scope::read_only).collect()
        } else {
            Vec::new()
        };
        let lifetime = faults.strike(call.path(), |fault| match fault {
            Fault::TokenLifetime(lifetime) => Some(*lifetime),
            _ => None,
        });
        let token = self.issue(granted, lifetime.unwrap_or(bearer.lifetime))?;
        let mut body = json!({
            "token": token,
            "access_token": token,
            "expires_in": bearer.lifetime.as_secs(),
        });
        let offline = value("offline_token").any(|value| value == "true")
            || value("access_type").any(|value| value == "offline");
        if let Some(fields) = body.as_object_mut().filter(|_| known && offline) {
            fields.insert("refresh_token".to_owned(), self.issue_refresh()?.into());
        }
        Ok(answer(StatusCode::OK).with(CONTENT_TYPE, "application/json").with_body(body.to_string()))
    }

    /// Whether the header names the account (true) or nobody (false).
    fn by_header(&self, bearer: &Bearer, call: &Call) -> Result<bool, Refusal> {
        match basic(call.headers()) {
            Some(account) if account == bearer.account => Ok(true),
            None if !call.headers().contains_key(AUTHORIZATION) => Ok(false),
            _ => Err(denied()),
        }
    }

    fn by_grant(&self, bearer: &Bearer, asked: &[(String, String)]) -> Result<(), Refusal> {
        let value = |key| asked.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
        let good = match value("grant_type") {
            "password" => Account::new(value("username"), value("password")) == bearer.account,
            "refresh_token" => self.is_refresh(value("refresh_token")),
            _ => false,
        };
        if good { Ok(()) } else { Err(denied()) }
    }
}

fn denied() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "unknown user or wrong password")
}

/// Longest form body in bytes.
const FORM_MAX: usize = 64 << 10;

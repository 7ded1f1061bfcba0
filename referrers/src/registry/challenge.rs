//! Challenges: what a registry says it wants to see (RFC 9110, 11.6.1).

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

/// A challenge in one of the two schemes that registries use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from a token server.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// The name of the registry that the token server knows.
        service: Option<String>,
    },
    /// User and password.
    Basic,
}

impl Challenge {
    /// The best of the challenges in the values of `WWW-Authenticate`: Bearer before Basic, because a token
    /// is worth less to a thief. A value that cannot be read is passed over.
    ///
    /// The scopes of a challenge are not used: a registry does not decide how much is asked for.
    pub(crate) fn best<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for value in values {
            let Ok(challenges) = http_auth::parse_challenges(value) else { continue };
            for challenge in challenges {
                let param = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = param("realm")
                {
                    return Some(Self::Bearer { realm, service: param("service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_best_of_all_values_is_taken() {
        let bearer = |service: Option<&str>| {
            let service = service.map(str::to_owned);
            Some(Challenge::Bearer { realm: "https://a.io/t?x=\"1\"".into(), service })
        };
        for (values, expected) in [
            (
                vec![r#"Bearer realm="https://a.io/t?x=\"1\"",service="s",scope="repository:a:pull""#],
                bearer(Some("s")),
            ),
            (vec![r#"Basic realm="x", bearer service=s, realm="https://a.io/t?x=\"1\"""#], bearer(Some("s"))),
            (vec![r#"BASIC realm="x""#, r#"BEARER Realm="https://a.io/t?x=\"1\"""#], bearer(None)),
            (vec!["Bearer", r#"Basic realm="x""#], Some(Challenge::Basic)),
            (vec!["\u{7f}=,=", "Basic"], Some(Challenge::Basic)),
            (vec!["Negotiate", "Bearer service=\"s\""], None),
            (vec![], None),
        ] {
            assert_eq!(Challenge::best(values.iter().copied()), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", token in "[ ,=\"\\\\a-zB]{0,60}") {
            let _ = Challenge::best([&*text, &*token]);
        }
    }
}

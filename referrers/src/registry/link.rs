//! The `Link` header that leads to the next page (RFC 8288).

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

/// The target of the first link with the relation `next` among the values of `Link`.
pub(crate) fn next<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    values.into_iter().find_map(|value| links(value).find(|link| link.is_next).map(|link| link.target))
}

struct Link<'a> {
    target: &'a str,
    is_next: bool,
}

/// The links of one value; stops at the first thing that is none.
fn links(mut rest: &str) -> impl Iterator<Item = Link<'_>> {
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let (target, params) = rest.strip_prefix('<')?.split_once('>')?;
        let mut relation = None;
        rest = params;
        while let Some(param) = rest.trim_start().strip_prefix(';') {
            let (name, after) = split_at_any(param, &['=', ';', ',']);
            let (value, after) = match after.strip_prefix('=') {
                Some(after) => parameter_value(after.trim_start()),
                None => ("", after),
            };
            // Only the first "rel" of a link counts.
            if name.trim().eq_ignore_ascii_case("rel") && relation.is_none() {
                relation = Some(value);
            }
            rest = after;
        }
        let is_next =
            relation.is_some_and(|r| r.split_ascii_whitespace().any(|r| r.eq_ignore_ascii_case("next")));
        Some(Link { target, is_next })
    })
}

/// A token or a quoted string, and what follows it. Relations hold no escapes, so none are undone.
fn parameter_value(text: &str) -> (&str, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = split_at_any(text, &[';', ',']);
        return (value.trim(), after);
    };
    let mut escaped = false;
    let end = quoted.find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    match end.and_then(|end| quoted.split_at_checked(end)) {
        Some((value, after)) => (value, after.strip_prefix('"').unwrap_or(after)),
        None => (quoted, ""),
    }
}

fn split_at_any<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    let end = text.find(ends).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_link_is_found_wherever_it_stands() {
        for (values, expected) in [
            (vec![r#"</v2/a?n=1&last=x>; rel="next""#], Some("/v2/a?n=1&last=x")),
            (vec!["</a>;rel=next"], Some("/a")),
            (vec![r#"</p>; rel="prev" , </n>; rel="next""#], Some("/n")),
            (vec![r#"</p>; rel="prev""#, r#"</n>; title="a,b;c\"<x>"; REL="last Next""#], Some("/n")),
            (vec![r#"</a,b;c>; rel=next"#], Some("/a,b;c")),
            (vec![r#"</p>; rel=prev; rel=next"#], None),
            (vec![r#"</p>; title="; rel=next""#], None),
            (vec!["</p>"], None),
            (vec!["/p; rel=next"], None),
            (vec!["</p; rel=next"], None),
            (vec![r#"<>; rel="next"#], Some("")),
            (vec![], None),
        ] {
            assert_eq!(next(values.iter().copied()), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_hang(text in "[<>;,=\" \\\\a-z-é]{0,80}") {
            let _ = next([&*text]);
        }
    }
}

//! Scopes of the token specification: `repository:<name>:<actions>`.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::fmt;
use std::str::FromStr;

use hyper::Method;

use crate::call::Call;
use crate::name::Repository;
use crate::route::Route;

/// A repository and what may be done with it. The name is what a client wrote and need not be a valid
/// repository name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    repository: String,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Scope {
    fn new(repository: &Repository, actions: &[Action]) -> Self {
        Self { repository: repository.as_str().to_owned(), actions: actions.to_vec() }
    }

    /// What a call needs: reads need `pull`, writes `pull,push`, deletes `delete`; a mount also needs
    /// `pull` of its source.
    pub(crate) fn needs(route: &Route, call: &Call) -> Vec<Self> {
        let Some(repository) = route.repository() else { return Vec::new() };
        match *call.method() {
            Method::GET | Method::HEAD => vec![Self::new(repository, &[Action::Pull])],
            // Ending an upload is part of pushing.
            Method::DELETE if !matches!(route, Route::Upload(..)) => {
                vec![Self::new(repository, &[Action::Delete])]
            }
            _ => {
                let source = call.parameter("from").and_then(|from| from.parse().ok());
                let source = source.map(|from| Self::new(&from, &[Action::Pull]));
                [Self::new(repository, &[Action::Pull, Action::Push])].into_iter().chain(source).collect()
            }
        }
    }

    pub(super) fn covers(&self, need: &Self) -> bool {
        need.actions.iter().all(|action| self.allows(&need.repository, *action))
    }

    pub(super) fn allows(&self, repository: &str, action: Action) -> bool {
        self.repository == repository && self.actions.contains(&action)
    }

    /// The same scope without the right to change anything.
    pub(super) fn read_only(mut self) -> Self {
        self.actions.retain(|action| *action == Action::Pull);
        self
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<_> = self.actions.iter().map(|action| action.name()).collect();
        write!(f, "repository:{}:{}", self.repository, actions.join(","))
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    /// The name may hold colons, so the last one divides. Unknown actions are not granted; `*` is all.
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let rest = text.strip_prefix("repository:").ok_or(UnknownScope)?;
        let (repository, actions) = rest.rsplit_once(':').ok_or(UnknownScope)?;
        let asked = |action: &Action| actions.split(',').any(|name| name == action.name() || name == "*");
        let actions = Action::ALL.into_iter().filter(asked).collect();
        Ok(Self { repository: repository.to_owned(), actions })
    }
}

/// A scope of another kind than a repository; nothing is granted for it.
#[derive(Debug)]
pub(crate) struct UnknownScope;

impl Action {
    const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_and_cover() {
        let scope: Scope = "repository:host:5000/a/b:pull,push,fly".parse().unwrap();
        assert_eq!(scope.to_string(), "repository:host:5000/a/b:pull,push");
        let all: Scope = "repository:a:*".parse().unwrap();
        assert!(all.covers(&"repository:a:pull,delete".parse().unwrap()));
        assert!(!all.covers(&"repository:b:pull".parse().unwrap()));
        assert!(!all.read_only().covers(&"repository:a:push".parse().unwrap()));
        assert!("registry:catalog:*".parse::<Scope>().is_err());
    }
}

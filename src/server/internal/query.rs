//! The query of a request to the internal listener: each name once, and none that is not known.
//!
//! A misspelt filter that was ignored would answer for everybody.

use std::str::FromStr;

use crate::event::Name;
use crate::server::respond::ApiProblem;

/// More than any path knows: each is held against all before it.
const MAX_PARAMS: usize = 64;

/// The parameters that no handler has taken yet.
pub(super) struct QueryParams {
    pairs: Vec<(String, String)>,
}

impl QueryParams {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiProblem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if pairs.len() >= MAX_PARAMS {
                return Err(ApiProblem::bad_query(format!("there are more than {MAX_PARAMS} in the query")));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(ApiProblem::bad_query(format!("`{}` is given twice in the query", shown(&name))));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The value of `name`.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(other, _)| other == name)?;
        Some(self.pairs.swap_remove(at).1)
    }

    /// Every parameter whose name begins with `prefix`, without it.
    pub(super) fn behind(&mut self, prefix: &str) -> Vec<(String, String)> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pairs).into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.pairs = left;
        taken.into_iter().map(|(name, text)| (name[prefix.len()..].to_owned(), text)).collect()
    }

    /// A name of a user, a topic or the like.
    pub(super) fn name(&mut self, name: &str) -> Result<Option<Name>, ApiProblem> {
        let parse =
            |text: String| Name::parse(&text).map_err(|why| ApiProblem::bad_query(format!("`{name}` {why}")));
        self.text(name).map(parse).transpose()
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiProblem> {
        self.parsed(name, "true or false")
    }

    /// A number from `min` to `max`.
    pub(super) fn number(&mut self, name: &str, min: usize, max: usize) -> Result<Option<usize>, ApiProblem> {
        let what = format!("a whole number from {min} to {max}");
        match self.parsed(name, &what)? {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            Some(_) => Err(must_be(name, &what)),
            None => Ok(None),
        }
    }

    /// A value of any type, of which `what` says what it has to be.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, what: &str) -> Result<Option<T>, ApiProblem> {
        self.text(name).map(|text| text.parse().map_err(|_| must_be(name, what))).transpose()
    }

    /// An error when a parameter is left that no handler knows.
    pub(super) fn end(self) -> Result<(), ApiProblem> {
        match self.pairs.first() {
            Some((name, _)) => Err(ApiProblem::bad_query(format!(
                "`{}` is not known in the query of this path",
                shown(name)
            ))),
            None => Ok(()),
        }
    }
}

fn must_be(name: &str, what: &str) -> ApiProblem {
    ApiProblem::bad_query(format!("`{name}` in the query has to be {what}"))
}

/// Not longer than anybody reads.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> bool {
        let take = |query: &str| {
            let mut query = QueryParams::parse(Some(query))?;
            query.flag("count")?;
            query.number("limit", 1, 5)?;
            query.end()
        };
        take(query).is_err()
    }

    #[test]
    fn a_parameter_is_known_stands_once_and_has_a_value_that_fits() {
        for good in ["", "count=true", "limit=5&count=false"] {
            assert!(!refused(good), "{good}");
        }
        for bad in [
            "count",
            "count=1",
            "count=true&count=true",
            "limit=0",
            "limit=6",
            "limit=x",
            "page=1",
            "a=1&a=1",
        ] {
            assert!(refused(bad), "{bad}");
        }
    }
}

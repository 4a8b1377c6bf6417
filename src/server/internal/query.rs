//! The query of a request to the internal listener: each name once, and none that is not known.
//!
//! A misspelt filter that was passed over would answer for everybody.

use std::str::FromStr;

use http::StatusCode;

use crate::event::Name;
use crate::server::problem::Problem;

/// What of a query has not been asked for yet.
pub(in crate::server) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(in crate::server) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(bad(format!("`{}` is given twice in the query", shown(&name))));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The value of `name`.
    pub(in crate::server) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(other, _)| other == name)?;
        Some(self.pairs.swap_remove(at).1)
    }

    /// A name of a user, a topic or the like.
    pub(in crate::server) fn name(&mut self, name: &str) -> Result<Option<Name>, Problem> {
        let parse = |text: String| Name::parse(&text).map_err(|why| bad(format!("`{name}` {why}")));
        self.text(name).map(parse).transpose()
    }

    pub(in crate::server) fn flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        self.parsed(name, "true or false")
    }

    /// A number from `min` to `max`.
    pub(in crate::server) fn number(
        &mut self,
        name: &str,
        min: usize,
        max: usize,
    ) -> Result<Option<usize>, Problem> {
        let what = format!("a whole number from {min} to {max}");
        match self.parsed(name, &what)? {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            Some(_) => Err(must_be(name, &what)),
            None => Ok(None),
        }
    }

    /// A value of any type, of which `what` says what it has to be.
    pub(in crate::server) fn parsed<T: FromStr>(
        &mut self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, Problem> {
        self.text(name).map(|text| text.parse().map_err(|_| must_be(name, what))).transpose()
    }

    /// Nothing is left.
    pub(in crate::server) fn end(self) -> Result<(), Problem> {
        match self.pairs.first() {
            Some((name, _)) => Err(bad(format!("`{}` is not known in the query of this path", shown(name)))),
            None => Ok(()),
        }
    }
}

fn must_be(name: &str, what: &str) -> Problem {
    bad(format!("`{name}` in the query has to be {what}"))
}

pub(in crate::server) fn bad(say: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_query", say)
}

/// Not longer than anybody reads.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

//! `/presence…` on the internal listener: who is there.
//!
//! Whoever may ask about everybody needs a key without bounds. This file knows paths and statuses, not who is where.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use crate::control::{BadWhom, Presence};
use crate::event::Name;
use crate::server::problem::Problem;
use crate::server::respond::json;

/// How many users a page has, unless it is said, and at the most.
const LIMIT: usize = 1000;
const MAX_LIMIT: usize = 5000;

/// What a path asks for.
pub(in crate::server) enum Path {
    Totals,
    Users,
    User(Name),
    Topic(Name),
}

/// The query of a path.
#[derive(Default)]
struct Query {
    cursor: Option<Name>,
    limit: Option<usize>,
    count: bool,
}

impl Path {
    /// None when it is no path of presence; `Err` when it names nobody.
    pub(in crate::server) fn parse(path: &str) -> Option<Result<Self, Problem>> {
        match path.strip_prefix("/presence")? {
            "" => Some(Ok(Self::Totals)),
            "/users" => Some(Ok(Self::Users)),
            rest => {
                // Whatever follows: a name may hold a slash.
                let (kind, name) = rest.strip_prefix('/')?.split_once('/')?;
                match kind {
                    "users" => Some(decoded(kind, name).map(Self::User)),
                    "topics" => Some(decoded(kind, name).map(Self::Topic)),
                    _ => None,
                }
            }
        }
    }

    /// What the request asks.
    pub(in crate::server) async fn answer(
        self,
        presence: &Presence,
        head: &Parts,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        let limit = query.limit.unwrap_or(LIMIT);
        Ok(match self {
            Self::Totals => json(StatusCode::OK, &presence.totals()),
            Self::User(user) => json(StatusCode::OK, &presence.user(&user)),
            Self::Users if head.method == Method::POST => {
                json(StatusCode::OK, &presence.users(body).map_err(|bad| not_understood(&bad))?)
            }
            Self::Users => json(StatusCode::OK, &presence.page(query.cursor.as_ref(), limit)),
            Self::Topic(topic) => {
                let limit = (!query.count).then_some(limit);
                json(StatusCode::OK, &presence.on_topic(&topic, query.cursor.as_ref(), limit).await)
            }
        })
    }
}

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |say: String| Problem::new(StatusCode::BAD_REQUEST, "bad_query", say);
        let mut query = Self::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*key {
                "cursor" => {
                    let cursor = Name::parse(&value).map_err(|why| refuse(format!("`cursor` {why}")))?;
                    query.cursor = Some(cursor);
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    let say = || refuse(format!("`limit` must be a whole number from 1 to {MAX_LIMIT}"));
                    query.limit = Some(limit.ok_or_else(say)?);
                }
                "count" => {
                    query.count = match &*value {
                        "" | "1" | "true" => true,
                        "0" | "false" => false,
                        _ => return Err(refuse("`count` is true or false".to_owned())),
                    }
                }
                _ => return Err(refuse("there are `cursor`, `limit` and `count`".to_owned())),
            }
        }
        Ok(query)
    }
}

fn decoded(field: &str, text: &str) -> Result<Name, Problem> {
    let bad = |why: String| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_name", format!("the name behind /{field}/ {why}"))
    };
    let text = percent_encoding::percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| bad("is not UTF-8".to_owned()))?;
    Name::parse(&text).map_err(|why| bad(why.to_string()))
}

fn not_understood(bad: &BadWhom) -> Problem {
    let word = match bad {
        BadWhom::Json(_) => "bad_users",
        BadWhom::TooMany { .. } => "too_many_users",
    };
    Problem::new(StatusCode::BAD_REQUEST, word, bad.to_string())
}

//! What a token would be allowed on each configured stream, and why not: for `sidestream token explain` and the
//! dashboard.
//!
//! Decides nothing: it says in words what `subscribe` would do with a request. Nothing of the token is kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::auth::caller::Verified;
use crate::auth::claims;
use crate::auth::grant::GrantedTopics;
use crate::config;
use crate::config::{GrantEnd, StreamAuth};
use crate::event::{Absent, Name, Pattern, Placeholder, Template};

/// What a token may on one stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StreamExplanation {
    pub path: String,
    /// `opens`, `refused`, or why no token is looked at.
    pub verdict: &'static str,
    pub opens: bool,
    /// It goes on when the token ends.
    pub outlives_token: bool,
    pub topics: Vec<TopicExplanation>,
}

/// The same of one of its topics.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TopicExplanation {
    /// With the token's claims put in; what a request says stands in braces.
    pub topic: String,
    pub allowed: bool,
    pub say: String,
}

/// A claim or header of a refused token, beside what is accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ClaimCheck {
    pub name: &'static str,
    pub value: String,
    /// None for a time.
    pub accepted: Option<String>,
}

/// The most names that one template is followed to.
const MOST: usize = 50;

/// Stands for what a request may say. Private to Unicode's users, so no pattern has it but through a star.
const ANYTHING: &str = "\u{f8ff}\u{f8fe}";

/// What the holder of a good token may on `stream`.
pub fn explain_stream(stream: &config::Stream, verified: &Verified) -> StreamExplanation {
    let path = stream.path.to_string();
    let outlives_token = stream.until == Some(GrantEnd::Open);
    let unseen = |verdict| StreamExplanation {
        path: path.clone(),
        verdict,
        opens: true,
        outlives_token: false,
        topics: Vec::new(),
    };
    match stream.auth {
        StreamAuth::None => return unseen("open to anyone; no token is looked at"),
        StreamAuth::Jwt => {}
        StreamAuth::Backend | StreamAuth::Ticket | StreamAuth::Signed => {
            return unseen("verified in another way; no token is looked at");
        }
    }
    let mut topics = Vec::new();
    for template in stream.heard() {
        match filled(template, &verified.claims) {
            Err(claim) => topics.push(TopicExplanation {
                topic: template.to_string(),
                allowed: false,
                say: format!("no_claim, the token has no `{claim}` that makes a name"),
            }),
            Ok(all) => topics.extend(all.into_iter().map(|(topic, glob)| {
                let (say, allowed) = on_topic(template, &glob, verified);
                TopicExplanation { topic, allowed, say }
            })),
        }
    }
    let opens = topics.iter().all(|topic| topic.allowed);
    let verdict = if opens { "opens" } else { "refused" };
    StreamExplanation { path, verdict, opens, outlives_token, topics }
}

/// What is to say of one topic, and whether a request can be let in to it.
fn on_topic(template: &Template, glob: &str, verified: &Verified) -> (String, bool) {
    let asked: Vec<String> =
        template.placeholders().filter(|p| by_request(p)).map(ToString::to_string).collect();
    if asked.is_empty() {
        return ("heard, because the stream gives it to everybody".to_owned(), true);
    }
    let values = asked.join(", ");
    if let Some(pattern) = allowing(verified, glob) {
        return (format!("for any {values}, by {pattern}"), true);
    }
    let GrantedTopics::Only(patterns) = &verified.grant.topics else {
        return (format!("for any {values}"), true);
    };
    let some: Vec<&str> =
        patterns.iter().map(Pattern::as_str).filter(|pattern| meet(glob, pattern)).collect();
    if some.is_empty() {
        return ("topic_not_granted, whatever the request says".to_owned(), false);
    }
    (format!("for a {values} that makes it one of {}", some.join(", ")), true)
}

/// The pattern that lets its holder ask for `topic`.
pub fn allowing<'v>(verified: &'v Verified, topic: &str) -> Option<&'v Pattern> {
    let GrantedTopics::Only(patterns) = &verified.grant.topics else { return None };
    let topic = Name::parse(topic).ok()?;
    patterns.iter().find(|pattern| pattern.matches(&topic))
}

fn by_request(placeholder: &Placeholder) -> bool {
    matches!(&*placeholder.source, "query" | "path")
}

/// What `template` comes to with the claims put in, once for people and once with [`ANYTHING`] for what a request says;
/// or the claim that is not there.
fn filled(template: &Template, all: &Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let mut sought: Vec<(&Placeholder, Vec<String>)> = Vec::new();
    for placeholder in template.placeholders().filter(|placeholder| !by_request(placeholder)) {
        let values: Vec<String> =
            claims::values(all, &placeholder.name).into_iter().map(Into::into).collect();
        let values = match (values.is_empty(), &placeholder.absent) {
            (false, _) => values,
            (true, Absent::Default(text)) => vec![text.to_string()],
            (true, Absent::Omitted) => return Ok(Vec::new()),
            (true, Absent::Refused) => return Err(placeholder.name.to_string()),
        };
        if sought.iter().all(|(known, _)| *known != placeholder) {
            sought.push((placeholder, values));
        }
    }
    let count = sought.iter().fold(1_usize, |product, (_, values)| product.saturating_mul(values.len()));
    let written: Vec<(&Placeholder, String)> =
        template.placeholders().map(|placeholder| (placeholder, placeholder.to_string())).collect();
    let fill = |number: usize, anything: bool| {
        template.render(|placeholder| {
            if by_request(placeholder) {
                let own =
                    written.iter().find(|(known, _)| *known == placeholder).map(|(_, text)| text.as_str());
                return if anything { Some(ANYTHING) } else { own };
            }
            let mut rest = number;
            for (known, values) in &sought {
                if *known == placeholder {
                    return Some(values[rest % values.len()].as_str());
                }
                rest /= values.len();
            }
            None
        })
    };
    let names =
        (0..count.min(MOST)).map(|number| Some((fill(number, false).ok()?, fill(number, true).ok()?)));
    Ok(names.flatten().collect())
}

/// Whether there is a topic that `glob`, with [`ANYTHING`] for any text, and `pattern`, with its stars, both mean.
fn meet(glob: &str, pattern: &str) -> bool {
    let parts = |text: &str, star: &str| -> Vec<Option<char>> {
        let mut all = Vec::new();
        for (number, part) in text.split(star).enumerate() {
            all.extend((number > 0).then_some(None));
            all.extend(part.chars().map(Some));
        }
        all
    };
    let (a, b) = (parts(glob, ANYTHING), parts(pattern, "*"));
    // From the ends to the starts: does what is left of both meet?
    let mut meets = vec![vec![false; b.len() + 1]; a.len() + 1];
    for i in (0..=a.len()).rev() {
        for j in (0..=b.len()).rev() {
            meets[i][j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(None), other) => meets[i + 1][j] || (other.is_some() && meets[i][j + 1]),
                (other, Some(None)) => meets[i][j + 1] || (other.is_some() && meets[i + 1][j]),
                (Some(one), Some(other)) => one == other && meets[i + 1][j + 1],
                _ => false,
            };
        }
    }
    meets[0][0]
}

/// What a refused token says of itself, beside what `jwt` accepts. None of it is verified.
pub fn compare_claims(jwt: &config::Jwt, token: &str) -> Vec<ClaimCheck> {
    let (Some(header), Some(payload)) = (header_of(token), payload_of(token)) else { return Vec::new() };
    let compare = |name: &'static str, value: Option<&Value>, accepted: &[String]| ClaimCheck {
        name,
        value: value.map_or_else(|| "none".to_owned(), ToString::to_string),
        accepted: Some(if accepted.is_empty() { "any".to_owned() } else { accepted.join(", ") }),
    };
    let mut algorithms: Vec<String> =
        jwt.keys.iter().flat_map(|key| key.algorithms()).map(|algorithm| format!("{algorithm:?}")).collect();
    algorithms.dedup();
    let mut ids: Vec<String> = jwt.keys.iter().filter_map(|key| key.id().map(str::to_owned)).collect();
    if let Some(jwks) = &jwt.jwks {
        algorithms.push(format!("what fits the keys of {}", jwks.source));
        ids.push(format!("those of {}", jwks.source));
    }
    let mut checks = vec![
        compare("alg", header.get("alg"), &algorithms),
        compare("kid", header.get("kid"), &ids),
        compare("iss", payload.get("iss"), &jwt.issuer),
        compare("aud", payload.get("aud"), &jwt.audience),
    ];
    for name in ["nbf", "exp"] {
        if let Some(at) = payload.get(name).and_then(Value::as_f64) {
            checks.push(ClaimCheck { name, value: distance(at, SystemTime::now()), accepted: None });
        }
    }
    checks
}

/// The header of a token, unverified.
pub(super) fn header_of(token: &str) -> Option<Map<String, Value>> {
    part(token, 0)
}

/// The claims of a token, unverified.
pub(super) fn payload_of(token: &str) -> Option<Map<String, Value>> {
    part(token, 1)
}

fn part(token: &str, number: usize) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(number)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// How far `at`, in seconds since the Unix epoch, is from `now`, in words.
fn distance(at: f64, now: SystemTime) -> String {
    let at = UNIX_EPOCH + Duration::from_secs_f64(at.clamp(0.0, 2e11));
    let words = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    match now.duration_since(at) {
        Ok(ago) => format!("{} ago", words(ago)),
        Err(ahead) => format!("in {}", words(ahead.duration())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_patterns_meet_where_one_text_fits_both() {
        let of = |text: &str| text.replace('_', ANYTHING);
        for (glob, pattern) in [
            ("c:_", "c:42"),
            ("c:_", "c:*"),
            ("c:_:x", "*:x"),
            ("_", "a*b"),
            ("_:_", "a:b:*"),
            ("t:7:_", "t:*:a"),
            ("plain", "plain"),
        ] {
            assert!(meet(&of(glob), pattern), "{glob} {pattern}");
        }
        for (glob, pattern) in
            [("c:_", "d:*"), ("c:_:x", "c:*:y"), ("t:7:_", "t:8:*"), ("plain", "plai"), ("a_", "b*")]
        {
            assert!(!meet(&of(glob), pattern), "{glob} {pattern}");
        }
    }
}

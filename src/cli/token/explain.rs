//! `sidestream token explain`: what a token would be allowed on each configured stream, and why not.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::{Map, Value};

use crate::auth::{Denied, GrantedTopics, Pattern, Verified, claims};
use crate::cli::output::{fail, print};
use crate::config;
use crate::config::{Config, StreamAuth};
use crate::event::{Name, Placeholder, Template};

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The token; `-`, or nothing, reads standard input
    token: Option<String>,
    /// The daemon's configuration; without one, the environment (SIDESTREAM_AUTH_JWT_…) alone is read
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A topic: may the token ask for it? May be given several times
    #[arg(long, value_name = "NAME", value_parser = topic)]
    topic: Vec<Name>,
}

/// The most names that one template is followed to.
const MOST: usize = 50;

/// Stands for what a request may say. Private to Unicode's users, so no pattern has it but through a star.
const ANYTHING: &str = "\u{f8ff}\u{f8fe}";

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        let config = match crate::cli::token::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        let token = match crate::cli::token::token(self.token) {
            Ok(token) => token,
            Err(error) => return fail(&error),
        };
        let (text, good) = match crate::cli::token::judge(&config.auth, &token) {
            Ok(Ok(verified)) => of_good(&config, &verified, &self.topic),
            Ok(Err(denied)) => (of_bad(&config, &token, &denied), false),
            Err(error) => return fail(&error),
        };
        let printed = print(text);
        if good { printed } else { ExitCode::FAILURE }
    }
}

/// What a good token may, and whether it may ask for all of `topics`.
fn of_good(config: &Config, verified: &Verified, topics: &[Name]) -> (String, bool) {
    let mut text = format!("the token is good\n{}", crate::cli::token::verify::summary(verified));
    for stream in &config.streams {
        let _ = write!(text, "\n{}\n", on(stream, verified));
    }
    let mut good = true;
    for topic in topics {
        let by = allowing(verified, topic.as_str());
        let _ = match (by, &verified.grant.topics) {
            (Some(pattern), _) => writeln!(text, "\n{topic}: may be asked for, by {pattern}"),
            (None, GrantedTopics::Any) => writeln!(text, "\n{topic}: may be asked for"),
            (None, GrantedTopics::Only(_)) => {
                good = false;
                writeln!(text, "\n{topic}: topic_not_granted")
            }
        };
    }
    (text, good)
}

/// What the token may on one stream.
fn on(stream: &config::Stream, verified: &Verified) -> String {
    if stream.auth == StreamAuth::None {
        return format!("{}: open to anyone; no token is looked at", stream.path);
    }
    if stream.auth != StreamAuth::Jwt {
        return format!("{}: verified in another way; no token is looked at", stream.path);
    }
    let mut text = String::new();
    let mut opens = true;
    for template in &stream.topics {
        match filled(template, &verified.claims) {
            Err(claim) => {
                opens = false;
                let _ =
                    write!(text, "\n  {template}: no_claim, the token has no `{claim}` that makes a name");
            }
            Ok(all) => {
                for (shown, glob) in all {
                    let (line, may) = on_topic(template, &glob, verified);
                    opens &= may;
                    let _ = write!(text, "\n  {shown}: {line}");
                }
            }
        }
    }
    let verdict = if opens { "opens" } else { "refused" };
    format!("{}: {verdict}{text}", stream.path)
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
fn allowing<'v>(verified: &'v Verified, topic: &str) -> Option<&'v Pattern> {
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
        if values.is_empty() {
            return Err(placeholder.name.to_string());
        }
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

/// Why a token is refused, with what it says of itself beside what is accepted.
fn of_bad(config: &Config, token: &str, denied: &Denied) -> String {
    let mut text = format!("the token is refused: {}: {denied}\n", denied.label());
    let part = |number: usize| -> Option<Map<String, Value>> {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(number)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    let (Some(header), Some(payload)) = (part(0), part(1)) else { return text };
    let Some(jwt) = &config.auth.jwt else { return text };
    let mut compare = |name: &str, value: Option<&Value>, accepted: &[String]| {
        let value = value.map_or_else(|| "none".to_owned(), ToString::to_string);
        let accepted = if accepted.is_empty() { "any".to_owned() } else { accepted.join(", ") };
        let _ = writeln!(text, "  {name:<4} {value}; accepted: {accepted}");
    };
    let mut algorithms: Vec<String> =
        jwt.keys.iter().flat_map(|key| key.algorithms()).map(|algorithm| format!("{algorithm:?}")).collect();
    algorithms.dedup();
    let mut ids: Vec<String> = jwt.keys.iter().filter_map(|key| key.id().map(str::to_owned)).collect();
    if let Some(jwks) = &jwt.jwks {
        algorithms.push(format!("what fits the keys of {}", jwks.url));
        ids.push(format!("those of {}", jwks.url));
    }
    compare("alg", header.get("alg"), &algorithms);
    compare("kid", header.get("kid"), &ids);
    compare("iss", payload.get("iss"), &jwt.issuer);
    compare("aud", payload.get("aud"), &jwt.audience);
    for name in ["nbf", "exp"] {
        if let Some(at) = payload.get(name).and_then(Value::as_f64) {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs_f64(at.clamp(0.0, 2e11));
            let now = std::time::SystemTime::now();
            let distance = |time: std::time::Duration| {
                humantime::format_duration(std::time::Duration::from_secs(time.as_secs()))
            };
            let _ = match now.duration_since(at) {
                Ok(ago) => writeln!(text, "  {name}  {} ago", distance(ago)),
                Err(ahead) => writeln!(text, "  {name}  in {}", distance(ahead.duration())),
            };
        }
    }
    text
}

fn topic(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|why| format!("it {why}"))
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

//! From a good token's claims to a grant, as the configuration maps them. What no claim gives is not granted.

use crate::auth::claims;
use crate::auth::denied::Denied;
use crate::auth::grant::{Grant, GrantedTopics};
use crate::auth::jwt::verify::Claims;
use crate::config;
use crate::event::Pattern;
use crate::event::{Name, Placeholder, Template};
use serde_json::{Map, Value};

/// The most patterns that one caller may have, from the claim and from the templates.
const MOST_PATTERNS: usize = 2000;

/// Which claims mean what.
#[derive(Clone, Debug)]
pub(super) struct ClaimMapping {
    user: Box<str>,
    session: Box<str>,
    topics: Box<str>,
    token_id: Box<str>,
    grant: Box<[Template]>,
    max_topics: usize,
}

impl ClaimMapping {
    pub(super) fn new(settings: &config::Jwt) -> Self {
        Self {
            user: settings.user.as_str().into(),
            session: settings.session.as_str().into(),
            topics: settings.topics.as_str().into(),
            token_id: settings.token_id.as_str().into(),
            grant: settings.grant.clone().into(),
            max_topics: settings.max_topics,
        }
    }

    /// The grant of a caller with these claims.
    pub(super) fn grant(&self, claims: &Claims) -> Result<Grant, Denied> {
        let all = &claims.all;
        let mut patterns = self.listed(all)?;
        for template in &self.grant {
            granted(template, all, &mut patterns)?;
        }
        Ok(Grant {
            user: name(all, &self.user)?,
            session: name(all, &self.session)?,
            token: name(all, &self.token_id)?,
            topics: GrantedTopics::Only(patterns.into()),
            issued: claims.issued,
            until: claims.until,
        })
    }

    /// The patterns that the token itself lists: a list of texts, or one text with spaces between them.
    fn listed(&self, all: &Map<String, Value>) -> Result<Vec<Pattern>, Denied> {
        let bad = || Denied::BadClaim(self.topics.clone());
        let texts: Vec<&str> = match claims::find(all, &self.topics) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(list)) => {
                list.iter().map(|value| value.as_str().ok_or_else(bad)).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(bad()),
        };
        if texts.len() > self.max_topics {
            return Err(bad());
        }
        texts.into_iter().map(|text| Pattern::parse(text).map_err(|_| bad())).collect()
    }
}

/// A claim that is a name: a text, or a whole number.
fn name(all: &Map<String, Value>, claim: &str) -> Result<Option<Name>, Denied> {
    let text = match claims::find(all, claim) {
        None => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
        Some(_) => return Err(Denied::BadClaim(claim.into())),
    };
    Name::parse(&text).map(Some).map_err(|_| Denied::BadClaim(claim.into()))
}

/// Adds what `template` makes of the claims: a pattern for each combination of their values, and none where a claim is
/// not there.
fn granted(template: &Template, all: &Map<String, Value>, patterns: &mut Vec<Pattern>) -> Result<(), Denied> {
    let mut sought: Vec<(&Placeholder, Vec<std::borrow::Cow<'_, str>>)> = Vec::new();
    for placeholder in template.placeholders() {
        if sought.iter().any(|(known, _)| *known == placeholder) {
            continue;
        }
        let values = claims::values(all, &placeholder.name);
        // A star from outside would open more than the template says.
        if values.iter().any(|value| value.contains('*')) {
            return Err(Denied::BadClaim(placeholder.name.clone()));
        }
        if values.is_empty() {
            return Ok(());
        }
        sought.push((placeholder, values));
    }
    let combinations =
        sought.iter().try_fold(1_usize, |product, (_, values)| product.checked_mul(values.len()));
    let bad = || {
        Denied::BadClaim(sought.first().map_or("grant".into(), |(placeholder, _)| placeholder.name.clone()))
    };
    let count = combinations.filter(|count| patterns.len() + count <= MOST_PATTERNS).ok_or_else(bad)?;
    for number in 0..count {
        let value = |placeholder: &Placeholder| {
            let mut rest = number;
            for (known, values) in &sought {
                if *known == placeholder {
                    return Some(&*values[rest % values.len()]);
                }
                rest /= values.len();
            }
            None
        };
        let text = template.render(value).map_err(|missing| Denied::BadClaim(missing.placeholder.name))?;
        patterns.push(Pattern::parse(&text).map_err(|_| bad())?);
    }
    Ok(())
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;

//! Which path is a stream, and the topics that a request for it names.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::auth::{SignedNames, claims};
use crate::config;
use crate::event::{Absent, EventFormat, EventName, Name, Placeholder, Template, TopicFilter};
use crate::subscribe::look::{CompiledLook, RequestLook, RequestValues};
use crate::subscribe::query::StreamQuery;
use crate::subscribe::refusal::{BadStreamRequest, TemplateError};
use crate::subscribe::route_path::RoutePath;

/// The configured routes, in order.
pub(super) struct Routes {
    all: Box<[CompiledRoute]>,
    /// Whether any of them tells pages who is there.
    tell_presence: bool,
}

struct CompiledRoute {
    /// The path as it is configured.
    text: Arc<str>,
    path: RoutePath,
    auth: config::StreamAuth,
    /// None where the events are those that are published.
    source: Option<Arc<config::StreamSource>>,
    change_topics: bool,
    patterns: bool,
    topics: Box<[Template]>,
    user: Option<Template>,
    session: Option<Template>,
    until: Option<config::GrantEnd>,
    refuse_with: Option<config::RefuseWith>,
    meta: Option<config::MetaTemplates>,
    idle_timeout: Option<Duration>,
    signed_names: Option<SignedNames>,
    page_publish: Box<[EventName]>,
    page_presence: bool,
    refresh_on: Box<[Template]>,
    look: CompiledLook,
    /// The query's parameters without which the route answers nothing.
    required: Box<[Box<str>]>,
}

/// A route that a request's path has matched.
pub struct Route<'a> {
    settled: &'a CompiledRoute,
    /// The path's values by name, percent-decoded.
    path: Vec<(&'a str, String)>,
}

/// How many topics one template may make where no limit is configured.
const MAX_COMBINATIONS: usize = 10_000;

/// A topic that a stream is to hear, or a pattern of such.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestedTopic<'t> {
    pub(super) topic: TopicFilter,
    /// The first template that makes it.
    pub(super) template: &'t str,
    /// Whether the request had a say in its name: only a grant can allow it then.
    pub(super) by_request: bool,
}

/// Where the values of templates come from.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) query: &'a StreamQuery<'a>,
    /// What is known of a verified caller.
    pub(super) claims: &'a Map<String, Value>,
}

impl Routes {
    /// The routes of `streams`; `sse` is what holds where they say nothing.
    pub(super) fn new(streams: &[config::Stream], sse: &config::Sse) -> Self {
        let settle = |stream: &config::Stream| CompiledRoute {
            text: stream.path.as_str().into(),
            path: RoutePath::new(&stream.path),
            auth: stream.auth,
            change_topics: stream.change_topics,
            source: stream.source.is_upstream().then(|| Arc::new(stream.source.clone())),
            patterns: stream.patterns,
            topics: stream.heard().into(),
            user: stream.user.clone(),
            session: stream.session.clone(),
            until: stream.until,
            refuse_with: stream.refuse_with,
            meta: stream.meta.clone(),
            idle_timeout: stream.idle_timeout,
            signed_names: SignedNames::of(stream),
            page_publish: stream.page_publish.clone().into(),
            page_presence: stream.page_presence,
            refresh_on: stream.refresh_on.as_slice().into(),
            look: CompiledLook::new(stream, sse),
            required: stream.required_parameters().into_iter().map(Into::into).collect(),
        };
        let tell_presence = streams.iter().any(|stream| stream.page_presence);
        Self { all: streams.iter().map(settle).collect(), tell_presence }
    }

    /// Whether any of them tells pages who is there.
    pub(super) fn tell_presence(&self) -> bool {
        self.tell_presence
    }

    /// Whether a `*` in a topic stands for any text in one of them.
    pub(super) fn have_patterns(&self) -> bool {
        self.all.iter().any(|settled| settled.patterns)
    }

    /// Whether streams of one of them need more of an event than what a log of this form has rendered.
    pub(super) fn need_sources(&self, log: EventFormat) -> bool {
        self.all.iter().any(|settled| settled.look.needs_sources(log))
    }

    /// Every route that matches `path` as it stands in a request.
    pub(super) fn all(&self, path: &str) -> impl Iterator<Item = Route<'_>> {
        self.all.iter().filter_map(move |settled| Some(Route { settled, path: settled.path.values(path)? }))
    }

    /// The first route that matches `path` as it stands in the request, and all of whose parameters `query` has; where
    /// parameters are missing for all that match, the first of them, which says so.
    pub(super) fn find(&self, path: &str, query: Option<&str>) -> Option<Route<'_>> {
        let mut all = self.all(path).peekable();
        let first = all.next()?;
        if first.settled.required.is_empty() || all.peek().is_none() {
            return Some(first);
        }
        let query = StreamQuery::new(query);
        let has_all =
            |route: &Route<'_>| route.settled.required.iter().all(|name| !query.all(name).is_empty());
        if has_all(&first) {
            return Some(first);
        }
        Some(all.find(has_all).unwrap_or(first))
    }
}

impl Route<'_> {
    /// The path as it is configured.
    pub fn text(&self) -> &Arc<str> {
        &self.settled.text
    }

    /// Whether the route asks its callers who they are.
    pub fn verifies(&self) -> bool {
        self.settled.auth != config::StreamAuth::None
    }

    /// The application's stream that is read for this one, where the route has one.
    pub fn source(&self) -> Option<&Arc<config::StreamSource>> {
        self.settled.source.as_ref()
    }

    /// Whether pages may change the topics of their streams.
    pub fn changes_topics(&self) -> bool {
        self.settled.change_topics
    }

    /// The events that pages may publish.
    pub fn page_publish(&self) -> &[EventName] {
        &self.settled.page_publish
    }

    /// Whether pages may know who is there.
    pub(super) fn page_presence(&self) -> bool {
        self.settled.page_presence
    }

    /// Whether a `*` in a topic stands for any text.
    pub fn has_patterns(&self) -> bool {
        self.settled.patterns
    }

    pub(super) fn auth(&self) -> config::StreamAuth {
        self.settled.auth
    }

    /// Whether its streams go on when the grant ends by which they were opened.
    pub(super) fn outlives_grants(&self) -> bool {
        self.settled.until == Some(config::GrantEnd::Open)
    }

    /// How its temporary refusals are said, where it is not as those of all.
    pub(super) fn refuse_with(&self) -> Option<config::RefuseWith> {
        self.settled.refuse_with
    }

    /// What verifies its callers, where they present signed names.
    pub(super) fn signed_names(&self) -> Option<&SignedNames> {
        self.settled.signed_names.as_ref()
    }

    /// How long its streams may be sent nothing but heartbeats, where it is not as those of all.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.settled.idle_timeout
    }

    /// What is noted of its connections.
    pub(super) fn meta(&self) -> Option<&config::MetaTemplates> {
        self.settled.meta.as_ref()
    }

    /// Whether its topics, or who its caller is, are made of the query's parameter `name`.
    pub(super) fn names_parameter(&self, name: &str) -> bool {
        let CompiledRoute { topics, user, session, .. } = self.settled;
        let mut placeholders = topics.iter().chain(user).chain(session).flat_map(Template::placeholders);
        placeholders.any(|placeholder| &*placeholder.source == "query" && &*placeholder.name == name)
    }

    /// The text that `template` makes, several values with commas between them; None when one is missing.
    pub(super) fn text_of(&self, template: &Template, values: Values<'_>) -> Option<String> {
        let mut found: Vec<(&Placeholder, String)> = Vec::new();
        for placeholder in template.placeholders() {
            found.push((placeholder, self.values_of(placeholder, values).ok()?.join(",")));
        }
        let value = |placeholder: &Placeholder| {
            found.iter().find(|(known, _)| *known == placeholder).map(|(_, text)| text.as_str())
        };
        template.render(value).ok()
    }

    /// What makes the topics by which its answers are asked for at once.
    pub(super) fn refresh_templates(&self) -> &[Template] {
        &self.settled.refresh_on
    }

    /// How its streams look.
    pub(super) fn look(&self) -> &CompiledLook {
        &self.settled.look
    }

    /// How a stream looks that is asked for with these values.
    pub(super) fn look_of(&self, Values { query, claims }: Values<'_>) -> RequestLook {
        self.settled.look.of_request(RequestValues { path: &self.path, query, claims })
    }

    /// The topics that a request asks for, at most `max` (0 = no limit). A query parameter or a claim that a template
    /// names may have several values: each makes a topic.
    pub(super) fn topics(
        &self,
        values: Values<'_>,
        max: usize,
    ) -> Result<Vec<RequestedTopic<'_>>, TemplateError> {
        self.named(self.settled.topics.iter(), values, max)
    }

    /// Those of them that are known before the caller is.
    pub(super) fn topics_before(
        &self,
        query: &StreamQuery<'_>,
        max: usize,
    ) -> Result<Vec<Name>, TemplateError> {
        let known =
            |template: &&Template| template.placeholders().all(|placeholder| &*placeholder.source != "claim");
        let values = Values { query, claims: &Map::new() };
        let asked = self.named(self.settled.topics.iter().filter(known), values, max)?;
        Ok(asked.into_iter().map(|asked| asked.topic.name().clone()).collect())
    }

    fn named<'t>(
        &self,
        templates: impl Iterator<Item = &'t Template>,
        values: Values<'_>,
        max: usize,
    ) -> Result<Vec<RequestedTopic<'t>>, TemplateError> {
        let mut topics: Vec<RequestedTopic<'t>> = Vec::new();
        let mut places: HashMap<TopicFilter, usize> = HashMap::new();
        for template in templates {
            let by_request = by_request(template);
            self.each(template, values, max, &mut |name, literal_stars| {
                let topic = self.filter(template, name, literal_stars)?;
                if let Some(&at) = places.get(&topic) {
                    topics[at].by_request &= by_request;
                    return Ok(());
                }
                if max != 0 && topics.len() >= max {
                    return Err(BadStreamRequest::TooManyTopics { max }.into());
                }
                places.insert(topic.clone(), topics.len());
                topics.push(RequestedTopic { topic, template: template.as_str(), by_request });
                Ok(())
            })?;
        }
        Ok(topics)
    }

    /// The topics that templates without a say of the request's make.
    pub(super) fn granted(&self, values: Values<'_>) -> Vec<TopicFilter> {
        let mut names = Vec::new();
        for template in self.settled.topics.iter().filter(|template| !by_request(template)) {
            // A claim that is not there grants nothing, nor do more combinations than anybody means.
            let _ = self.each(template, values, 0, &mut |name, literal_stars| {
                names.push(self.filter(template, name, literal_stars)?);
                Ok(())
            });
        }
        names
    }

    /// Who the request says that the caller is, on a route that does not verify it.
    pub(super) fn claimed(
        &self,
        query: &StreamQuery<'_>,
    ) -> Result<(Option<Name>, Option<Name>), TemplateError> {
        let values = Values { query, claims: &Map::new() };
        let one = |template: &Option<Template>| match template {
            Some(template) => self.one(template, values),
            None => Ok(None),
        };
        Ok((one(&self.settled.user)?, one(&self.settled.session)?))
    }

    /// The name that `template` makes; None when a value that it needs is optional and missing. What it names may have
    /// one value.
    fn one(&self, template: &Template, values: Values<'_>) -> Result<Option<Name>, TemplateError> {
        for placeholder in template.placeholders() {
            if self.values_of(placeholder, values)?.len() > 1 {
                return Err(BadStreamRequest::Repeated(
                    "a query parameter that names the user or the session",
                )
                .into());
            }
        }
        let mut name = None;
        self.each(template, values, 1, &mut |only, _| {
            name = Some(only);
            Ok(())
        })?;
        Ok(name)
    }

    /// Calls `take` for every name that `template` makes, with how many `*` in it claims have brought: none when an
    /// optional value is missing, otherwise one for each combination of different values, at most `max` of them (0 =
    /// [`MAX_COMBINATIONS`]). The bound is looked at before the first is made: values multiply, and a stranger may send
    /// thousands of each.
    pub(super) fn each(
        &self,
        template: &Template,
        values: Values<'_>,
        max: usize,
        take: &mut dyn FnMut(Name, usize) -> Result<(), TemplateError>,
    ) -> Result<(), TemplateError> {
        let max = if max == 0 { MAX_COMBINATIONS } else { max };
        let mut sought: Vec<(&Placeholder, Vec<Cow<'_, str>>)> = Vec::new();
        for placeholder in template.placeholders() {
            if sought.iter().all(|(known, _)| *known != placeholder) {
                let mut all = self.values_of(placeholder, values)?;
                if all.is_empty() {
                    return Ok(());
                }
                let mut seen = HashSet::with_capacity(all.len());
                all.retain(|value| seen.insert(value.clone()));
                sought.push((placeholder, all));
            }
        }
        let combinations =
            sought.iter().try_fold(1_usize, |product, (_, all)| product.checked_mul(all.len()));
        if combinations.is_none_or(|combinations| combinations > max) {
            return Err(BadStreamRequest::TooManyTopics { max }.into());
        }
        // An odometer over the values: which of each placeholder's values is taken.
        let mut taken = vec![0; sought.len()];
        loop {
            let value = |placeholder: &Placeholder| -> Option<&str> {
                let at = sought.iter().position(|(known, _)| *known == placeholder)?;
                Some(&*sought[at].1[taken[at]])
            };
            let text = template
                .render(value)
                .map_err(|missing| BadStreamRequest::MissingQuery(missing.placeholder.name.into_string()))?;
            let name = Name::parse(&text)
                .map_err(|why| BadStreamRequest::BadName { name: template.as_str().to_owned(), why })?;
            let claimed = template.placeholders().filter(|placeholder| &*placeholder.source == "claim");
            let stars = claimed.filter_map(value).map(|value| value.matches('*').count()).sum();
            take(name, stars)?;
            let Some(at) = (0..taken.len()).find(|&at| taken[at] + 1 < sought[at].1.len()) else {
                return Ok(());
            };
            taken[at] += 1;
            taken[..at].fill(0);
        }
    }

    /// Every value of a placeholder; none only of one that is optional.
    fn values_of<'v>(
        &'v self,
        placeholder: &'v Placeholder,
        values: Values<'v>,
    ) -> Result<Vec<Cow<'v, str>>, TemplateError> {
        let name = &*placeholder.name;
        let all: Vec<Cow<'v, str>> = match &*placeholder.source {
            // Beside others as well as alone: something that was to be named is not.
            "query" if values.query.has_empty(name) && placeholder.absent == Absent::Refused => Vec::new(),
            "query" => values.query.all(name).into_iter().map(Cow::Borrowed).collect(),
            "claim" => claims::values(values.claims, name),
            _ => self
                .path
                .iter()
                .filter(|(known, _)| *known == name)
                .map(|(_, value)| Cow::Borrowed(value.as_str()))
                .collect(),
        };
        match (all.is_empty(), &*placeholder.source) {
            (false, _) => Ok(all),
            (true, _) if placeholder.absent == Absent::Omitted => Ok(all),
            (true, _) if let Some(default) = placeholder.default() => Ok(vec![Cow::Borrowed(default)]),
            (true, "claim") => Err(TemplateError::Claim(name.to_owned())),
            (true, _) => Err(BadStreamRequest::MissingQuery(name.to_owned()).into()),
        }
    }
}

/// Whether the request has a say in the names that `template` makes.
fn by_request(template: &Template) -> bool {
    template.placeholders().any(|placeholder| matches!(&*placeholder.source, "query" | "path"))
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;

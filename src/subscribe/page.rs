//! What a page may beside listening, where its route lets it: publish to topics of its grant, and see who is on its
//! own.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, Uri};

use crate::auth::{Bearer, Denied, Grant, RequestOrigin, Verified};
use crate::config::RefuseWith;
use crate::event::{EventName, Key, Name, TopicFilter};
use crate::rate::{RateLimit, TooFast};
use crate::subscribe::query::StreamQuery;
use crate::subscribe::refusal::{BadStreamRequest, Refusal, RetryReason};
use crate::subscribe::renew::StreamCaller;
use crate::subscribe::request::SubscribeRequest;
use crate::subscribe::route::{Route, Values};
use crate::subscribe::streams::Streams;

/// How many topics one question for presence may be about.
const MOST_TOPICS: usize = 20;

/// Topics of which a page may know who is on them.
#[derive(Debug)]
pub struct PageTopics {
    pub topics: Vec<Name>,
    /// To be set on the answer.
    pub headers: HeaderMap,
}

impl Streams {
    /// Whether the caller may publish `event` to `topic`, now, as the page of its stream.
    pub async fn may_publish(
        &self,
        route: &Route<'_>,
        caller: &StreamCaller,
        address: IpAddr,
        (topic, event): (&Name, &EventName),
    ) -> Result<(), Refusal> {
        let StreamCaller { renewal, bearer, publish, .. } = caller;
        let denied = |denied: Denied| self.denied(denied);
        if !route.page_publish().contains(event) {
            return Err(denied(Denied::EventNotGranted));
        }
        if !bearer.hears(topic) {
            return Err(denied(Denied::TopicNotGranted(topic.clone())));
        }
        if !publish.allows(topic) {
            return Err(denied(Denied::PublishNotGranted));
        }
        let topic = [topic.clone().into()];
        self.revocations.check(&bearer.grant, &topic).map_err(denied)?;
        if self.revocations.is_away(&bearer.grant, &topic) {
            return Err(Refusal::Away);
        }
        self.not_too_fast(&self.rates.page_publishes, &bearer.grant, address)?;
        if self.is_anothers(&renewal.client, bearer).await {
            return Err(denied(Denied::NotYourStream));
        }
        Ok(())
    }

    /// Whether the stream of `client` is here, and is not this bearer's.
    async fn is_anothers(&self, client: &Name, bearer: &Bearer) -> bool {
        let mut anothers = false;
        self.fanout.holders(&Key::Client(client.clone()), |keys| anothers |= !bearer.owns(keys)).await;
        anothers
    }

    /// The route of a stream whose presence a `GET` of `target` asks for, if that is ours.
    pub fn presence_route<'s>(&'s self, target: &Uri) -> Option<Route<'s>> {
        // Every request that goes on to the backend comes by here.
        if !self.routes.tell_presence() {
            return None;
        }
        let route = self.routes.find(target.path().strip_suffix("/presence")?, target.query())?;
        route.page_presence().then_some(route)
    }

    /// The topics that the stream of such a request would have, or those of them, and of its grant, that `of` names.
    pub async fn page_topics(
        &self,
        route: &Route<'_>,
        head: &Parts,
        origin: RequestOrigin,
    ) -> Result<PageTopics, Refusal> {
        let decided = async {
            let request = SubscribeRequest::new(route, head);
            let address = origin.address;
            let verified = self.verify(&request, origin).await?;
            let Verified { grant, claims, headers } = verified.ok_or_else(|| self.denied(Denied::NoToken))?;
            self.not_too_fast(&self.rates.page_presence, &grant, address)?;
            let values = Values { query: &StreamQuery::new(None), claims: &claims };
            let bearer = Bearer { of_route: route.granted(values), grant };
            let topics: Vec<Name> = match request.query.all("of")[..] {
                [] => {
                    let asked = request.topics(&claims, MOST_TOPICS);
                    let asked = asked.map_err(|unnamed| self.unnamed(unnamed))?;
                    // Who is on all topics of a pattern, nobody counts.
                    let topics = asked.into_iter().filter(|asked| !asked.topic.is_pattern());
                    topics.map(|asked| asked.topic.name().clone()).collect()
                }
                ref names if names.len() > MOST_TOPICS => {
                    return Err(BadStreamRequest::TooManyTopics { max: MOST_TOPICS }.into());
                }
                ref names => names.iter().map(|name| named(name)).collect::<Result<Vec<Name>, Refusal>>()?,
            };
            if let Some(topic) = topics.iter().find(|topic| !bearer.hears(topic)) {
                return Err(self.denied(Denied::TopicNotGranted(topic.clone())));
            }
            let asked: Vec<TopicFilter> = topics.iter().cloned().map(TopicFilter::Topic).collect();
            self.revocations.check(&bearer.grant, &asked).map_err(|denied| self.denied(denied))?;
            if self.revocations.is_away(&bearer.grant, &asked) {
                return Err(Refusal::Away);
            }
            Ok(PageTopics { topics, headers })
        };
        // Nobody reads this as a stream.
        decided.await.map_err(|refusal: Refusal| refusal.said_as(Some(RefuseWith::Status)))
    }

    /// Takes a token of the caller's, who is known by what is known of them.
    fn not_too_fast(&self, rate: &RateLimit, grant: &Grant, address: IpAddr) -> Result<(), Refusal> {
        let taken = match (&grant.user, &grant.session, &grant.token) {
            (Some(user), ..) => rate.take(&("user", user), 1, &address),
            (None, Some(session), _) => rate.take(&("session", session), 1, &address),
            (None, None, Some(token)) => rate.take(&("token", token), 1, &address),
            (None, None, None) => rate.take(&("address", self.rates.network(address)), 1, &address),
        };
        let slower = |fast: TooFast| self.slower(RetryReason::PageRate, fast, None);
        taken.map_err(|fast| slower(fast).said_as(Some(RefuseWith::Status)))
    }
}

fn named(text: &str) -> Result<Name, Refusal> {
    let bad = |why| BadStreamRequest::BadName { name: "of".to_owned(), why };
    Name::parse(text).map_err(|why| bad(why).into())
}

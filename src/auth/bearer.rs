//! Who presents a new token for a stream that is open already, and whether the stream may go on with it.

use crate::auth::denied::Denied;
use crate::auth::grant::Grant;
use crate::event::{Key, Name, TopicFilter};

/// The holder of a new token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bearer {
    pub grant: Grant,
    /// Topics and patterns that the route grants to every caller that it verifies.
    pub of_route: Vec<TopicFilter>,
}

impl Bearer {
    /// Whether a stream that holds `keys` is this bearer's.
    pub fn owns(&self, keys: &[Key]) -> bool {
        let user = keys.iter().find_map(|key| if let Key::User(name) = key { Some(name) } else { None });
        let session =
            keys.iter().find_map(|key| if let Key::Session(name) = key { Some(name) } else { None });
        user == self.grant.user.as_ref() && session == self.grant.session.as_ref()
    }

    /// Whether this bearer may hear `topic`.
    pub fn hears(&self, topic: &Name) -> bool {
        self.of_route.iter().any(|granted| granted.hears(topic))
            || self.grant.topics.allow(&topic.clone().into())
    }

    /// Whether a stream that holds `keys` is this bearer's, and may go on to hold them.
    pub fn may_hold(&self, keys: &[Key]) -> Result<(), Denied> {
        if !self.owns(keys) {
            return Err(Denied::NotYourStream);
        }
        let granted = |topic: &TopicFilter| self.of_route.contains(topic) || self.grant.topics.allow(topic);
        let lacking = keys.iter().filter_map(TopicFilter::of).find(|topic| !granted(topic));
        lacking.map_or(Ok(()), |topic| Err(Denied::TopicNotGranted(topic.name().clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::grant::GrantedTopics;
    use crate::event::Pattern;

    #[test]
    fn only_ones_own_stream_with_granted_topics_goes_on() {
        let name = |text: &str| Name::parse(text).unwrap();
        let bearer = Bearer {
            grant: Grant {
                topics: GrantedTopics::Only([Pattern::parse("c:*").unwrap()].into()),
                ..Grant::open(Some(name("u")), None)
            },
            of_route: vec![name("news").into()],
        };
        let held = |user: &str, topics: &[&str]| {
            let topics = topics.iter().map(|topic| Key::Topic(name(topic)));
            topics.chain([Key::User(name(user)), Key::Broadcast]).collect::<Vec<_>>()
        };
        assert!(bearer.may_hold(&held("u", &["c:1", "news"])).is_ok());
        assert_eq!(bearer.may_hold(&held("v", &["c:1"])).unwrap_err().label(), "not_your_stream");
        assert_eq!(bearer.may_hold(&held("u", &["d:1"])).unwrap_err().topic(), Some(&name("d:1")));
        let by_pattern = |text: &str| vec![Key::User(name("u")), Key::Pattern(Pattern::parse(text).unwrap())];
        assert!(bearer.may_hold(&by_pattern("c:1:*")).is_ok());
        assert_eq!(bearer.may_hold(&by_pattern("c*")).unwrap_err().topic(), Some(&name("c*")));
        assert_eq!(bearer.may_hold(&by_pattern("new*")).unwrap_err().topic(), Some(&name("new*")));
        let with_session = [held("u", &[]), vec![Key::Session(name("s"))]].concat();
        assert_eq!(bearer.may_hold(&with_session).unwrap_err().label(), "not_your_stream");
    }
}

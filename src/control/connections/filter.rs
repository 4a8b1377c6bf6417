//! Which streams are meant, and how they are closed.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::auth::GrantSelector;
use crate::event::{ConnectionMeta, Key, Name};
use crate::fanout::Filter;

/// Which streams are meant: all that is given has to be so.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// All of it is noted of the connection.
    #[serde(skip_serializing_if = "ConnectionMeta::is_empty")]
    pub meta: ConnectionMeta,
    /// The path of their route, as it is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Box<str>>,
    /// The id or the name of an instance. It decides who is asked, so it is not part of the question.
    #[serde(skip)]
    pub instance: Option<String>,
}

/// How streams are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseMode {
    /// Their clients may come back.
    ComeBack,
    /// They shall stay away until then.
    StayAway(SystemTime),
}

impl StreamFilter {
    /// Whether nothing is said of them: all are meant.
    pub fn is_everybody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they are known again when they come back, and can be kept out.
    pub fn is_remembered(&self) -> bool {
        self.selector().is_some()
    }

    /// Whose streams they are, when a user or a session says so and nothing that a new connection has not got.
    pub(in crate::control) fn selector(&self) -> Option<GrantSelector> {
        let new_ones_have = self.client.is_none() && self.address.is_none() && self.instance.is_none();
        // Those who are kept out are so on every path.
        let known = new_ones_have && self.path.is_none() && self.meta.is_empty();
        let named = self.user.is_some() || self.session.is_some();
        (known && named).then(|| GrantSelector {
            user: self.user.clone(),
            session: self.session.clone(),
            topic: self.topic.clone(),
            token: None,
        })
    }

    pub(super) fn filter(&self) -> Filter {
        let user = self.user.clone().map(Key::User);
        let session = self.session.clone().map(Key::Session);
        let client = self.client.clone().map(Key::Client);
        let topic = self.topic.clone().map(Key::Topic);
        let keys = user.into_iter().chain(session).chain(client).chain(topic).collect();
        Filter { keys, address: self.address, route: self.path.clone(), meta: self.meta.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_can_be_known_again_is_remembered() {
        let name = |text: &str| Some(Name::parse(text).unwrap());
        let user = StreamFilter { user: name("u"), ..StreamFilter::default() };
        assert_eq!(user.selector(), Some(GrantSelector { user: name("u"), ..GrantSelector::default() }));
        assert_eq!(StreamFilter { client: name("c"), ..user.clone() }.selector(), None);
        let mut phones = ConnectionMeta::default();
        phones.insert("device", "phone");
        assert_eq!(StreamFilter { meta: phones, ..user.clone() }.selector(), None);
        assert_eq!(StreamFilter { path: Some("/e".into()), ..user.clone() }.selector(), None);
        assert_eq!(StreamFilter { address: Some(IpAddr::from([127, 0, 0, 1])), ..user }.selector(), None);
        assert_eq!(StreamFilter { topic: name("t"), ..StreamFilter::default() }.selector(), None);
    }
}

//! What the holder of a stream keeps for the next one, and for the other instances to see.

use serde::{Deserialize, Serialize};

use crate::event::EventId;
use crate::upstream::held::SourceEnd;
use crate::upstream::shared::leases::KeptState;

/// How far a stream has come. What another version of sidestream adds is passed over.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::upstream) struct SharedState {
    pub(in crate::upstream) phase: SharedPhase,
    /// Where it began, or began anew after a gap: an id of ours. None: at the entry that it is kept with.
    pub(in crate::upstream) began: Option<String>,
    /// The application's own id that it was begun behind; empty = none.
    pub(in crate::upstream) behind: String,
    /// The application's own id of the last event; empty = none.
    pub(in crate::upstream) last: String,
    /// Of a stream that is made of answers: the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::upstream) answer: Option<SharedAnswer>,
    /// What readers were told when it turned stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::upstream) stale: Option<String>,
    /// The newest entry when this was kept.
    #[serde(skip)]
    pub(in crate::upstream) at: Option<EventId>,
}

/// An answer, and by what the application knows it again.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::upstream) struct SharedAnswer {
    pub(in crate::upstream) text: String,
    /// The values of `ETag` and `Last-Modified`.
    pub(in crate::upstream) etag: Option<String>,
    pub(in crate::upstream) modified: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::upstream) enum SharedPhase {
    /// Nobody knows yet what the application answers.
    #[default]
    Starting,
    Live,
    /// Nobody heard it any more.
    Left,
    Ended(SourceEnd),
}

impl SharedState {
    /// One that goes on behind this id of the application's; empty = it begins now.
    pub(in crate::upstream) fn behind(id: &str) -> Self {
        Self { behind: id.to_owned(), last: id.to_owned(), ..Self::default() }
    }

    pub(in crate::upstream) fn read(kept: &KeptState) -> Option<Self> {
        let state: Self = serde_json::from_str(&kept.text).ok()?;
        let began = state.began.or_else(|| kept.id.map(|id| id.to_string()));
        Some(Self { began, at: kept.id, ..state })
    }

    pub(in crate::upstream) fn write(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    pub(in crate::upstream) fn began(&self) -> Option<EventId> {
        self.began.as_deref()?.parse().ok()
    }

    /// It begins anew with the entry that is appended next.
    pub(in crate::upstream) fn begin_anew(&mut self) {
        self.began = None;
    }

    /// `last` is the newest entry that was appended.
    pub(super) fn settle(&mut self, last: Option<EventId>) {
        self.at = last;
        if self.began.is_none() {
            self.began = last.map(|id| id.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::sharing::Unshared;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_unknown_is_passed_over() {
        let id: EventId = "17-3".parse().unwrap();
        for phase in [
            SharedPhase::Live,
            SharedPhase::Ended(SourceEnd::Answered(401)),
            SharedPhase::Ended(SourceEnd::Unshared(Unshared::Vary)),
            SharedPhase::Ended(SourceEnd::Away),
        ] {
            let state = SharedState { phase, ..SharedState::behind("a") };
            let read = SharedState::read(&KeptState { id: Some(id), text: state.write() }).unwrap();
            assert_eq!((read.phase, read.last.as_str(), read.began()), (phase, "a", Some(id)));
        }
        let newer = KeptState { id: None, text: r#"{"phase":"left","more":1}"#.to_owned() };
        assert_eq!(SharedState::read(&newer).unwrap().phase, SharedPhase::Left);
        assert_eq!(SharedState::read(&KeptState { id: None, text: "[".to_owned() }), None);
    }
}

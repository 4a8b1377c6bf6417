//! What instances say of themselves and ask each other, as it goes over the channel.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::cluster::members::InstanceId;
use crate::control::presence::PresenceSummary;

/// An instance lives.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct Alive {
    pub(super) from: InstanceId,
    pub(super) name: String,
    /// It has just come: an instance that hears it says at once that it lives, too.
    #[serde(default)]
    pub(super) new: bool,
    /// How many messages about its users it has sent; none from a release without presence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) people: Option<PresenceSummary>,
}

/// An instance says goodbye.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct Bye {
    pub(super) from: InstanceId,
}

/// A question as it goes over the channel.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct SurveyQuestion {
    pub(super) from: InstanceId,
    pub(super) number: u64,
    pub(super) kind: String,
    /// Who is asked; None = everybody.
    #[serde(rename = "whom", default, skip_serializing_if = "Option::is_none")]
    pub(super) recipients: Option<Vec<InstanceId>>,
    pub(super) question: Value,
}

/// One part of an answer.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct SurveyAnswer {
    pub(super) from: InstanceId,
    pub(super) to: InstanceId,
    pub(super) number: u64,
    pub(super) nth: usize,
    pub(super) last: bool,
    pub(super) part: Value,
}

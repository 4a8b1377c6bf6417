//! What an envelope is refused with: the field, and what is wrong with it.

use std::borrow::Cow;
use std::fmt;

use crate::event::audience::BadAudience;
use crate::event::name::BadName;

/// Why an envelope is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadEnvelope {
    /// The path of the field, such as `event` or `except.users[2]`; none when it is about the whole.
    pub field: Option<Cow<'static, str>>,
    pub reason: BadField,
}

/// What is wrong with a field, or with the whole.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadField {
    #[error("is not UTF-8")]
    NotUtf8,
    /// The parser's own words; they hold nothing of the input.
    #[error("is not JSON: {0}")]
    NotJson(String),
    #[error("is not a field{}", did_you_mean(*.meant))]
    Unknown { meant: Option<&'static str> },
    #[error("cannot be chosen: the log gives every event its id")]
    IdOfTheLog,
    #[error("is given twice")]
    Twice,
    #[error("must be {wanted}, not {got}")]
    Type { wanted: &'static str, got: &'static str },
    #[error("must be a whole number of {unit} from {min} to {max}")]
    Range { unit: &'static str, min: u64, max: u64 },
    #[error("{0}")]
    Name(#[from] BadName),
    #[error("{0}")]
    Audience(#[from] BadAudience),
    #[error("must be all, user, session, client or topic")]
    Target,
    #[error("needs target, which says whose id it is")]
    IdWithoutTarget,
    #[error("needs targetId or targetIds")]
    TargetWithoutId,
    #[error("does not go with target all")]
    IdWithTargetAll,
}

impl BadField {
    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotUtf8 | Self::NotJson(_) => "json",
            Self::Unknown { .. } | Self::IdOfTheLog => "unknown_field",
            Self::Twice => "field_twice",
            Self::Type { .. } | Self::Range { .. } => "value",
            Self::Name(_) => "name",
            Self::Audience(_)
            | Self::Target
            | Self::IdWithoutTarget
            | Self::TargetWithoutId
            | Self::IdWithTargetAll => "audience",
        }
    }

    pub(super) fn of_whole(self) -> BadEnvelope {
        BadEnvelope { field: None, reason: self }
    }

    pub(super) fn at(self, field: impl Into<Cow<'static, str>>) -> BadEnvelope {
        BadEnvelope { field: Some(field.into()), reason: self }
    }
}

fn did_you_mean(meant: Option<&'static str>) -> String {
    meant.map_or_else(String::new, |meant| format!(": did you mean {meant}?"))
}

impl fmt::Display for BadEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.field, &self.reason) {
            (None, reason) => write!(f, "the event {reason}"),
            (Some(_), BadField::Audience(bad)) => write!(f, "the event {bad}"),
            (Some(field), reason) => write!(f, "`{field}` {reason}"),
        }
    }
}

impl std::error::Error for BadEnvelope {}

//! The vocabulary: what an event is, its recipients, and its bytes on the wire.
//!
//! Everything here is a value: parsed at the door, trusted inside. This room knows no socket, no log, no clock.

mod audience;
mod bad_envelope;
mod batch;
mod content;
mod content_data;
mod content_mapping;
mod content_template;
mod envelope;
mod filter;
mod format;
mod frame;
mod half;
mod id;
mod json_template;
mod layout;
mod meta;
mod name;
mod object;
mod pattern;
mod pattern_index;
mod published;
pub mod sse;
mod template;
mod topic_filter;
mod write;

pub use crate::event::audience::{Audience, BadAudience, Key};
pub use crate::event::bad_envelope::{BadEnvelope, BadField};
pub use crate::event::batch::{BadBatch, EventBatch, Item, parse_events};
pub use crate::event::content::{FoundFields, WantedFields};
pub use crate::event::content_data::DataTemplate;
pub use crate::event::content_mapping::{
    ContentCondition, ContentConditions, ContentMapping, ContentTemplates,
};
pub use crate::event::content_template::{BadContent, OuterValue, content_path};
pub use crate::event::envelope::{EnvelopeDefaults, check_idempotency_key, parse_event};
pub use crate::event::filter::EventFilter;
pub use crate::event::format::{DecodedEvent, EventFormat, Timestamps};
pub use crate::event::frame::{Block, Draft, Frame};
pub use crate::event::half::whole_characters;
pub use crate::event::id::{BadId, EventId, Tag, is_cursor_parameter};
pub use crate::event::json_template::{JsonTemplate, TemplateValue};
pub use crate::event::layout::{EventLayout, LaidOut, TopicAs, Via};
pub use crate::event::meta::ConnectionMeta;
pub use crate::event::name::{BadName, EventName, Name};
pub use crate::event::pattern::{BadPattern, Pattern};
pub use crate::event::pattern_index::PatternIndex;
pub use crate::event::published::Event;
pub use crate::event::template::{Absent, BadTemplate, Missing, Placeholder, Template};
pub use crate::event::topic_filter::{TopicFilter, WrittenTopic};
pub use crate::event::write::{Envelope, write_event};

//! Roughly what an entry takes of the log's memory.

use crate::event::{Audience, Frame};
use crate::log::source::EventSource;

/// What an entry costs beside its frame and names, roughly: the entry, its place and its places in the index.
const ENTRY_COST: usize = 256;
const KEY_COST: usize = 48;

/// Roughly the bytes that an entry takes.
pub(super) fn cost(audience: &Audience, frame: &Frame, source: Option<&EventSource>) -> usize {
    let names: usize = audience.keys().iter().map(|key| key.name().len() + KEY_COST).sum();
    let except: usize = audience.except().iter().map(|key| key.name().len() + KEY_COST).sum();
    ENTRY_COST + names + except + frame.chunk().len() + source.map_or(0, EventSource::cost)
}

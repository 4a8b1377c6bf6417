//! A span: begun, told about, ended.

use std::time::SystemTime;

use crate::spans::queue;
use crate::spans::record::{AttributeValue, SpanKind, SpanRecord};
use crate::trace::TraceContext;

/// See above. Dropped before its end it was cancelled.
#[derive(Debug)]
pub struct TraceSpan {
    context: TraceContext,
    /// None when it is not recorded.
    record: Option<Box<SpanRecord>>,
}

impl TraceSpan {
    /// Begins a span below `parent`, or a trace of its own. None where nobody collects spans.
    pub fn begin(name: &'static str, kind: SpanKind, parent: Option<TraceContext>) -> Option<Self> {
        let sampler = queue::sampler()?;
        let context = match parent {
            Some(parent) => parent.child()?.sampled(sampler.follows(parent)),
            None => {
                let root = TraceContext::root(false)?;
                root.sampled(sampler.takes(root))
            }
        };
        let began = SystemTime::now();
        let (attributes, failure) = (Vec::new(), None);
        let record = SpanRecord { name, kind, context, parent, began, ended: began, attributes, failure };
        Some(Self { context, record: context.is_sampled().then(|| Box::new(record)) })
    }

    /// What is called within it is told of this as its parent.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Says something of it, in the names of OpenTelemetry's conventions where there is one.
    pub fn note(&mut self, name: &'static str, value: impl Into<AttributeValue>) {
        if let Some(record) = &mut self.record {
            record.attributes.push((name, value.into()));
        }
    }

    pub fn fail(&mut self, word: &'static str) {
        if let Some(record) = &mut self.record {
            record.failure = Some(word);
        }
    }

    /// Hands it over. Never waits.
    pub fn end(mut self) {
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.ended = SystemTime::now();
            queue::take(*record);
        }
    }
}

impl Drop for TraceSpan {
    fn drop(&mut self) {
        if let Some(record) = &mut self.record {
            record.failure.get_or_insert("cancelled");
        }
        self.hand_over();
    }
}

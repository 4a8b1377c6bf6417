//! Spans as OTLP has them, in its JSON form: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::spans::record::{AttributeValue, SpanKind, SpanRecord};

/// Whose spans they are.
pub(super) type Resource = Vec<(String, String)>;

/// One request's body.
pub(super) fn encode(resource: &Resource, spans: &[SpanRecord]) -> Vec<u8> {
    let about: Vec<Value> =
        resource.iter().map(|(name, text)| attribute(name, json!({ "stringValue": text }))).collect();
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let scope = json!({ "name": "sidestream", "version": env!("CARGO_PKG_VERSION") });
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": about },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] });
    body.to_string().into_bytes()
}

/// The W3C flags, and that it is known whether the parent is of another process: it always is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

fn span(span: &SpanRecord) -> Value {
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Producer => 4,
    };
    let attributes: Vec<Value> =
        span.attributes.iter().map(|(name, value)| attribute(name, any_value(value))).collect();
    let remote = if span.parent.is_some() { IS_REMOTE } else { 0 };
    let mut json = json!({
        "traceId": span.context.trace_id(),
        "spanId": span.context.span_id(),
        "flags": u32::from(span.context.flags()) | HAS_IS_REMOTE | remote,
        "name": span.name,
        "kind": kind,
        // 64 bits are texts in this form.
        "startTimeUnixNano": nanoseconds(span.began),
        "endTimeUnixNano": nanoseconds(span.ended),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = parent.span_id().into();
    }
    if let Some(word) = span.failure {
        json["status"] = json!({ "code": 2, "message": word });
    }
    json
}

fn attribute(name: &str, value: Value) -> Value {
    json!({ "key": name, "value": value })
}

fn any_value(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Text(text) => json!({ "stringValue": text }),
        AttributeValue::Number(number) => json!({ "intValue": number.to_string() }),
        AttributeValue::Flag(flag) => json!({ "boolValue": flag }),
    }
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::TraceContext;

    #[test]
    fn spans_are_written_as_the_specification_has_them() {
        let parent = TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let context = parent.child().unwrap();
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let attributes = vec![("text", "a \"b\"".into()), ("number", 7_u64.into()), ("flag", true.into())];
        let one = SpanRecord {
            name: "publish",
            kind: SpanKind::Producer,
            context,
            parent: Some(parent),
            began: at(1_796_047_802_100),
            ended: at(1_796_047_802_101),
            attributes,
            failure: Some("refused"),
        };
        let resource = vec![("service.name".to_owned(), "sidestream".to_owned())];
        let json: Value = serde_json::from_slice(&encode(&resource, &[one])).unwrap();
        let of = &json["resourceSpans"][0];
        assert_eq!(
            of["resource"]["attributes"],
            json!([{ "key": "service.name", "value": { "stringValue": "sidestream" } }])
        );
        let span = &of["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            (&span["spanId"], &span["parentSpanId"]),
            (&json!(context.span_id()), &json!("b7ad6b7169203331"))
        );
        assert_eq!((&span["kind"], &span["flags"]), (&json!(4), &json!(0x301)));
        assert_eq!(span["startTimeUnixNano"], "1796047802100000000");
        assert_eq!(span["attributes"][1], json!({ "key": "number", "value": { "intValue": "7" } }));
        assert_eq!(span["status"], json!({ "code": 2, "message": "refused" }));
    }
}

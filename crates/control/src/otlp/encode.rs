//! Spans as OTLP writes them (opentelemetry-proto 1.x, `ExportTraceServiceRequest`): as protocol buffers, and as their JSON mapping.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::span::{Span, Value};

const SCOPE: &str = "enginehouse";

/// A message under way. Numbers of fields are those of the specification.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            #[allow(clippy::cast_possible_truncation, reason = "seven bits are wanted")]
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        #[allow(clippy::cast_possible_truncation, reason = "below 0x80")]
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn fixed(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn attribute(&mut self, field: u64, key: &str, value: &Value) {
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Truth(truth) => any.number(2, u64::from(*truth)),
                Value::Number(number) => any.number(3, number.cast_unsigned()),
            });
        });
    }

    fn span(&mut self, span: &Span) {
        self.bytes(1, &span.trace.to_be_bytes());
        self.bytes(2, &span.id.to_be_bytes());
        if let Some(parent) = span.parent {
            self.bytes(4, &parent.to_be_bytes());
        }
        self.bytes(5, span.name.as_bytes());
        self.number(6, span.kind as u64);
        self.fixed(7, span.start);
        self.fixed(8, span.end);
        for (key, value) in &span.attributes {
            self.attribute(9, key, value);
        }
        if let Some(error) = &span.error {
            self.message(15, |status| {
                status.bytes(2, error.as_bytes());
                status.number(3, 2);
            });
        }
    }
}

/// `http/protobuf`
pub(super) fn protobuf(resource: &[(String, String)], spans: &[Span]) -> Bytes {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (key, value) in resource {
                message.attribute(1, key, &Value::Text(value.clone()));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, SCOPE.as_bytes());
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for span in spans {
                scope_spans.message(2, |message| message.span(span));
            }
        });
    });
    request.0.into()
}

/// `http/json`: ids in hexadecimal digits, 64-bit numbers as strings.
pub(super) fn json(resource: &[(String, String)], spans: &[Span]) -> Bytes {
    let own: Vec<Json> = resource.iter().map(|(key, value)| attribute(key, &Value::Text(value.clone()))).collect();
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({"name": SCOPE, "version": env!("CARGO_PKG_VERSION")});
    let request = json!({"resourceSpans": [{"resource": {"attributes": own}, "scopeSpans": [{"scope": scope, "spans": spans}]}]});
    request.to_string().into()
}

fn span(span: &Span) -> Json {
    let mut object = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": span.attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        object["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(error) = &span.error {
        object["status"] = json!({"code": 2, "message": error});
    }
    object
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Truth(truth) => json!({"boolValue": truth}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
    };
    json!({"key": key, "value": value})
}

#[cfg(test)]
mod tests {
    use super::super::span::Kind;
    use super::*;

    fn sample() -> Span {
        Span {
            trace: 1,
            id: 2,
            parent: Some(3),
            name: "GET /".into(),
            kind: Kind::Server,
            start: 4,
            end: 5,
            attributes: vec![("n", Value::Number(-1)), ("t", Value::Truth(true))],
            error: Some("no".into()),
        }
    }

    #[test]
    fn protocol_buffers_are_written_byte_by_byte() {
        let mut message = Message::default();
        message.span(&sample());
        let mut wanted = vec![0x0a, 16];
        wanted.extend([0; 15]);
        wanted.extend([1, 0x12, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0x22, 8, 0, 0, 0, 0, 0, 0, 0, 3]);
        wanted.extend([0x2a, 5]);
        wanted.extend(b"GET /");
        wanted.extend([0x30, 2, 0x39, 4, 0, 0, 0, 0, 0, 0, 0, 0x41, 5, 0, 0, 0, 0, 0, 0, 0]);
        wanted.extend([0x4a, 16, 0x0a, 1, b'n', 0x12, 11, 0x18]);
        wanted.extend([0xff; 9]);
        wanted.extend([1, 0x4a, 7, 0x0a, 1, b't', 0x12, 2, 0x10, 1, 0x7a, 6, 0x12, 2, b'n', b'o', 0x18, 2]);
        assert_eq!(message.0, wanted);
    }

    #[test]
    fn json_has_ids_in_hex_and_long_numbers_as_text() {
        let text = json(&[("service.name".into(), "shop".into())], &[sample()]);
        let value: Json = serde_json::from_slice(&text).expect("JSON");
        let span = &value["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "00000000000000000000000000000001");
        assert_eq!(span["parentSpanId"], "0000000000000003");
        assert_eq!(span["startTimeUnixNano"], "4");
        assert_eq!(span["attributes"][0]["value"]["intValue"], "-1");
    }
}

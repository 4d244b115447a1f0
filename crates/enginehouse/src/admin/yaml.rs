//! JSON as YAML that every reader of YAML takes. A library would do more than print: this is all that is needed.

use std::fmt::Write as _;

use serde_json::Value;

/// A document; several for a list, as `gcloud` prints them.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Array(items) => {
            for item in items {
                text.push_str("---\n");
                block(item, 0, &mut text);
            }
        }
        other => block(other, 0, &mut text),
    }
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                let _ = write!(text, "{indent}{}:", scalar(key));
                nested(inner, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, depth + 1, &mut inner);
                // The first line of an item stands behind its dash.
                let _ = write!(text, "{indent}- {}", inner.strip_prefix(&"  ".repeat(depth + 1)).unwrap_or(&inner));
            }
        }
        other => {
            let _ = writeln!(text, "{indent}{}", flat(other));
        }
    }
}

fn nested(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(value, depth, text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, depth - 1, text);
        }
        other => {
            let _ = writeln!(text, " {}", flat(other));
        }
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A text as it is where that is safe, otherwise in quotation marks: JSON's strings are YAML's.
fn scalar(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '(' | ')' | ' ' | ':' | '@' | '=' | '~');
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(fits)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n");
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_are_readable() {
        let value = json!({
            "id": "20261122t040000", "split": {"allocations": {"v1": 0.5, "1": 0.5}, "shardBy": "IP"}, "handlers": [
                {"urlRegex": "/.*", "script": {"scriptPath": "main.app"}}, {"urlRegex": "a: b"}
            ],
            "inboundServices": ["INBOUND_SERVICE_WARMUP"], "labels": {}, "threadsafe": true, "env": "yes", "log": "two\nlines", "none": null
        });
        expect![[r#"
            env: "yes"
            handlers:
            - script:
                scriptPath: main.app
              urlRegex: "/.*"
            - urlRegex: "a: b"
            id: "20261122t040000"
            inboundServices:
            - INBOUND_SERVICE_WARMUP
            labels: {}
            log: "two\nlines"
            none: null
            split:
              allocations:
                "1": 0.5
                v1: 0.5
              shardBy: IP
            threadsafe: true
        "#]]
        .assert_eq(&text(&value));
    }

    #[test]
    fn lists_are_documents() {
        assert_eq!(text(&json!([{"id": "a"}, "b"])), "---\nid: a\n---\nb\n");
        assert_eq!(text(&json!([])), "");
    }
}

//! What instances print: read line by line into the journal, the last lines kept for the message when the instance dies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::ids::{InstanceId, VersionKey};
use model::journal::{Entry, Journal, Severity};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Longer lines are cut into pieces of this size, so that an app that prints no line end costs no memory.
const LONGEST_LINE: usize = 16 * 1024;
/// Lines kept for the death message.
const KEPT: usize = 25;

/// Between what happened and the lines.
pub(crate) const LAST_LINES: &str = "; its last lines:";

/// The last lines of one instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// `what`, followed by the last lines if there are any.
    pub(crate) fn after(&self, what: &str) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return format!("{what}; it printed nothing");
        }
        let mut text = format!("{what}{LAST_LINES}");
        for line in lines.iter() {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}

/// Whose lines they are.
pub(crate) struct Source {
    pub(crate) version: VersionKey,
    pub(crate) instance: InstanceId,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) tail: Tail,
}

impl Source {
    fn write(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        self.tail.push(&text);
        let (severity, text) = structured(&text).unwrap_or_else(|| (Severity::Info, text.into_owned()));
        self.journal.write(Entry::Output { version: self.version.clone(), instance: self.instance.clone(), severity, text });
    }
}

/// A line that is a JSON object with a severity is a structured log entry (docs: "writing structured logs"): its message and severity.
fn structured(line: &str) -> Option<(Severity, String)> {
    if !line.starts_with('{') {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let severity = match value.get("severity")?.as_str()?.to_ascii_uppercase().as_str() {
        "DEBUG" => Severity::Debug,
        "DEFAULT" | "INFO" | "NOTICE" => Severity::Info,
        "WARNING" | "WARN" => Severity::Warning,
        "ERROR" => Severity::Error,
        "CRITICAL" | "ALERT" | "EMERGENCY" => Severity::Critical,
        _ => return None,
    };
    let message = value.get("message").and_then(serde_json::Value::as_str).unwrap_or(line);
    Some((severity, message.to_owned()))
}

/// Reads to the end of the pipe, which may come later than the end of the process: a child of it may hold the pipe.
pub(crate) async fn read(pipe: impl AsyncRead + Unpin, source: Arc<Source>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(bytes) = reader.fill_buf().await {
        if bytes.is_empty() {
            break;
        }
        let (piece, ended) = match bytes.iter().position(|&byte| byte == b'\n') {
            Some(at) => (&bytes[..at], 1),
            None => (bytes, 0),
        };
        let piece = &piece[..piece.len().min(LONGEST_LINE - line.len())];
        line.extend_from_slice(piece);
        let full = line.len() == LONGEST_LINE;
        let whole = ended == 1 && bytes.get(piece.len()) == Some(&b'\n');
        let used = piece.len() + usize::from(whole);
        reader.consume(used);
        if whole || full {
            source.write(&line);
            line.clear();
        }
    }
    if !line.is_empty() {
        source.write(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(Severity, String)>>);

    impl Journal for Lines {
        fn write(&self, entry: Entry) {
            if let Entry::Output { severity, text, .. } = entry {
                self.0.lock().expect("no panic").push((severity, text));
            }
        }
    }

    fn lines_of(input: &[u8]) -> Vec<(Severity, String)> {
        let journal = Arc::new(Lines::default());
        let version = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
        let source = Source { version, instance: InstanceId::Number(0), journal: Arc::clone(&journal) as _, tail: Tail::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read(input, Arc::new(source)));
        std::mem::take(&mut *journal.0.lock().expect("no panic"))
    }

    #[test]
    fn lines_keep_their_text_and_lose_their_end() {
        let lines = lines_of(b"one\r\n\ntwo\xff\nlast");
        let texts: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one", "", "two\u{fffd}", "last"]);
    }

    #[test]
    fn structured_lines_carry_their_severity() {
        let lines = lines_of(b"{\"severity\":\"ERROR\",\"message\":\"boom\"}\n{\"a\":1}\n");
        assert_eq!(lines, [(Severity::Error, "boom".into()), (Severity::Info, "{\"a\":1}".into())]);
    }

    #[test]
    fn endless_lines_are_cut() {
        let lines = lines_of(&vec![b'x'; LONGEST_LINE * 2 + 5]);
        assert_eq!(lines.iter().map(|(_, text)| text.len()).collect::<Vec<_>>(), [LONGEST_LINE, LONGEST_LINE, 5]);
        let mut exact = vec![b'y'; LONGEST_LINE];
        exact.extend_from_slice(b"\nz\n");
        let lens: Vec<_> = lines_of(&exact).iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lens.iter().sum::<usize>(), LONGEST_LINE + 1);
    }
}

//! What instances print: read line by line into the journal, the last lines kept for the message when the instance dies.

mod flow;
mod structured;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use model::ids::{InstanceId, VersionKey};
use model::journal::{Entry, Journal, Output, Severity, Stream};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use flow::Flow;

/// Longer lines are cut into pieces of this size, so that an app that prints no line end costs no memory.
const LONGEST_LINE: usize = 64 * 1024;
/// Lines kept for the death message.
const KEPT: usize = 25;
/// Bytes of one of them.
const KEPT_BYTES: usize = 4 * 1024;
/// What is read of a flood before a rest, and the rest: the instance that floods waits, and nobody else.
const GULP: usize = 512 * 1024;
const REST: Duration = Duration::from_millis(5);
/// A flood that paused for so long is told of.
const QUIET: Duration = Duration::from_secs(1);

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
        lines.push_back(line[..line.floor_char_boundary(KEPT_BYTES)].to_owned());
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
    version: VersionKey,
    instance: InstanceId,
    journal: Arc<dyn Journal>,
    tail: Tail,
    /// Both streams draw on one allowance.
    flow: Mutex<Flow>,
}

impl Source {
    /// The lines of an instance; the last ones are kept in `tail`.
    pub(crate) fn new(version: VersionKey, instance: InstanceId, journal: Arc<dyn Journal>, tail: Tail) -> Arc<Self> {
        Arc::new(Self { version, instance, journal, tail, flow: Mutex::new(Flow::new(Instant::now())) })
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, stream: Stream, line: &[u8]) {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        self.tail.push(&text);
        let (taken, gap) = self.flow().take(line.len(), Instant::now());
        self.tell_gap(stream, gap);
        if !taken {
            return;
        }
        let now = SystemTime::now();
        self.write(match structured::read(&text, now) {
            Some(found) => Output {
                at: found.at.unwrap_or(now),
                severity: found.severity,
                text: found.text,
                trace: found.trace,
                fields: found.fields,
                ..self.plain(now, stream)
            },
            None => Output { text: text.into_owned(), ..self.plain(now, stream) },
        });
    }

    fn plain(&self, at: SystemTime, stream: Stream) -> Output {
        let (version, instance) = (self.version.clone(), self.instance.clone());
        Output { at, version, instance, stream, severity: Severity::Info, text: String::new(), trace: None, fields: None }
    }

    fn tell_gap(&self, stream: Stream, gap: Option<u64>) {
        if let Some(lines) = gap {
            let (most, kib) = (flow::LINES, flow::BYTES / 1024);
            let text = format!("{lines} lines dropped: an instance may print {most} lines and {kib} KiB a second");
            self.write(Output { severity: Severity::Warning, text, ..self.plain(SystemTime::now(), stream) });
        }
    }

    fn end_gap(&self, stream: Stream) {
        let gap = self.flow().end();
        self.tell_gap(stream, gap);
    }

    fn write(&self, output: Output) {
        self.journal.write(Entry::Output(Box::new(output)));
    }

    /// Bytes of a flood: counted, and looked at only for the last lines.
    fn skim(&self, bytes: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', bytes).count();
        self.flow().drop_lines(lines as u64);
        let end = &bytes[bytes.len().saturating_sub(1024)..];
        for line in end.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            self.tail.push(&String::from_utf8_lossy(line));
        }
    }
}

/// Reads to the end of the pipe, which may come later than the end of the process: a child of it may hold the pipe.
pub(crate) async fn read(pipe: impl AsyncRead + Unpin, source: Arc<Source>, stream: Stream) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    let mut skimmed = 0;
    // The rest of a line whose beginning was dropped.
    let mut within = false;
    loop {
        if source.flow().has_gap() && tokio::time::timeout(QUIET, reader.fill_buf()).await.is_err() {
            source.end_gap(stream);
        }
        let Ok(bytes) = reader.fill_buf().await else { break };
        if bytes.is_empty() {
            break;
        }
        if source.flow().is_flooded(Instant::now()) {
            source.skim(bytes);
            within = bytes.last() != Some(&b'\n');
            let used = bytes.len();
            reader.consume(used);
            line.clear();
            skimmed += used;
            if skimmed >= GULP {
                skimmed = 0;
                tokio::time::sleep(REST).await;
            }
            continue;
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let piece = &bytes[..end.unwrap_or(bytes.len()).min(LONGEST_LINE - line.len())];
        if !within {
            line.extend_from_slice(piece);
        }
        let whole = end == Some(piece.len());
        let used = piece.len() + usize::from(whole);
        reader.consume(used);
        if whole && within {
            within = false;
        } else if whole || line.len() == LONGEST_LINE {
            source.line(stream, &line);
            line.clear();
        }
    }
    if !line.is_empty() {
        source.line(stream, &line);
    }
    source.end_gap(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(Severity, String)>>);

    impl Journal for Lines {
        fn write(&self, entry: Entry) {
            if let Entry::Output(line) = entry {
                self.0.lock().expect("no panic").push((line.severity, line.text));
            }
        }
    }

    fn lines_of(input: &[u8]) -> Vec<(Severity, String)> {
        let journal = Arc::new(Lines::default());
        let version = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
        let source = Source::new(version, InstanceId::Number(0), Arc::clone(&journal) as _, Tail::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(read(input, source, Stream::Stdout));
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

    #[test]
    fn a_flood_is_bounded_and_told() {
        let mut input = b"noise\n".repeat(2_000_000);
        input.extend_from_slice(b"last words");
        let lines = lines_of(&input);
        assert!(lines.len() < 20_000, "{}", lines.len());
        let marks: Vec<&String> = lines.iter().filter(|(severity, _)| *severity == Severity::Warning).map(|(_, text)| text).collect();
        let dropped: usize = marks.iter().filter_map(|text| text.split(' ').next()?.parse::<usize>().ok()).sum();
        // The pieces of lines around a gap may count or not.
        let told = lines.len() - marks.len() + dropped;
        assert!((1_999_000..=2_001_000).contains(&told), "{told} of {marks:?}");
    }
}

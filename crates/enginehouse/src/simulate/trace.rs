//! Arrivals from a file: numbers, CSV, JSON lines, our own log, exported Cloud Logging entries. Hostile files end in an error, not in a full memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use model::ids::ServiceId;
use model::sim::{Arrival, LONGEST, MOST_ARRIVALS};
use model::time::{Tick, stamp};
use serde_json::Value;

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// In order, counted from the beginning of the load.
    pub(crate) arrivals: Vec<Arrival>,
    /// Lines that were understood and are none of the requests that are simulated.
    pub(crate) skipped: u64,
    /// Lines that came before an earlier one.
    pub(crate) unsorted: bool,
}

/// Bytes of a line, at most; a log line may bring much that the app wrote.
const LONGEST_LINE: u64 = 4 << 20;
/// Bytes of a file that is one JSON list, which cannot be read line by line.
const LARGEST_LIST: u64 = 64 << 20;
/// Nothing takes longer, in milliseconds.
const LONGEST_MS: f64 = 86_400_000.0;
/// Seconds; larger numbers count from 1970 and not from the beginning of the load.
const EPOCH_FROM: u64 = 100_000_000;
/// The year 2286; nobody has traffic from later.
const LATEST: f64 = 1e10;

/// Names of columns and keys.
const TIMES: [&str; 5] = ["time", "t", "at", "timestamp", "arrival"];
const SERVICES: [&str; 4] = ["service_ms", "ms", "duration_ms", "latency_ms"];

/// One line that was read.
enum Line {
    Request {
        micros: u64,
        service: Option<Duration>,
    },
    /// A header, a line of an app, a request of another service.
    Other,
}

impl Trace {
    /// Reads `path`; `-` is stdin. Of logs only the requests of `service` count.
    ///
    /// # Errors
    /// A text that names the line and says how to mend it.
    pub(crate) fn read(path: &Path, service: &ServiceId) -> Result<Self, String> {
        if path.as_os_str() == "-" {
            return parse(BufReader::new(io::stdin()), "stdin", service);
        }
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("cannot read the trace {name}: {error}"))?;
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(format!("the trace {name} is a folder; give the file in it"));
        }
        parse(BufReader::with_capacity(1 << 16, file), &name, service)
    }

    /// How long the load is: up to the last arrival, in whole seconds.
    pub(crate) fn long(&self) -> Duration {
        let last = self.arrivals.last().map_or(0, |arrival| arrival.at.0);
        Duration::from_secs(last / 1_000_000 + 1)
    }

    fn push(&mut self, micros: u64, service: Option<Duration>) -> Result<(), String> {
        if self.arrivals.len() >= MOST_ARRIVALS {
            return Err(format!("more than {MOST_ARRIVALS} requests; simulate a part of the file: `head -n {MOST_ARRIVALS}`"));
        }
        self.unsorted |= self.arrivals.last().is_some_and(|last| last.at.0 > micros);
        self.arrivals.push(Arrival { at: Tick(micros), service });
        Ok(())
    }

    /// Sorts, and counts from the beginning of the load.
    fn settle(mut self, name: &str) -> Result<Self, String> {
        self.arrivals.sort_by_key(|arrival| arrival.at);
        let (Some(first), Some(last)) = (self.arrivals.first(), self.arrivals.last()) else {
            let skipped = if self.skipped > 0 {
                format!(" ({} lines are something else or belong to another service)", self.skipped)
            } else {
                String::new()
            };
            return Err(format!("{name} has no requests{skipped}; see `enginehouse simulate --help` for what a line may be"));
        };
        let first = if first.at.0 < EPOCH_FROM * 1_000_000 { Tick(0) } else { first.at };
        if last.at.since(first) > LONGEST {
            let days = last.at.since(first).as_secs() / 86_400;
            return Err(format!("{name} spans {days} days, at most 31 can be simulated; are all times of one kind, and in seconds?"));
        }
        for arrival in &mut self.arrivals {
            arrival.at.0 -= first.0;
        }
        Ok(self)
    }
}

fn parse(mut input: impl BufRead, name: &str, service: &ServiceId) -> Result<Trace, String> {
    let failed = |error: io::Error| format!("cannot read the trace {name}: {error}");
    let mut trace = Trace::default();
    let mut columns = None;
    let mut bytes = Vec::new();
    for number in 1_u64.. {
        let place = |what: String| format!("{name}:{number}: {what}");
        bytes.clear();
        if input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            break;
        }
        if bytes.len() as u64 >= LONGEST_LINE && !bytes.ends_with(b"\n") {
            return Err(place("the line is longer than 4 MiB; is this a text file?".into()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| place("the line is not UTF-8 text".into()))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        let line = match text.as_bytes().first() {
            None | Some(b'#') => continue,
            Some(b'[') if trace.arrivals.is_empty() => return list(text, input, name, service),
            Some(b'{') => object(&serde_json::from_str(text).map_err(|error| place(format!("not a JSON object: {error}")))?, service),
            Some(_) => row(text, &mut columns),
        };
        match line.map_err(place)? {
            Line::Request { micros, service } => trace.push(micros, service).map_err(place)?,
            Line::Other => trace.skipped += 1,
        }
    }
    trace.settle(name)
}

/// A file that is one JSON list of objects, as `gcloud logging read --format=json` writes.
fn list(begun: &str, input: impl BufRead, name: &str, service: &ServiceId) -> Result<Trace, String> {
    let mut text = format!("{begun}\n");
    let read = input.take(LARGEST_LIST).read_to_string(&mut text).map_err(|error| format!("cannot read the trace {name}: {error}"))?;
    if read as u64 >= LARGEST_LIST {
        return Err(format!("{name} is a JSON list of more than 64 MiB; make it one object a line: `jq -c '.[]'`"));
    }
    let objects: Vec<Value> =
        serde_json::from_str(&text).map_err(|error| format!("{name}:{}:{}: {error}", error.line(), error.column()))?;
    let mut trace = Trace::default();
    for (number, value) in objects.iter().enumerate() {
        let place = |what: String| format!("{name}: entry {}: {what}", number + 1);
        match object(value, service).map_err(place)? {
            Line::Request { micros, service } => trace.push(micros, service).map_err(place)?,
            Line::Other => trace.skipped += 1,
        }
    }
    trace.settle(name)
}

/// Which column is what.
struct Columns {
    time: usize,
    service: Option<usize>,
}

fn row(text: &str, columns: &mut Option<Columns>) -> Result<Line, String> {
    let fields: Vec<&str> = text.split([',', ';', '\t']).map(|field| field.trim().trim_matches('"')).collect();
    let Some(known) = columns else {
        let named = header(&fields);
        let is_header = named.is_some();
        *columns = Some(named.unwrap_or(Columns { time: 0, service: Some(1) }));
        return if is_header { Ok(Line::Other) } else { row(text, columns) };
    };
    let place = |index: usize, what: String| format!("column {}: {what}", index + 1);
    let time = fields.get(known.time).copied().unwrap_or_default();
    let micros = moment(time).map_err(|what| place(known.time, what))?;
    let service = known.service.and_then(|index| Some((index, *fields.get(index)?))).filter(|(_, field)| !field.is_empty());
    let service = service.map(|(index, field)| millis(field.parse().ok(), field).map_err(|what| place(index, what))).transpose()?;
    Ok(Line::Request { micros, service })
}

/// The names of the columns, if the line has a name for the time.
fn header(fields: &[&str]) -> Option<Columns> {
    let find = |names: &[&str]| fields.iter().position(|field| names.contains(&field.to_ascii_lowercase().as_str()));
    Some(Columns { time: find(&TIMES)?, service: find(&SERVICES) })
}

fn object(value: &Value, service: &ServiceId) -> Result<Line, String> {
    match value.get("type").and_then(Value::as_str) {
        Some("request") => return logged(value, service),
        Some(_) => return Ok(Line::Other),
        None => {}
    }
    let Some(time) = TIMES.iter().find_map(|name| value.get(name)) else {
        return Err("the object has no `time`; write for example {\"time\": 12.5, \"service_ms\": 80}".into());
    };
    let micros = match time {
        Value::String(text) => moment(text)?,
        other => seconds(other.as_f64(), &other.to_string())?,
    };
    let cloud = ["/httpRequest/latency", "/protoPayload/latency"].iter().find_map(|path| value.pointer(path)?.as_str());
    let service = match (SERVICES.iter().find_map(|name| value.get(name)), cloud) {
        (Some(Value::Null), _) | (None, None) => None,
        (Some(number), _) => Some(millis(number.as_f64(), &number.to_string())?),
        (None, Some(text)) => Some(millis(text.trim_end_matches('s').parse().ok().map(|seconds: f64| seconds * 1e3), text)?),
    };
    Ok(Line::Request { micros, service })
}

/// A request of our own log.
fn logged(value: &Value, service: &ServiceId) -> Result<Line, String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    // Static files and redirects need no instance; a request that was refused one has a fault.
    if text("service").is_some_and(|name| name != service.as_str()) || text("instance").is_none() && text("fault").is_none() {
        return Ok(Line::Other);
    }
    let time = value.get("time").ok_or("the request has no `time`")?;
    let micros = seconds(time.as_f64(), &time.to_string())?;
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let service = match (text("instance"), number("took_us")) {
        (Some(_), Some(took)) => Some(Duration::from_micros(took.saturating_sub(number("pending_us").unwrap_or(0))).min(LONGEST)),
        _ => None,
    };
    Ok(Line::Request { micros, service })
}

/// Microseconds of `12.5` or `2026-01-31T12:00:00Z`.
fn moment(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(number) => seconds(Some(number), text),
        Err(_) => {
            stamp(text).ok_or_else(|| format!("`{}` is not a time; write seconds such as 12.5, or 2026-01-31T12:00:00Z", short(text)))
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn seconds(number: Option<f64>, text: &str) -> Result<u64, String> {
    match number.filter(|seconds| (0.0..=LATEST).contains(seconds)) {
        Some(seconds) => Ok((seconds * 1e6).round() as u64),
        None => Err(format!("`{}` is not a number of seconds from 0 on; milliseconds would have to be divided by 1000", short(text))),
    }
}

fn millis(number: Option<f64>, text: &str) -> Result<Duration, String> {
    let number = number.filter(|ms| (0.0..=LONGEST_MS).contains(ms));
    let wrong = || format!("`{}` is not how many milliseconds a request took (0 to a day)", short(text));
    number.map(|ms| Duration::from_secs_f64(ms / 1e3)).ok_or_else(wrong)
}

/// What an error message can quote.
fn short(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u64, Option<u128>)>, String> {
        let trace = parse(text.as_bytes(), "t", &ServiceId::default_service())?;
        Ok(trace.arrivals.iter().map(|one| (one.at.0 / 1_000, one.service.map(|time| time.as_millis()))).collect())
    }

    #[test]
    fn numbers_and_columns_are_read() {
        assert_eq!(read("1.5\n\n# note\n0.5\n"), Ok(vec![(500, None), (1_500, None)]));
        assert_eq!(read("0,80\n1;90\n2\t100\n3,\n"), Ok(vec![(0, Some(80)), (1_000, Some(90)), (2_000, Some(100)), (3_000, None)]));
        assert_eq!(read("path,time,service_ms\n/x,2,5\n"), Ok(vec![(2_000, Some(5))]));
        assert_eq!(read("\u{feff}Time\r\n2\r\n"), Ok(vec![(2_000, None)]));
        assert_eq!(read("1700000000\n1700000001.25\n"), Ok(vec![(0, None), (1_250, None)]));
        assert_eq!(read("2026-01-31T12:00:00Z,7\n2026-01-31T12:00:00.5Z,8\n"), Ok(vec![(0, Some(7)), (500, Some(8))]));
    }

    #[test]
    fn json_lines_lists_and_logs_are_read() {
        assert_eq!(read("{\"t\": 1, \"ms\": 2.0}\n{\"time\": 3}\n"), Ok(vec![(1_000, Some(2)), (3_000, None)]));
        let cloud = r#"[{"timestamp": "2026-01-31T12:00:01Z", "httpRequest": {"latency": "0.25s"}},
            {"timestamp": "2026-01-31T12:00:00Z", "protoPayload": {"latency": "0.5s"}}]"#;
        assert_eq!(read(cloud), Ok(vec![(0, Some(500)), (1_000, Some(250))]));
        let log = r#"
{"type":"notice","time":1700000000.0,"severity":"INFO","message":"x"}
{"type":"request","time":1700000003.0,"took_us":90000,"pending_us":40000,"service":"default","instance":"a","fault":null}
{"type":"request","time":1700000001.0,"took_us":100,"pending_us":0,"service":"default","instance":null,"fault":null}
{"type":"request","time":1700000002.0,"took_us":100,"pending_us":0,"service":"default","instance":null,"fault":"no instance"}
{"type":"request","time":1700000001.0,"took_us":100,"pending_us":0,"service":"api","instance":"b","fault":null}
"#;
        assert_eq!(read(log), Ok(vec![(0, None), (1_000, Some(50))]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let wrong = |text: &str| read(text).expect_err(text);
        assert_eq!(wrong("1\nabc\n"), "t:2: column 1: `abc` is not a time; write seconds such as 12.5, or 2026-01-31T12:00:00Z");
        assert!(wrong("1,2\n2,x\n").starts_with("t:2: column 2: `x` is not how many milliseconds"));
        assert!(wrong("{\"a\": 1}\n").starts_with("t:1: the object has no `time`"));
        assert!(wrong("{\"time\": 1\n").starts_with("t:1: not a JSON object"));
        assert!(wrong("").starts_with("t has no requests"));
        assert!(wrong("0\n99999999\n").contains("31 can be simulated"));
        for bad in [
            "-1",
            "NaN",
            "inf",
            "1e300",
            "-inf",
            "0,-1",
            "0,NaN",
            "0,1e12",
            "{\"time\": -1}",
            "{\"time\": null}",
            "{\"t\": 0, \"ms\": \"x\"}",
            "[1]",
            "[",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(parse(&b"\xff\xfe1\n"[..], "t", &ServiceId::default_service()).is_err_and(|text| text.contains("UTF-8")));
        assert!(wrong(&"1".repeat(5 << 20)).contains("4 MiB"));
    }
}

//! Log entries as people read them: one line and what belongs below it, coloured, bounded, and harmless to a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::Style;
use model::ids::{AppId, InstanceId, VersionKey};
use model::journal::{Entry, Output, Request, Severity};

use crate::ui::{BOLD, DIM, GREEN, RED, YELLOW};

/// Characters of one logged line or traceback that are shown; the rest is cut.
const LONGEST: usize = 16_384;

/// Lines for people.
pub(crate) fn plain(entry: &Entry, text: &mut String) {
    plain_of(None, entry, text);
}

/// Lines for people who look after several apps.
pub(crate) fn plain_of(app: Option<&AppId>, entry: &Entry, text: &mut String) {
    match entry {
        Entry::Request(request) => plain_request(app, request, text),
        Entry::Output(line) => plain_output(app, line, text),
        Entry::Notice { severity, version, text: said } => {
            let style = severity_style(*severity);
            let whom = version.as_ref().map(|key| format!("{}: ", whose(app, key, None)));
            let whom = whom.or_else(|| app.map(|app| format!("{app}: "))).unwrap_or_default();
            let mark = if *severity >= Severity::Warning { "!" } else { "·" };
            for (n, part) in cut(said).lines().enumerate() {
                let head = if n == 0 { format!("{mark} {whom}") } else { "    ".to_owned() };
                let _ = writeln!(text, "{style}{head}{}{style:#}", printable(part));
            }
        }
    }
}

fn plain_output(app: Option<&AppId>, line: &Output, text: &mut String) {
    let style = severity_style(line.severity);
    let whose = whose(app, &line.version, Some(&line.instance));
    for part in cut(&line.text).lines() {
        let _ = writeln!(text, "{DIM}{whose}{DIM:#} {style}{}{style:#}", printable(part));
    }
    if let Some(fields) = &line.fields {
        let _ = writeln!(text, "{DIM}{whose}   {}{DIM:#}", printable(cut(fields)));
    }
}

fn plain_request(app: Option<&AppId>, request: &Request, text: &mut String) {
    let style = status_style(request.status);
    let status = if request.status == 0 { "---".to_owned() } else { request.status.to_string() };
    let _ = write!(text, "{style}{status}{style:#} {BOLD}{}{BOLD:#} {}", printable(&request.method), printable(&request.target));
    let _ = write!(text, " {DIM}{}{DIM:#}", span(request.took));
    if let Some(version) = &request.version {
        let _ = write!(text, " {}", whose(app, version, request.instance.as_ref()));
    }
    if request.cold {
        text.push_str(" ❄");
    }
    if let Some(handler) = &request.handler {
        let _ = write!(text, " {DIM}{}{DIM:#}", printable(handler));
    }
    if let Some(user) = &request.user {
        let _ = write!(text, " {DIM}{}{DIM:#}", printable(user));
    }
    text.push('\n');
    for (severity, said) in &request.lines {
        below(text, *severity, said);
    }
    if let Some(fault) = &request.fault {
        below(text, Severity::Error, fault);
    }
}

/// One logged message under its request; further lines of it are indented alike.
fn below(text: &mut String, severity: Severity, said: &str) {
    let style = severity_style(severity);
    let name = severity.name();
    for (n, part) in cut(said).lines().enumerate() {
        let head = if n == 0 { name } else { "" };
        let _ = writeln!(text, "    {style}{head:<8} {}{style:#}", printable(part));
    }
}

/// `SERVICE/VERSION/INSTANCE`, or `APP:SERVICE/VERSION/INSTANCE`.
fn whose(app: Option<&AppId>, version: &VersionKey, instance: Option<&InstanceId>) -> String {
    let app = app.map(|app| format!("{app}:")).unwrap_or_default();
    match instance {
        Some(instance) => format!("{app}{version}/{}", short(instance)),
        None => format!("{app}{version}"),
    }
}

/// The first digits of an opaque id are enough for the eye.
fn short(instance: &InstanceId) -> String {
    instance.to_string().chars().take(8).collect()
}

/// `870 µs`, `12 ms`, `3.4 s`.
fn span(took: Duration) -> String {
    let micros = took.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

fn status_style(status: u16) -> Style {
    match status {
        200..=299 => GREEN,
        300..=399 => Style::new(),
        400..=499 => YELLOW,
        _ => RED,
    }
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Debug => DIM,
        Severity::Default | Severity::Info | Severity::Notice => Style::new(),
        Severity::Warning => YELLOW,
        Severity::Error | Severity::Critical | Severity::Alert | Severity::Emergency => RED,
    }
}

/// Takes out what could play with the terminal, be it from a client or an app: control characters, and those that turn the direction of text.
fn printable(text: &str) -> String {
    let hostile =
        |c: char| c.is_control() && c != '\t' || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &str) -> &str {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::UNIX_EPOCH;

    use model::journal::Stream;

    use super::*;

    fn request() -> Request {
        let mut request = Request::new(UNIX_EPOCH, "abc", Ipv4Addr::LOCALHOST.into());
        request.method = "GET".into();
        request.target = "/a\u{1b}[2J?x=1".into();
        request.status = 200;
        request.took = Duration::from_micros(12_345);
        request.version = Some(version());
        request.instance = Some(InstanceId::Opaque("e4b565394caa".into()));
        request.cold = true;
        request.handler = Some("app.yaml:7 /.*".into());
        request.fault = Some("Traceback:\n  boom".into());
        request.lines = vec![(Severity::Warning, "careful".into())];
        request
    }

    fn version() -> VersionKey {
        VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short")
    }

    fn bare(entry: &Entry) -> String {
        let mut text = String::new();
        plain(entry, &mut text);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn a_request_is_one_line_with_the_apps_lines_below() {
        assert_eq!(
            bare(&Entry::Request(Box::new(request()))),
            "200 GET /a\u{fffd}[2J?x=1 12 ms default/v1/e4b56539 ❄ app.yaml:7 /.*\n    WARNING  careful\n    ERROR    Traceback:\n               boom\n"
        );
    }

    #[test]
    fn a_server_of_many_apps_says_whose_a_line_is() {
        let app: AppId = "shop".parse().expect("an id");
        let said = |version| Entry::Notice { severity: Severity::Info, version, text: "here".into() };
        for (entry, wanted) in [
            (Entry::Request(Box::new(request())), "12 ms shop:default/v1/e4b56539 "),
            (said(Some(version())), "· shop:default/v1: here"),
            (said(None), "· shop: here"),
        ] {
            let mut text = String::new();
            plain_of(Some(&app), &entry, &mut text);
            let bare = anstream::adapter::strip_str(&text).to_string();
            assert!(bare.contains(wanted), "{bare}");
        }
    }

    #[test]
    fn lines_of_apps_cannot_play_with_the_terminal() {
        let line = Output {
            at: UNIX_EPOCH,
            version: version(),
            instance: InstanceId::Number(3),
            stream: Stream::Stdout,
            severity: Severity::Info,
            text: format!("\u{1b}]0;owned\u{7}\u{202e}{}", "x".repeat(LONGEST)),
            trace: None,
            fields: Some(r#"{"a":"\u001b"}"#.into()),
        };
        let text = bare(&Entry::Output(Box::new(line)));
        assert!(
            text.starts_with("default/v1/3 \u{fffd}]0;owned\u{fffd}\u{fffd}xxx") && text.ends_with("default/v1/3   {\"a\":\"\\u001b\"}\n")
        );
        assert!(text.len() < LONGEST + 100);
    }

    #[test]
    fn spans_read_well() {
        for (micros, text) in [(870, "870 µs"), (12_345, "12 ms"), (3_400_000, "3.4 s")] {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
    }
}

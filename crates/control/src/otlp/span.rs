//! From the record of a request to its spans: one for the request, one for its wait in the queue, one for the app. Names of attributes are those of
//! OpenTelemetry's semantic conventions (HTTP server spans, `FaaS`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::journal::Request;

/// A span as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// What went wrong, if something did.
    pub(super) error: Option<String>,
}

/// The numbers are OTLP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Truth(bool),
}

/// The spans of a request, if its trace is wanted.
pub(super) fn of(request: &Request) -> Vec<Span> {
    let Some(span) = request.span.as_deref().filter(|span| span.place.sampled) else { return Vec::new() };
    let at = |after: Duration| nanos(request.at + after);
    let place = span.place;
    let mut all = vec![Span {
        trace: place.trace,
        id: place.span,
        parent: place.parent,
        name: match route(request) {
            Some(route) => format!("{} {route}", request.method),
            None => request.method.clone(),
        },
        kind: Kind::Server,
        start: at(Duration::ZERO),
        end: at(request.took),
        attributes: attributes(request, span.https),
        error: (request.status >= 500 || request.status == 0)
            .then(|| request.fault.as_deref().and_then(|fault| fault.lines().last()).unwrap_or_default().to_owned()),
    }];
    let child = |number: u64, name: &str, kind, start, end, attributes| Span {
        trace: place.trace,
        id: mix(place.span, number),
        parent: Some(place.span),
        name: name.to_owned(),
        kind,
        start: at(start),
        end: at(end),
        attributes,
        error: None,
    };
    if let Some(wanted) = span.wanted {
        let end = span.asked.unwrap_or(request.took);
        all.push(child(1, "pending", Kind::Internal, wanted, end, vec![("faas.coldstart", Value::Truth(request.cold))]));
    }
    if let Some(asked) = span.asked {
        let instance = request.instance.iter().map(|id| ("faas.instance", Value::Text(id.to_string()))).collect();
        all.push(child(2, "app", Kind::Client, asked, span.answered.unwrap_or(request.took), instance));
    }
    all
}

fn attributes(request: &Request, https: bool) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::Text(text.to_owned());
    let (path, query) = request.target.split_once('?').map_or((request.target.as_str(), None), |(path, query)| (path, Some(query)));
    let mut all = vec![
        ("http.request.method", text(&request.method)),
        ("url.path", text(path)),
        ("url.scheme", text(if https { "https" } else { "http" })),
        ("network.protocol.version", text(if request.protocol == "HTTP/2.0" { "2" } else { request.protocol.trim_start_matches("HTTP/") })),
        ("client.address", Value::Text(request.client.to_string())),
        ("http.response.body.size", Value::Number(i64::try_from(request.bytes).unwrap_or(i64::MAX))),
        ("faas.coldstart", Value::Truth(request.cold)),
        ("enginehouse.log_id", text(&request.log_id)),
    ];
    if request.status != 0 {
        all.push(("http.response.status_code", Value::Number(request.status.into())));
    }
    if request.status >= 500 {
        all.push(("error.type", Value::Text(request.status.to_string())));
    }
    if let Some(query) = query {
        all.push(("url.query", text(query)));
    }
    if let Ok(authority) = request.host.parse::<http::uri::Authority>() {
        all.push(("server.address", text(authority.host())));
        if let Some(port) = authority.port_u16() {
            all.push(("server.port", Value::Number(port.into())));
        }
    }
    if let Some(agent) = &request.agent {
        all.push(("user_agent.original", text(agent)));
    }
    if let Some(route) = route(request) {
        all.push(("http.route", text(route)));
    }
    if let Some(version) = &request.version {
        all.push(("faas.name", text(version.service.as_str())));
        all.push(("faas.version", text(version.version.as_str())));
    }
    if let Some(instance) = &request.instance {
        all.push(("faas.instance", Value::Text(instance.to_string())));
    }
    all
}

/// The pattern of the handler: what follows `file:line `.
fn route(request: &Request) -> Option<&str> {
    let handler = request.handler.as_deref()?;
    let after_line = handler.match_indices(' ').find(|(at, _)| {
        let before = handler[..*at].trim_end_matches(|c: char| c.is_ascii_digit());
        before.len() < *at && before.ends_with(':')
    });
    Some(after_line.map_or(handler, |(at, _)| &handler[at + 1..]))
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Another id for each number, never 0.
fn mix(id: u64, number: u64) -> u64 {
    let mixed = (id ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)).max(1)
}

#[cfg(test)]
mod tests {
    use model::journal;
    use model::trace::Place;

    use super::*;

    fn request() -> Request {
        let mut request = Request::new(UNIX_EPOCH + Duration::from_secs(10), "abc", [127, 0, 0, 1].into());
        request.method = "GET".into();
        request.target = "/a?b=c".into();
        request.host = "shop.localhost:8080".into();
        request.handler = Some("my app/app.yaml:7 /a b.*".into());
        request.status = 503;
        request.fault = Some("Traceback\nValueError: no".into());
        request.took = Duration::from_millis(30);
        let place = Place { trace: 5, span: 6, parent: Some(7), sampled: true };
        let milli = |millis| Some(Duration::from_millis(millis));
        request.span = Some(Box::new(journal::Span { place, https: false, wanted: milli(1), asked: milli(11), answered: milli(29) }));
        request
    }

    #[test]
    fn a_request_is_a_server_span_with_its_wait_and_the_app_below() {
        let spans = of(&request());
        let shape: Vec<_> =
            spans.iter().map(|span| (span.name.as_str(), span.kind, span.parent, (span.end - span.start) / 1_000_000)).collect();
        assert_eq!(
            shape,
            [("GET /a b.*", Kind::Server, Some(7), 30), ("pending", Kind::Internal, Some(6), 10), ("app", Kind::Client, Some(6), 18),]
        );
        assert_eq!(spans[0].error.as_deref(), Some("ValueError: no"));
        let has = |name, value| assert!(spans[0].attributes.contains(&(name, value)), "{name}: {:?}", spans[0].attributes);
        has("url.path", Value::Text("/a".into()));
        has("url.query", Value::Text("b=c".into()));
        has("server.port", Value::Number(8080));
        has("http.response.status_code", Value::Number(503));
        assert!(spans[1].id != spans[2].id && spans[1].id != 6);
    }

    #[test]
    fn what_is_not_sampled_is_not_sent() {
        let mut request = request();
        if let Some(span) = &mut request.span {
            span.place.sampled = false;
        }
        assert_eq!(of(&request), []);
        request.span = None;
        assert_eq!(of(&request), []);
    }
}

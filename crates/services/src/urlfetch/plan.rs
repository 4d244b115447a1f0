//! What a fetch is asked for, how the request looks that follows from it, and where a redirect leads. Pure.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::address::Address;
use crate::call::Failure;
use crate::proto::remote_api::rpc_error::Code;
use crate::proto::urlfetch::{self as pb, ErrorCode};

/// The largest body of a request, and the largest request (docs, "Quotas and limits for URL Fetch").
pub const MOST_REQUEST: usize = 10 << 20;
/// The largest body of an answer; the rest is cut off.
pub const MOST_ANSWER: usize = 32 << 20;
/// Redirects that are followed (the SDK's `MAX_REDIRECTS`).
pub const REDIRECTS: usize = 5;
/// The deadline of a fetch that names none.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest one (docs, "Quotas and limits for URL Fetch").
const LONGEST: Duration = Duration::from_mins(1);
/// A fetch ends so long before the deadline that the app gave to the API call too, so that the app hears of the fetch's own.
const HEAD_START: Duration = Duration::from_millis(100);
/// Header fields of a request.
const FIELDS: usize = 1000;

/// Headers that an app cannot set (docs, "Outbound requests"), and those that are about the connection, which is ours.
const STRIPPED: [&str; 16] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "x-appengine-inbound-appid",
    "x-forwarded-for",
    "x-proxyuser-ip",
];

/// One fetch.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked now.
    pub address: Address,
    /// How.
    pub method: Method,
    /// The body.
    pub payload: Option<Bytes>,
    /// All headers but `Host`.
    pub headers: HeaderMap,
    /// Redirects are followed.
    pub follow: bool,
    /// From the call to the whole answer.
    pub deadline: Duration,
    /// A server without a good certificate is not asked.
    pub validate: bool,
    /// The app named an encoding itself, and gets the body as it comes.
    pub raw: bool,
    /// Who is asked in the server's place: host and port.
    pub proxy: Option<(String, u16)>,
}

impl Plan {
    /// Reads what is asked for; `appid` with its partition, as it stands in `User-Agent`.
    ///
    /// # Errors
    /// With the codes of the service.
    pub fn read(asked: pb::UrlFetchRequest, appid: &str) -> Result<Self, Failure> {
        let (Some(method), Some(url)) = (asked.method, asked.url.as_ref()) else {
            return Err(Failure::Rpc(Code::ParseError, "The request names no method or no URL.".into()));
        };
        let (method, body) = match method {
            1 => (Method::GET, false),
            2 => (Method::POST, true),
            3 => (Method::HEAD, false),
            4 => (Method::PUT, true),
            5 => (Method::DELETE, false),
            6 => (Method::PATCH, true),
            _ => return Err(Failure::app(ErrorCode::InvalidUrl, format!("there is no method {method}"))),
        };
        let address = Address::read(url).map_err(|bad| Failure::app(ErrorCode::InvalidUrl, bad.0))?;
        let payload = asked.payload.filter(|_| body);
        if payload.as_ref().is_some_and(|payload| payload.len() > MOST_REQUEST) {
            return Err(Failure::app(ErrorCode::PayloadTooLarge, "the payload is larger than 10 MiB"));
        }
        let form = method == Method::POST && payload.as_ref().is_some_and(|payload| !payload.is_empty());
        let (headers, raw) = headers(&asked.header, appid, form)?;
        Ok(Self {
            address,
            method,
            payload,
            headers,
            follow: asked.follow_redirects.unwrap_or(true),
            deadline: deadline(asked.deadline)?,
            validate: asked.must_validate_server_certificate.unwrap_or(true),
            raw,
            proxy: None,
        })
    }

    /// What is asked next after this answer; `None` if this is the one to hand on.
    ///
    /// # Errors
    /// If the redirect leads nowhere.
    pub fn next(&self, status: StatusCode, headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        if !self.follow || !matches!(status.as_u16(), 301 | 302 | 303 | 307) {
            return Ok(None);
        }
        let location =
            headers.get(LOCATION).ok_or_else(|| Failure::app(ErrorCode::MalformedReply, "a redirect without a Location header"))?;
        let address = self.address.join(location.as_bytes());
        let address = address.map_err(|bad| Failure::app(ErrorCode::InvalidUrl, format!("a redirect leads nowhere: {bad}")))?;
        let mut next = Self { address, ..self.clone() };
        // docs and SDK: everything but 307 goes on with GET, unless it was GET or HEAD anyway.
        if status != StatusCode::TEMPORARY_REDIRECT && !matches!(self.method, Method::GET | Method::HEAD) {
            next.method = Method::GET;
            next.payload = None;
            next.headers.remove(CONTENT_TYPE);
        }
        Ok(Some(next))
    }
}

/// 5 s if none is named; what is none is over at once, as the SDK says.
fn deadline(asked: Option<f64>) -> Result<Duration, Failure> {
    let Some(seconds) = asked else { return Ok(DEADLINE) };
    let late = || Failure::app(ErrorCode::DeadlineExceeded, "the deadline is not after now");
    if seconds.is_nan() || seconds <= 0.0 {
        return Err(late());
    }
    let asked = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(if asked > LONGEST { LONGEST } else { asked.saturating_sub(HEAD_START.min(asked / 10)) })
}

/// The headers of the request, and whether the app names an encoding.
fn headers(asked: &[pb::url_fetch_request::Header], appid: &str, form: bool) -> Result<(HeaderMap, bool), Failure> {
    let malformed = |key: &[u8]| {
        let shown: String = String::from_utf8_lossy(key).chars().take(100).flat_map(char::escape_default).collect();
        Failure::app(ErrorCode::InvalidUrl, format!("the header `{shown}` is malformed"))
    };
    if asked.len() > FIELDS {
        return Err(Failure::app(ErrorCode::PayloadTooLarge, "the request has more than 1000 headers"));
    }
    let mut all = HeaderMap::new();
    let (mut agent, mut raw) = (None, false);
    for header in asked {
        let (key, value) = (header.key.as_deref().unwrap_or_default(), header.value.as_deref().unwrap_or_default());
        let name = HeaderName::from_bytes(key.trim_ascii()).map_err(|_| malformed(key))?;
        let value = HeaderValue::from_bytes(&unfolded(value)).map_err(|_| malformed(key))?;
        if STRIPPED.contains(&name.as_str()) {
            continue;
        }
        match name {
            USER_AGENT => agent = Some(value),
            ACCEPT_ENCODING | CONTENT_TYPE => {
                raw |= name == ACCEPT_ENCODING;
                all.insert(name, value);
            }
            _ => {
                all.append(name, value);
            }
        }
    }
    let suffix = format!("AppEngine-Google; (+http://code.google.com/appengine; appid: {appid})");
    let agent = agent.map_or_else(|| suffix.as_bytes().to_vec(), |own| [own.as_bytes(), b" ", suffix.as_bytes()].concat());
    all.insert(USER_AGENT, HeaderValue::from_bytes(&agent).map_err(|_| malformed(b"User-Agent"))?);
    if form {
        all.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    Ok((all, raw))
}

/// httplib folds several values into lines; one line holds them all.
fn unfolded(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if !value.windows(2).any(|pair| pair[0] == b'\n' && matches!(pair[1], b' ' | b'\t')) {
        return value.into();
    }
    let lines = value.split(|b| *b == b'\n').enumerate();
    let mut out = Vec::with_capacity(value.len());
    for (index, line) in lines {
        if index > 0 {
            // What is no continuation stays a line break, and is refused.
            out.push(if matches!(line.first(), Some(b' ' | b'\t')) { b' ' } else { b'\n' });
        }
        out.extend_from_slice(line.trim_ascii());
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: i32, headers: &[(&str, &str)]) -> pb::UrlFetchRequest {
        let header = |(key, value): &(&str, &str)| pb::url_fetch_request::Header {
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        };
        pb::UrlFetchRequest {
            method: Some(method),
            url: Some(Bytes::from_static(b"http://example.com/")),
            header: headers.iter().map(header).collect(),
            payload: Some(Bytes::from_static(b"body")),
            ..pb::UrlFetchRequest::default()
        }
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let mut all: Vec<_> =
            plan.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
        all.sort();
        all
    }

    #[test]
    fn s6_headers_are_cleaned_and_completed() {
        let agent = "AppEngine-Google; (+http://code.google.com/appengine; appid: s~shop)";
        let plan = Plan::read(asked(1, &[]), "s~shop").expect("a plan");
        assert_eq!(shown(&plan), [format!("user-agent: {agent}")]);
        assert!(plan.payload.is_none() && plan.follow && plan.validate && !plan.raw);
        let own = [
            ("User-Agent", "mine"),
            ("Host", "evil.example"),
            ("content-length", "5"),
            ("VIA", "x"),
            ("Vary", "x"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-AppEngine-Inbound-AppId", "other"),
            ("Transfer-Encoding", "chunked"),
            ("Cookie", "a"),
            ("Cookie", "b"),
            ("Accept-Encoding", "br"),
            ("X-Folded", "a\r\n\tb"),
        ];
        let plan = Plan::read(asked(2, &own), "s~shop").expect("a plan");
        assert_eq!(
            shown(&plan),
            [
                "accept-encoding: br",
                "content-type: application/x-www-form-urlencoded",
                "cookie: a",
                "cookie: b",
                &format!("user-agent: mine {agent}"),
                "x-folded: a b",
            ]
        );
        assert!(plan.raw && plan.payload.is_some());
    }

    #[test]
    fn s6_what_cannot_be_asked_is_refused() {
        let code = |asked| match Plan::read(asked, "s~shop") {
            Err(Failure::Application(code, _)) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(asked(7, &[])), 1);
        assert_eq!(code(asked(1, &[("a b", "c")])), 1);
        assert_eq!(code(asked(1, &[("a", "c\r\nHost: evil")])), 1);
        let large = pb::UrlFetchRequest { payload: Some(vec![0; MOST_REQUEST + 1].into()), ..asked(2, &[]) };
        assert_eq!(code(large.clone()), 13);
        assert!(Plan::read(pb::UrlFetchRequest { method: Some(1), ..large }, "s~shop").is_ok(), "GET sends none");
        for bad in [0.0, -1.0, f64::NAN] {
            assert_eq!(code(pb::UrlFetchRequest { deadline: Some(bad), ..asked(1, &[]) }), 5);
        }
        assert!(matches!(Plan::read(pb::UrlFetchRequest::default(), ""), Err(Failure::Rpc(Code::ParseError, _))));
    }

    #[test]
    fn s6_deadlines_have_bounds() {
        let of = |seconds| deadline(seconds).expect("a deadline");
        assert_eq!(of(None), Duration::from_secs(5));
        assert_eq!(of(Some(10.0)), Duration::from_millis(9900));
        assert_eq!(of(Some(0.5)), Duration::from_millis(450));
        assert_eq!(of(Some(600.0)), Duration::from_mins(1));
        assert_eq!(of(Some(f64::INFINITY)), Duration::from_mins(1));
    }

    #[test]
    fn s6_redirects_keep_or_drop_the_body() {
        let redirect = |method, status: u16, follow| {
            let plan = Plan { follow, ..Plan::read(asked(method, &[("Authorization", "x")]), "s~shop").expect("a plan") };
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("/next"))]);
            let next = plan.next(StatusCode::from_u16(status).expect("a status"), &headers).expect("a redirect");
            next.map(|next| (next.method.to_string(), next.payload.is_some(), next.address.to_string()))
        };
        let to = |method: &str, body| Some((method.to_owned(), body, "http://example.com/next".to_owned()));
        for status in [301, 302, 303] {
            assert_eq!(redirect(1, status, true), to("GET", false));
            assert_eq!(redirect(2, status, true), to("GET", false));
            assert_eq!(redirect(3, status, true), to("HEAD", false));
            assert_eq!(redirect(5, status, true), to("GET", false));
        }
        assert_eq!(redirect(2, 307, true), to("POST", true));
        assert_eq!(redirect(6, 307, true), to("PATCH", true));
        for status in [200, 300, 304, 305, 308, 404] {
            assert_eq!(redirect(1, status, true), None);
        }
        assert_eq!(redirect(1, 302, false), None);
    }
}

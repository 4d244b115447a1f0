//! What the environment says about traces: the variables that every OpenTelemetry SDK reads.

use std::path::PathBuf;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use model::trace::Sampler;
use percent_encoding::percent_decode_str;

/// Where and how spans are sent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The URL of the collector, path included.
    pub endpoint: Uri,
    /// Further headers, for instance a key.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How spans are written.
    pub protocol: Protocol,
    /// How long one batch may take.
    pub timeout: Duration,
    /// A PEM file of trusted certificates.
    pub certificate: Option<PathBuf>,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Who sends: `service.name` and so on.
    pub resource: Vec<(String, String)>,
    /// Requests whose spans may wait.
    pub queue: usize,
    /// Spans in one batch.
    pub batch: usize,
    /// How long a batch that is not full waits.
    pub delay: Duration,
}

/// How spans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`
    Protobuf,
    /// `http/json`
    Json,
}

/// A variable that cannot be followed; the text says which and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: {why}")]
pub struct ConfigError {
    name: &'static str,
    value: String,
    why: String,
}

fn wrong(name: &'static str, value: &str, why: impl Into<String>) -> ConfigError {
    ConfigError { name, value: value.to_owned(), why: why.into() }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";

impl Config {
    /// Reads the environment; `None` if no collector is named, or traces are not wanted.
    ///
    /// # Errors
    /// If a variable says something that cannot be followed.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        // The specification: an empty variable is as good as none.
        let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if off || get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none") {
            return Ok(None);
        }
        let endpoint = match (get(TRACES_ENDPOINT), get(ENDPOINT)) {
            (Some(whole), _) => url(TRACES_ENDPOINT, &whole, "")?,
            (None, Some(base)) => url(ENDPOINT, &base, "/v1/traces")?,
            (None, None) => return Ok(None),
        };
        let milliseconds = |names: &[&str], otherwise: u64| {
            let said = names.iter().find_map(|name| get(name)).and_then(|value| value.parse().ok()).filter(|&value| value > 0);
            Duration::from_millis(said.unwrap_or(otherwise)).min(Duration::from_mins(1))
        };
        let number = |name: &str, otherwise: usize| get(name).and_then(|v| v.parse().ok()).filter(|&v| v > 0).unwrap_or(otherwise);
        Ok(Some(Self {
            endpoint,
            headers: headers(&get("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| get(HEADERS)).unwrap_or_default())?,
            protocol: protocol(get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| get(PROTOCOL)).as_deref())?,
            timeout: milliseconds(&["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], 10_000),
            certificate: get("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE").or_else(|| get("OTEL_EXPORTER_OTLP_CERTIFICATE")).map(PathBuf::from),
            sampler: sampler(get(SAMPLER).as_deref(), get("OTEL_TRACES_SAMPLER_ARG").as_deref())?,
            resource: resource(get("OTEL_SERVICE_NAME"), &get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()),
            queue: number("OTEL_BSP_MAX_QUEUE_SIZE", 2_048).min(65_536),
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(8_192),
            delay: milliseconds(&["OTEL_BSP_SCHEDULE_DELAY"], 5_000),
        }))
    }
}

fn url(name: &'static str, text: &str, path: &str) -> Result<Uri, ConfigError> {
    let uri: Uri = text.parse().map_err(|_| wrong(name, text, "this is not a URL"))?;
    let mut parts = uri.into_parts();
    if !parts.scheme.as_ref().is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https")) || parts.authority.is_none() {
        return Err(wrong(name, text, "write http://HOST:4318 or https://HOST"));
    }
    let before = parts.path_and_query.as_ref().map_or("", PathAndQuery::as_str);
    let whole = if path.is_empty() { before.to_owned() } else { format!("{}{path}", before.trim_end_matches('/')) };
    parts.path_and_query = Some(whole.parse().map_err(|_| wrong(name, text, "the path is not one of a URL"))?);
    Uri::from_parts(parts).map_err(|_| wrong(name, text, "this is not a URL"))
}

/// `key=value,key=value`, the values percent-encoded (W3C Baggage).
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        Some((name.trim().to_owned(), value))
    })
}

fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let header = |(name, value): (String, String)| {
        let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::try_from(value).ok());
        // The value may be a key, which no message should show.
        parsed.ok_or_else(|| wrong(HEADERS, &format!("{name}=…"), "this is not a header"))
    };
    pairs(text).map(header).collect()
}

fn protocol(text: Option<&str>) -> Result<Protocol, ConfigError> {
    match text {
        None | Some("http/protobuf") => Ok(Protocol::Protobuf),
        Some("http/json") => Ok(Protocol::Json),
        Some(other) => Err(wrong(PROTOCOL, other, "http/protobuf and http/json are spoken here; collectors take them at port 4318")),
    }
}

fn sampler(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, ConfigError> {
    let name = name.unwrap_or("parentbased_always_on");
    Sampler::parse(name, argument).ok_or_else(|| {
        let why =
            "known are always_on, always_off, traceidratio with OTEL_TRACES_SAMPLER_ARG from 0 to 1, and each with parentbased_ in front";
        wrong(SAMPLER, name, why)
    })
}

fn resource(service: Option<String>, attributes: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = pairs(attributes).collect();
    if let Some(name) = service {
        all.retain(|(key, _)| key != "service.name");
        all.insert(0, ("service.name".into(), name));
    } else if !all.iter().any(|(key, _)| key == "service.name") {
        all.insert(0, ("service.name".into(), "enginehouse".into()));
    }
    for (key, value) in
        [("telemetry.sdk.name", "enginehouse"), ("telemetry.sdk.language", "rust"), ("telemetry.sdk.version", env!("CARGO_PKG_VERSION"))]
    {
        all.push((key.to_owned(), value.to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Config>, ConfigError> {
        Config::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[track_caller]
    fn good(variables: &[(&str, &str)]) -> Config {
        read(variables).expect("good").expect("wanted")
    }

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        assert!(read(&[]).expect("good").is_none());
        assert!(read(&[(ENDPOINT, "")]).expect("good").is_none());
        assert!(read(&[(ENDPOINT, "http://c:4318"), ("OTEL_SDK_DISABLED", "TRUE")]).expect("good").is_none());
        assert!(read(&[(ENDPOINT, "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")]).expect("good").is_none());
    }

    #[test]
    fn the_path_is_appended_to_the_base_only() {
        assert_eq!(good(&[(ENDPOINT, "http://c:4318")]).endpoint, "http://c:4318/v1/traces");
        assert_eq!(good(&[(ENDPOINT, "https://c/otlp/")]).endpoint, "https://c/otlp/v1/traces");
        assert_eq!(good(&[(ENDPOINT, "http://a"), (TRACES_ENDPOINT, "http://c/x")]).endpoint, "http://c/x");
        for bad in ["c:4318", "ftp://c", "nonsense"] {
            assert!(read(&[(ENDPOINT, bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_attributes_and_samplers_are_read() {
        let config = good(&[
            (ENDPOINT, "http://c"),
            (HEADERS, "x-key=a%20b, other=1"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,deployment.environment=test"),
            (SAMPLER, "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            (PROTOCOL, "http/json"),
        ]);
        assert_eq!(config.headers[0].1, "a b");
        assert_eq!(config.resource[..2], [("service.name".into(), "shop".into()), ("deployment.environment".into(), "test".into())]);
        assert_eq!((config.sampler, config.protocol), (Sampler { parent_based: false, ratio: 0.25 }, Protocol::Json));
        let error = read(&[(ENDPOINT, "http://c"), (HEADERS, "bad name=secret")]).expect_err("no header").to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(read(&[(ENDPOINT, "http://c"), (PROTOCOL, "grpc")]).is_err());
        assert!(read(&[(ENDPOINT, "http://c"), (SAMPLER, "jaeger_remote")]).is_err());
    }
}

//! The requests of aws/http-desync-guardian (conformance/corpus), as raw bytes through a real socket: what it calls severe or ambiguous is
//! refused and the connection closed; what it calls compliant is served.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use saphyr_parser::{Event, Parser};

use crate::app;
use crate::node::{Node, config, options, script, table};

#[derive(Debug, Clone)]
enum Yaml {
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl Yaml {
    fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(key),
            _ => None,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
}

fn read<'e>(events: &mut impl Iterator<Item = Event<'e>>) -> Option<Yaml> {
    loop {
        match events.next()? {
            Event::Scalar(text, ..) => return Some(Yaml::Text(text.into_owned())),
            Event::SequenceStart(..) => return Some(Yaml::List(std::iter::from_fn(|| read(events)).collect())),
            Event::MappingStart(..) => {
                let mut map = BTreeMap::new();
                while let Some(Yaml::Text(key)) = read(events) {
                    map.insert(key, read(events)?);
                }
                return Some(Yaml::Map(map));
            }
            Event::SequenceEnd | Event::MappingEnd | Event::StreamEnd => return None,
            _ => {}
        }
    }
}

/// The raw bytes of a case. What the corpus leaves out is filled in so that only what it describes is judged: a Host, and a body that fits.
fn raw(case: &Yaml) -> Vec<u8> {
    let field = |name| case.get(name).map(Yaml::text).unwrap_or_default();
    // An empty target is the path of an absolute URL without one.
    let target = if field("uri").is_empty() { "http://localhost" } else { field("uri") };
    let mut out = format!("{} {target} {}\r\n", field("method"), field("version"));
    let headers: Vec<(&str, &str)> = case
        .get("headers")
        .map(Yaml::list)
        .unwrap_or_default()
        .iter()
        .map(|header| (header.get("name").map(Yaml::text).unwrap_or_default(), header.get("value").map(Yaml::text).unwrap_or_default()))
        .collect();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        out.push_str("Host: localhost\r\n");
    }
    let (mut length, mut chunked) = (0, false);
    for (name, value) in headers {
        let _ = write!(out, "{name}: {value}\r\n");
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        chunked |= name.eq_ignore_ascii_case("transfer-encoding");
    }
    out.push_str("\r\n");
    out.push_str(&if chunked { "0\r\n\r\n".to_owned() } else { "x".repeat(length) });
    out.into_bytes()
}

#[test]
fn every_request_of_http_desync_guardian_is_served_or_refused_as_classified() {
    let (endpoint, _) = app::http(|received, wire| {
        wire.body(received);
        wire.answer("200 OK", "served");
        true
    });
    let mut routes = table(config("nodejs22", vec![script(r"/(.|\s)*")]), Path::new("/nowhere"));
    routes.naming.allowed = vec!["*".into()];
    let node = Node::start(options(), routes, Ok(endpoint));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/corpus/http-desync-guardian");
    let mut counts: BTreeMap<(String, u16), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in std::fs::read_dir(folder).expect("the corpus").map(|entry| entry.expect("an entry").path()) {
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("text");
        let mut events = Parser::new_from_str(&text).map(|event| event.expect("YAML").0);
        let cases = read(&mut events).expect("a list");
        for case in cases.list() {
            let tier = case.get("expected").and_then(|expected| expected.get("tier")).map(Yaml::text).expect("a tier").to_owned();
            let mut client = node.connect();
            let request = raw(case);
            client.write(&request);
            let answer = client.answer(request.starts_with(b"HEAD"));
            let fits = match tier.as_str() {
                "Compliant" => answer.status == 200,
                "Severe" | "Ambiguous" => {
                    (400..=505).contains(&answer.status) && answer.header("connection").as_deref() == Some("close") && client.closed()
                }
                _ => true,
            };
            if !fits {
                let shown: String = String::from_utf8_lossy(&request).chars().take(400).collect();
                wrong.push(format!("{tier}, answered {}: {shown}", answer.status));
            }
            *counts.entry((tier, answer.status)).or_default() += 1;
        }
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(counts.values().sum::<usize>(), 159);
}

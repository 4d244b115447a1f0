//! Apps that the agent serves, on both Pythons.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use model::config::VersionConfig;
use model::pool::{Endpoint, Outcome};
use model::scaling::{Manual, Scaling};

use crate::support::{House, config};

const APP: &str = r"
import os, sys
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    text = '%d.%d %s %s' % (sys.version_info[0], sys.version_info[1], environ.get('SERVER_SOFTWARE'), environ.get('INSTANCE_ID'))
    return [text.encode('ascii')]
";

/// One request in the agent's own frames; the body of the answer.
fn ask(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let mut payload = vec![0u8];
    for (key, value) in [
        ("REQUEST_METHOD", "GET"),
        ("PATH_INFO", "/"),
        ("SERVER_NAME", "x"),
        ("SERVER_PORT", "80"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("QUERY_STRING", ""),
        ("wsgi.url_scheme", "http"),
        ("enginehouse.script", "main.app"),
        ("enginehouse.kind", "http"),
    ] {
        payload.extend_from_slice(key.as_bytes());
        payload.push(0);
        payload.extend_from_slice(value.as_bytes());
        payload.push(0);
    }
    let mut frame = vec![b'R'];
    frame.extend_from_slice(&u32::try_from(payload.len()).expect("small").to_be_bytes());
    frame.extend_from_slice(&payload);
    stream.write_all(&frame).expect("written");
    let mut body = Vec::new();
    loop {
        let mut header = [0u8; 5];
        stream.read_exact(&mut header).expect("a frame");
        let mut payload = vec![0u8; u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize];
        stream.read_exact(&mut payload).expect("its payload");
        match header[0] {
            b'D' => body.extend_from_slice(&payload),
            b'E' => {
                if payload[0] != b'0' {
                    // An exception: the agent's own words follow the CPU time.
                    return String::from_utf8_lossy(&payload).into_owned();
                }
                return String::from_utf8(body).expect("text");
            }
            _ => {}
        }
    }
}

pub(crate) async fn serve(house: &House, config: VersionConfig) -> String {
    house.publish(config, 1);
    let mut lease = house.acquire().await.expect("an instance");
    let Endpoint::Agent(socket) = lease.instance.endpoint.clone() else { panic!("not the agent") };
    let answer = tokio::task::spawn_blocking(move || ask(&socket)).await.unwrap_or_else(|e| panic!("{e}\n{}", house.log.text()));
    lease.outcome = Outcome::Answered;
    answer
}

#[tokio::test]
async fn y25_python27_is_served_by_the_agent() {
    let house = House::new(&[("main.py", APP)]);
    let answer = serve(&house, config("python27", None)).await;
    assert!(answer.starts_with("2.7 Development/2.0 "), "{answer}");
    assert!(answer.rsplit(' ').next().is_some_and(|id| id.len() == 12), "{answer}");
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn y25_python3_without_an_entrypoint_is_served_by_the_agent() {
    let house = House::new(&[("main.py", APP)]);
    let answer = serve(&house, config("python312", None)).await;
    assert!(answer.starts_with("3.12 Development/2.0 "), "{answer}");
    house.fleet.stop(Duration::from_secs(5)).await;
}

const ENVIRON: &str = r"
import os
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    names = sorted(name for name in os.environ if isinstance(os.environ[name], str))
    return ['\n'.join(name + '=' + os.environ[name] for name in names).encode('utf-8')]
";

#[tokio::test]
async fn y9_python27_sees_the_documented_environment() {
    let house = House::new(&[("main.py", ENVIRON)]);
    let mut config = config("python27", None);
    config.env.insert("COLOUR".into(), "red = green".into());
    let answer = serve(&house, config).await;
    let has = |line: &str| assert!(answer.lines().any(|found| found.starts_with(line)), "{line} is missing:\n{answer}");
    for line in [
        "APPLICATION_ID=dev~demo",
        "APPENGINE_RUNTIME=python27",
        "COLOUR=red = green",
        "CURRENT_MODULE_ID=default",
        "CURRENT_VERSION_ID=v1.1",
        "DATACENTER=us1",
        "INSTANCE_ID=",
        "SERVER_SOFTWARE=Development/2.0",
        "TZ=UTC",
    ] {
        has(line);
    }
    for leak in ["ENGINEHOUSE_AGENT", "CARGO", "GAE_"] {
        assert!(!answer.contains(leak), "{leak} shows:\n{answer}");
    }
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn y9_python3_sees_the_documented_environment() {
    let house = House::with(&[("main.py", ENVIRON)], |options| {
        options.env.insert("COLOUR".into(), "blue".into());
    });
    let mut config = config("python312", None);
    config.env.insert("COLOUR".into(), "red".into());
    let answer = serve(&house, config).await;
    for line in [
        "COLOUR=blue",
        "GAE_APPLICATION=s~demo",
        "GAE_ENV=standard",
        "GAE_MEMORY_MB=384",
        "GAE_RUNTIME=python312",
        "GOOGLE_CLOUD_PROJECT=demo",
        "NODE_ENV=production",
        "PORT=8080",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line} is missing:\n{answer}");
    }
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn m1_manual_scaling_numbers_the_instance() {
    let house = House::new(&[("main.py", APP)]);
    let mut config = config("python27", None);
    config.scaling = Scaling::Manual(Manual { instances: 1 });
    let answer = serve(&house, config).await;
    assert_eq!(answer, "2.7 Development/2.0 0");
    house.fleet.stop(Duration::from_secs(5)).await;
}

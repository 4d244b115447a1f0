//! The bundled services beside the SDK's own `api_server.py`: the same calls from the same client, interleaved.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Options, load, median, process};
use crate::peer::Peer;

/// Connections of the client: SDKs call from up to 100 threads of an instance.
const CONNECTIONS: u32 = 32;

/// A call, as the body of a POST. `OWN` in it is the authority of our front end.
struct Call {
    name: &'static str,
    service: &'static str,
    method: &'static str,
    message: fn(&str) -> Vec<u8>,
}

const CALLS: [Call; 4] = [
    // memcache: Set { Item { key: "bench" value: 100 bytes } } and Get { key: "bench" }
    Call {
        name: "memcache set",
        service: "memcache",
        method: "Set",
        message: |_| [&[0x0b][..], &field(2, b"bench"), &field(3, &[b'v'; 100]), &[0x0c]].concat(),
    },
    Call { name: "memcache get", service: "memcache", method: "Get", message: |_| field(1, b"bench") },
    // taskqueue: BulkAdd { add_request { queue_name task_name eta_usec method: POST url body } } to a queue that runs nothing
    Call { name: "task add", service: "taskqueue", method: "BulkAdd", message: |_| bulk_add() },
    // urlfetch: Fetch { Method: GET Url }
    Call {
        name: "urlfetch",
        service: "urlfetch",
        method: "Fetch",
        message: |own| [&[0x08, 1][..], &field(2, format!("http://{own}/static.txt").as_bytes())].concat(),
    },
];

fn bulk_add() -> Vec<u8> {
    // A time long ago: the task is due, but its queue has no rate.
    let eta = [0x18, 0x01];
    field(1, &[&field(1, b"still")[..], &field(2, b""), &eta, &[0x28, 2], &field(4, b"/work"), &field(9, b"a=b")].concat())
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    // Lengths up to 16383 in two bytes, the shorter ones too: a varint may be longer than it must.
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    let [low, high] = [(length & 0x7f) | 0x80, length >> 7].map(|part| u8::try_from(part).unwrap_or(0));
    [&[number << 3 | 2, low, high], bytes].concat()
}

impl Call {
    fn body(&self, own: &str) -> Vec<u8> {
        [field(2, self.service.as_bytes()), field(3, self.method.as_bytes()), field(4, &(self.message)(own)), field(5, b"bench")].concat()
    }
}

/// What one server did with one call.
#[derive(Default)]
struct Seen {
    rates: Vec<f64>,
    cpu_us: Vec<f64>,
}

/// Runs it.
pub(crate) fn services(options: &Options) -> Result<Vec<String>> {
    let (theirs, ours) = (Peer::theirs(options.root())?, Peer::ours(options.root(), &options.enginehouse)?);
    let own = format!("localhost:{}", ours.http.context("our front end's port")?);
    let mut lines = vec![
        "| call | api_server.py, calls/s | Enginehouse, calls/s | ratio | CPU of a call, api_server.py | Enginehouse |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for call in &CALLS {
        let script = script(&options.dir, &call.body(&own))?;
        let (mut them, mut us) = (Seen::default(), Seen::default());
        for _ in 0..options.rounds {
            for (peer, seen) in [(&theirs, &mut them), (&ours, &mut us)] {
                measure(peer, &script, options.seconds, seen).with_context(|| format!("{} at port {}", call.name, peer.port))?;
            }
        }
        let ratio = median(&us.rates) / median(&them.rates).max(1e-9);
        lines.push(format!(
            "| {} | {:.0} | {:.0} | {ratio:.1} | {:.0} µs | {:.1} µs |",
            call.name,
            median(&them.rates),
            median(&us.rates),
            median(&them.cpu_us),
            median(&us.cpu_us)
        ));
    }
    Ok(lines)
}

fn measure(peer: &Peer, script: &Path, seconds: u32, seen: &mut Seen) -> Result<()> {
    let pids = process::tree(peer.pid());
    let before = process::cpu_ns_of_all_threads(&pids);
    let output = Command::new("wrk")
        .args(["--latency", "-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "-s"])
        .arg(script)
        .arg(format!("http://localhost:{}/rpc_http", peer.port))
        .output()
        .context("running wrk")?;
    let run = load::parse_wrk(&String::from_utf8_lossy(&output.stdout))?;
    anyhow::ensure!(run.errors == 0, "{} answers failed", run.errors);
    // The SDK's server starts and ends threads all the time.
    let spent = process::cpu_ns_of_all_threads(&pids).saturating_sub(before);
    #[allow(clippy::cast_precision_loss, reason = "a rate, not an account")]
    seen.cpu_us.push(spent as f64 / 1e3 / run.requests.max(1) as f64);
    seen.rates.push(run.rate);
    Ok(())
}

/// A script of wrk that posts these bytes, and counts answers that are errors: those hold a field of the envelope that a success has not.
fn script(dir: &Path, body: &[u8]) -> Result<PathBuf> {
    let quoted = body.iter().fold(String::new(), |mut quoted, byte| {
        let _ = write!(quoted, "\\{byte:03}");
        quoted
    });
    let text = format!(
        "wrk.method = \"POST\"\nwrk.body = \"{quoted}\"\nwrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n\
         wrk.headers[\"X-Google-RPC-Service-Deadline\"] = \"60\"\n\
         function response(status, headers, body)\n  if body:byte(1) ~= 10 then error(\"an error is the answer: \" .. body) end\nend\n"
    );
    let path = dir.join("call.lua");
    fs::write(&path, text)?;
    Ok(path)
}

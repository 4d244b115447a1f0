//! Load generators: wrk for HTTP/1.1, h2load for HTTP/2. Their output is parsed into requests and rates.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// What one run of a generator did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Median latency in microseconds.
    pub(crate) p50_us: f64,
    /// Answers that were not 2xx, and broken connections.
    pub(crate) errors: u64,
}

/// How the load is made.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// `http://127.0.0.1:8080/x`
    pub(crate) url: String,
    /// The Host header, if the URL's own will not do.
    pub(crate) host: Option<String>,
    /// Connections.
    pub(crate) connections: u32,
    /// Whole seconds.
    pub(crate) seconds: u32,
    /// A new connection and a full TLS handshake for each request, one after the other. (wrk resumes sessions, which would compare how servers
    /// hand out tickets.)
    pub(crate) close: bool,
    /// HTTP/2 with this many streams a connection.
    pub(crate) streams: Option<u32>,
}

impl Load {
    /// Runs it on `core`.
    pub(crate) fn run(&self, core: &str) -> Result<Run> {
        match (self.streams, self.close) {
            (Some(_), _) => self.h2load(core),
            (None, true) => self.s_time(core),
            (None, false) => self.wrk(core),
        }
    }

    fn wrk(&self, core: &str) -> Result<Run> {
        let mut command = Command::new("taskset");
        command.args(["-c", core, "wrk", "--latency", "-t1"]);
        command.arg(format!("-c{}", self.connections)).arg(format!("-d{}s", self.seconds));
        if let Some(host) = &self.host {
            command.args(["-H", &format!("Host: {host}")]);
        }
        let output = command.arg(&self.url).output().context("running wrk")?;
        parse_wrk(&String::from_utf8_lossy(&output.stdout))
    }

    fn s_time(&self, core: &str) -> Result<Run> {
        let (_, rest) = self.url.split_once("://").context("a URL")?;
        let (authority, path) = rest.split_once('/').context("a path")?;
        let output = Command::new("taskset")
            .args(["-c", core, "openssl", "s_time", "-new", "-connect", authority])
            .args(["-www", &format!("/{path}"), "-time", &self.seconds.to_string()])
            .output()
            .context("running openssl s_time")?;
        parse_s_time(&String::from_utf8_lossy(&output.stdout))
    }

    fn h2load(&self, core: &str) -> Result<Run> {
        let mut command = Command::new("taskset");
        command.args(["-c", core, "h2load", "-t1"]);
        command.arg(format!("-c{}", self.connections)).arg(format!("-m{}", self.streams.unwrap_or(1)));
        command.arg(format!("-D{}", self.seconds));
        if let Some(host) = &self.host {
            command.arg(format!("--header=:authority: {host}"));
        }
        let output = command.arg(&self.url).output().context("running h2load")?;
        parse_h2load(&String::from_utf8_lossy(&output.stdout))
    }
}

pub(crate) fn parse_wrk(text: &str) -> Result<Run> {
    let mut run = Run::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [count, "requests", "in", ..] => run.requests = count.parse().context("wrk's request count")?,
            ["Requests/sec:", rate] => run.rate = rate.parse().context("wrk's rate")?,
            ["50%", time] => run.p50_us = micros(time)?,
            ["Non-2xx", .., count] => run.errors += count.parse::<u64>().unwrap_or(1),
            ["Socket", "errors:", rest @ ..] => {
                run.errors += rest.iter().filter_map(|w| w.trim_end_matches(',').parse::<u64>().ok()).sum::<u64>();
            }
            _ => {}
        }
    }
    if run.requests == 0 {
        bail!("wrk made no request:\n{text}");
    }
    Ok(run)
}

/// `123 connections in 2 real seconds, 4567 bytes read per connection`
fn parse_s_time(text: &str) -> Result<Run> {
    let line = text.lines().find(|line| line.contains("real seconds")).with_context(|| format!("openssl s_time says:\n{text}"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).context("openssl s_time's figures");
    let (requests, seconds, bytes) = (number(0)?, number(3)?, number(6)?);
    if requests == 0 || bytes < 100 {
        bail!("openssl s_time got no answers:\n{text}");
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate, not an account")]
    let rate = requests as f64 / seconds.max(1) as f64;
    Ok(Run { requests, rate, p50_us: 1e6 / rate, errors: 0 })
}

fn parse_h2load(text: &str) -> Result<Run> {
    let mut run = Run::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["finished", "in", _, rate, "req/s,", ..] => run.rate = rate.parse().context("h2load's rate")?,
            ["requests:", _, "total,", _, "started,", done, "done,", ok, "succeeded,", ..] => {
                run.requests = ok.parse().context("h2load's count")?;
                run.errors = done.parse::<u64>().unwrap_or(0).saturating_sub(run.requests);
            }
            ["time", "for", "request:", _, _, mean, ..] => run.p50_us = micros(mean)?,
            _ => {}
        }
    }
    if run.requests == 0 {
        bail!("h2load made no request:\n{text}");
    }
    Ok(run)
}

/// `1.23ms`, `456.00us`, `1.2s` in microseconds.
fn micros(text: &str) -> Result<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1_000.0,
        "s" => 1_000_000.0,
        unit => bail!("unknown unit `{unit}` in `{text}`"),
    };
    Ok(digits.parse::<f64>()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_output_is_read() {
        let text = "  50%  1.50ms\n  1234 requests in 2.00s, 1MB read\n  Non-2xx or 3xx responses: 7\nRequests/sec:    617.00\n";
        let run = parse_wrk(text).expect("parses");
        assert_eq!((run.requests, run.errors), (1234, 7));
        assert!((run.p50_us - 1500.0).abs() < f64::EPSILON && (run.rate - 617.0).abs() < f64::EPSILON);
        assert!(parse_wrk("nothing").is_err());
    }
}

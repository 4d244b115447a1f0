//! What is done with the bytes of a configuration file.

use std::collections::BTreeMap;

use appyaml::{Parsed, parse, render};

/// The first byte chooses the file.
pub(crate) fn config(bytes: &[u8]) {
    let [kind, text @ ..] = bytes else { return };
    let text = &String::from_utf8_lossy(text);
    match kind % 6 {
        0 => drop(read(parse::queue_yaml("queue.yaml", text))),
        1 => jobs(text),
        2 => drop(read(parse::dispatch_yaml("dispatch.yaml", text))),
        3 => drop(read(parse::index_yaml("index.yaml", text))),
        4 => drop(read(parse::dos_yaml("dos.yaml", text))),
        _ => drop(read(parse::app_yaml("app.yaml", text, &BTreeMap::new()))),
    }
}

/// What is wrong can be shown, and there is no value where nothing is said to be wrong with its absence.
fn read<T>(parsed: Parsed<T>) -> Option<T> {
    let shown = render::text(&parsed.diagnostics, &parsed.sources, false);
    assert_eq!(shown.is_empty(), parsed.diagnostics.is_empty(), "{shown}");
    serde_json::from_str::<serde_json::Value>(&render::json(&parsed.diagnostics, &parsed.sources)).expect("JSON");
    assert!(parsed.value.is_some() || !parsed.is_ok(), "nothing is there, and nothing is wrong");
    parsed.ok()
}

/// Jobs that were read are due at some time after now, or never.
fn jobs(text: &str) {
    for job in read(parse::cron_yaml("cron.yaml", text)).into_iter().flatten().take(20) {
        let zone = jiff::tz::TimeZone::get(&job.timezone).unwrap_or(jiff::tz::TimeZone::UTC);
        let mut at = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
        for _ in 0..3 {
            let Some(next) = job.schedule.next_after(at, &zone) else { break };
            assert!(next > at, "{} is due at {next}, which is not after {at}", job.written);
            at = next;
        }
    }
}

//! `enginehouse simulate`: what it says about scaling blocks, and what it says about loads that make no sense.

use serde_json::Value;
use testkit::App;

use crate::command;

/// An app that says nothing but how it scales.
fn scaling(block: &str) -> App {
    App::with_yaml(&format!("runtime: python312\n{block}"))
}

/// The JSON of a simulation that succeeds.
#[track_caller]
fn simulate(app: &App, args: &[&str]) -> Value {
    let path = app.join("app.yaml").display().to_string();
    let finished = command(["simulate", path.as_str(), "--format", "json"].into_iter().chain(args.iter().copied()));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).expect("JSON")
}

/// A simulation that fails; what it says.
#[track_caller]
fn refused(app: &App, args: &[&str], code: i32) -> String {
    let path = app.join("app.yaml").display().to_string();
    let finished = command(["simulate", path.as_str()].into_iter().chain(args.iter().copied()));
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert!(finished.stdout.is_empty(), "{finished:?}");
    finished.stderr
}

#[track_caller]
fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path} of {value:#}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn y29_the_json_has_exactly_these_fields() {
    let app = scaling("automatic_scaling:\n  max_instances: 3\n  min_pending_latency: 30ms\n");
    let answer = simulate(&app, &["--rps", "5x20s,0x10s", "--step", "10s", "--service-ms", "50..200", "--seed", "7"]);
    let top = ["cpu_share", "duration_s", "load", "runs", "seed", "service_ms", "start_ms", "step_s", "warmup_ms"];
    assert_eq!(keys(&answer), top, "{answer:#}");
    assert_eq!(answer["load"], serde_json::json!({"rps": "5x20s,0x10s"}));
    assert_eq!((number(&answer, "/seed"), number(&answer, "/duration_s"), number(&answer, "/step_s")), (7.0, 30.0, 10.0));
    assert_eq!((answer["service_ms"].as_str(), answer["start_ms"].as_str()), (Some("50..200"), Some("300")));
    let run = &answer["runs"][0];
    let fields = [
        "decisions",
        "decisions_left_out",
        "instance_class",
        "name",
        "price_per_instance_hour",
        "scaling",
        "service",
        "settings",
        "steps",
        "totals",
    ];
    assert_eq!(keys(run), fields, "{run:#}");
    assert_eq!(run["settings"], serde_json::json!({"max_instances": "3", "min_pending_latency": "30ms"}));
    assert_eq!(
        (run["scaling"].as_str(), run["instance_class"].as_str(), run["service"].as_str()),
        (Some("automatic_scaling"), Some("F1"), Some("default"))
    );
    let totals = [
        "answered",
        "billed_cost",
        "billed_instance_hours",
        "cold_requests",
        "cost",
        "cpu_utilization",
        "cut_off",
        "instance_hours",
        "instances",
        "latency_ms",
        "pending_ms",
        "rejected",
        "requests",
        "starts",
        "stops",
        "throughput_per_s",
    ];
    assert_eq!(keys(&run["totals"]), totals, "{run:#}");
    assert_eq!(keys(&run["totals"]["pending_ms"]), ["max", "p50", "p95", "p99"]);
    assert_eq!(keys(&run["totals"]["instances"]), ["busy", "idle", "max", "mean", "starting"]);
    let steps = run["steps"].as_array().expect("a list");
    let fields = [
        "answered_per_s",
        "at_s",
        "cost",
        "cpu_utilization",
        "duration_s",
        "instances",
        "pending_max",
        "pending_ms",
        "rejected",
        "requests_per_s",
        "starts",
        "stops",
    ];
    assert_eq!(keys(&steps[0]), fields, "{run:#}");
    let begins: Vec<f64> = steps.iter().map(|step| number(step, "/at_s")).collect();
    assert_eq!(begins, [0.0, 10.0, 20.0]);
    assert_eq!(keys(&run["decisions"][0]), ["at_s", "instance", "what", "why"], "{run:#}");
    assert_eq!(run["decisions"][0]["what"], "start");
    let came: f64 = steps.iter().map(|step| number(step, "/requests_per_s") * number(step, "/duration_s")).sum();
    assert!((came - number(run, "/totals/requests")).abs() < 0.5, "{run:#}");
    let count = |name: &str| run["totals"][name].as_u64().expect("a count");
    assert_eq!(count("requests"), count("answered") + count("rejected") + count("cut_off"));
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let app = scaling("");
    let of = |seed| simulate(&app, &["--rps", "0..20/30s", "--seed", seed]);
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1")["runs"], of("2")["runs"]);
}

#[test]
fn y22_larger_classes_cost_their_multiple() {
    let app = scaling("instance_class: F4\n");
    let run = |args: &[&str]| simulate(&app, &[&["--rps", "1x1m"], args].concat())["runs"][0].clone();
    let usual = run(&[]);
    assert!((number(&usual, "/price_per_instance_hour") - 0.2).abs() < 1e-9, "{usual:#}");
    let cost = number(&usual, "/totals/instance_hours") * 0.2;
    assert!((number(&usual, "/totals/cost") - cost).abs() < 1e-4, "{usual:#}");
    assert!((number(&run(&["--price", "1"]), "/price_per_instance_hour") - 4.0).abs() < 1e-9);
}

#[test]
fn y29_the_table_and_the_chart_are_for_people() {
    let app = scaling("automatic_scaling:\n  max_instances: 2\n");
    let path = app.join("app.yaml").display().to_string();
    let chart = app.join("chart.svg");
    let svg = chart.display().to_string();
    let finished = command(["simulate", &path, "--rps", "5x2m", "--svg", &svg, "--decisions"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for word in
        ["max_instances 2", "req/s", "busy", "p95", "queue", "instance hours", "cost", "pending", "cold starts", "decisions", "start"]
    {
        assert!(finished.stdout.contains(word), "{word} is missing in\n{}", finished.stdout);
    }
    assert!(!finished.stdout.contains('\u{1b}'), "colours in a pipe");
    let drawn = std::fs::read_to_string(&chart).expect("the chart");
    for part in ["<svg xmlns", "prefers-color-scheme:dark", "requests per second", "instances", "pending latency", "cost so far", "</svg>"]
    {
        assert!(drawn.contains(part), "{part} is missing");
    }
    assert!(!drawn.contains("NaN") && !drawn.contains("inf") && !drawn.contains("<script"), "{drawn}");
    assert_eq!(drawn.matches("<text").count(), drawn.matches("</text>").count());
}

#[test]
fn y29_configurations_are_compared_under_one_load() {
    let app = scaling("").file("other.yaml", "runtime: python312\nmanual_scaling:\n  instances: 2\n");
    let other = app.join("other.yaml").display().to_string();
    let answer = simulate(&app, &[&other, "--rps", "5x1m", "--set", "basic_scaling.max_instances=2"]);
    let runs = answer["runs"].as_array().expect("a list");
    let kinds: Vec<_> = runs.iter().map(|run| run["scaling"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["automatic_scaling", "basic_scaling", "manual_scaling", "basic_scaling"]);
    let came: Vec<_> = runs.iter().map(|run| number(run, "/totals/requests")).collect();
    assert!(came.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.5), "{came:?}");
    let path = app.join("app.yaml").display().to_string();
    let table = command(["simulate", &path, &other, "--rps", "5x1m"]);
    assert!(table.stdout.contains("billed") && table.stdout.contains("other.yaml"), "{table:?}");
    let said = refused(&app, &["--rps", "5", "--set", "max_concurrent_requests=81"], 1);
    assert!(said.contains("max_concurrent_requests") && said.contains("80"), "{said}");
    assert!(refused(&app, &["--rps", "5", "--set", "max_instances"], 1).contains("KEY=VALUE"));
}

#[test]
fn traces_are_read_in_every_kind() {
    let app = scaling("")
        .file("numbers.txt", "0.5\n1\n\n2.25\n")
        .file("table.csv", "path,time,service_ms\n/a,1700000001,50\n/b,1700000000,250\n")
        .file(
            "run.log",
            "{\"type\":\"notice\",\"time\":1.0,\"message\":\"x\"}\n\
             {\"type\":\"request\",\"time\":5.0,\"took_us\":90000,\"pending_us\":40000,\"service\":\"default\",\"instance\":\"a\",\"fault\":null}\n\
             {\"type\":\"request\",\"time\":6.0,\"took_us\":90000,\"pending_us\":0,\"service\":\"other\",\"instance\":\"a\",\"fault\":null}\n",
        );
    let requests = |name: &str| {
        let trace = app.join(name).display().to_string();
        let answer = simulate(&app, &["--trace", &trace]);
        (number(&answer, "/runs/0/totals/requests"), number(&answer, "/duration_s"), answer["service_ms"].is_null())
    };
    assert_eq!(requests("numbers.txt"), (3.0, 3.0, false));
    assert_eq!(requests("table.csv"), (2.0, 2.0, true));
    assert_eq!(requests("run.log"), (1.0, 6.0, true));
    let trace = app.join("table.csv").display().to_string();
    let path = app.join("app.yaml").display().to_string();
    let table = command(["simulate", &path, "--trace", &trace]);
    assert!(table.stderr.contains("not in order of time; sorted"), "{table:?}");
}

#[test]
fn loads_that_make_no_sense_are_refused_with_the_place() {
    let app = scaling("")
        .file("bad.csv", "1\n2\nthree\n")
        .file("negative.txt", "-1\n")
        .file("nan.txt", "NaN\n")
        .file("long.txt", "0\n10000000\n")
        .file("binary.bin", [0xff, 0xfe, 0x00, 0x0a])
        .file("empty.txt", "# nothing\n");
    for (profile, words) in [
        ("10x5m,abc", vec!["profile", "`abc`", "^^^"]),
        ("", vec!["profile"]),
        ("5x", vec!["time"]),
        ("-5", vec!["requests per second"]),
        ("NaN", vec!["requests per second"]),
        ("100000x1d", vec!["million"]),
        ("1x40d", vec!["31d"]),
    ] {
        let said = refused(&app, &[&format!("--rps={profile}")], 1);
        assert!(words.iter().all(|word| said.contains(word)), "{profile}: {said}");
    }
    for (name, words) in [
        ("bad.csv", vec!["bad.csv:3", "`three`", "12.5"]),
        ("negative.txt", vec!["negative.txt:1", "from 0 on"]),
        ("nan.txt", vec!["nan.txt:1"]),
        ("long.txt", vec!["31"]),
        ("binary.bin", vec!["UTF-8"]),
        ("empty.txt", vec!["no requests"]),
        ("missing.txt", vec!["cannot read"]),
        (".", vec!["folder"]),
    ] {
        let trace = app.join(name).display().to_string();
        let said = refused(&app, &["--trace", &trace], 1);
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
    }
    assert!(refused(&app, &["--rps", "1x1h", "--step", "1ms"], 1).contains("too fine"));
    for args in [&["--rps", "5", "--trace", "x"][..], &[], &["--rps", "5", "--service-ms", "x"], &["--rps", "5", "--cpu", "101"]] {
        refused(&app, args, 2);
    }
    let broken = App::with_yaml("runtime: python312\nautomatic_scaling:\n  max_instanses: 3\n");
    assert!(refused(&broken, &["--rps", "5"], 1).contains("did you mean `max_instances`"));
}

#[test]
fn help_explains_profiles_and_traces() {
    let help = command(["simulate", "--help"]);
    assert_eq!(help.code, Some(0));
    for word in
        ["0..100/60s", "10x5m,100x1m,10x5m", "20~80/24h", "service_ms", "--log-format json", "--svg", "--price", "--seed", "EXIT STATUS"]
    {
        assert!(help.stdout.contains(word), "{word} is missing");
    }
}

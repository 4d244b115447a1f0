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

/// The totals of the configuration and of each `--set`, under one load.
#[track_caller]
fn totals(app: &App, args: &[&str]) -> Vec<Value> {
    let answer = simulate(app, &[&["--arrivals", "even"], args].concat());
    answer["runs"].as_array().expect("a list").iter().map(|run| run["totals"].clone()).collect()
}

fn reasons(run: &Value, what: &str) -> Vec<String> {
    let all = run["decisions"].as_array().expect("a list");
    all.iter().filter(|one| one["what"] == what).map(|one| one["why"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn y29_more_concurrent_requests_need_fewer_instances() {
    let app = scaling("automatic_scaling:\n  max_concurrent_requests: 5\n");
    let args = ["--rps", "100x5m", "--cpu", "2", "--set", "max_concurrent_requests=20", "--set", "max_concurrent_requests=80"];
    let most: Vec<f64> = totals(&app, &args).iter().map(|of| number(of, "/instances/mean")).collect();
    assert!(most[0] > most[1] * 1.5 && most[1] >= most[2], "{most:?}");
    assert!(totals(&app, &args).iter().all(|of| number(of, "/rejected") < 0.5));
}

#[test]
fn y29_max_instances_is_never_passed() {
    let app = scaling("automatic_scaling:\n  max_instances: 3\n");
    let load = ["--rps", "10x1m,200x1m,10x1m"];
    let answer = simulate(&app, &load);
    let run = &answer["runs"][0];
    assert!((number(run, "/totals/instances/max") - 3.0).abs() < 0.5, "{:#}", run["totals"]);
    for step in run["steps"].as_array().expect("a list") {
        assert!(number(step, "/instances/max") < 3.5 && number(step, "/instances/mean") < 3.001, "{step:#}");
    }
    assert!(number(run, "/totals/pending_ms/max") > 1_000.0, "{:#}", run["totals"]);
    let free = simulate(&scaling(""), &load);
    let capped = simulate(&scaling(""), &[&load[..], &["--max-instances", "3"]].concat());
    let most = |answer: &Value| number(answer, "/runs/0/totals/instances/max");
    assert!(most(&free) > 3.5 && most(&capped) < 3.5, "{} {}", most(&free), most(&capped));
}

#[test]
fn y29_idle_instances_take_the_edge_off_a_burst() {
    let app = scaling("automatic_scaling:\n  max_concurrent_requests: 4\n");
    let args = ["--rps", "2x3m,120x30s", "--start-ms", "2000", "--cpu", "5", "--set", "min_idle_instances=6"];
    let waits: Vec<f64> = totals(&app, &args).iter().map(|of| number(of, "/pending_ms/p99")).collect();
    assert!(waits[1] < waits[0] / 2.0, "{waits:?}");
    let hours: Vec<f64> = totals(&app, &args).iter().map(|of| number(of, "/cost")).collect();
    assert!(hours[1] > hours[0], "nothing is free: {hours:?}");
}

#[test]
fn y29_min_instances_run_before_the_first_request() {
    let answer = simulate(&scaling("automatic_scaling:\n  min_instances: 2\n"), &["--rps", "0x30s,5x30s", "--start-ms", "1000"]);
    let run = &answer["runs"][0];
    assert!((number(run, "/steps/5/instances/idle") - 2.0).abs() < 0.01, "{run:#}");
    assert!(number(run, "/totals/pending_ms/max") < 0.5, "{run:#}");
    assert!(reasons(run, "start").iter().all(|why| why.contains("min_instances")), "{run:#}");
}

#[test]
fn y29_an_idle_version_goes_to_zero_and_comes_back() {
    let answer = simulate(&scaling(""), &["--rps", "5x1m,0x30m,5x1m", "--step", "1m", "--start-ms", "700"]);
    let run = &answer["runs"][0];
    assert!(number(run, "/steps/28/instances/mean") < 0.001, "{run:#}");
    assert!(number(run, "/totals/pending_ms/max") >= 700.0, "{run:#}");
    assert!(number(run, "/totals/stops") > 0.5 && number(run, "/totals/starts") > 1.5, "{run:#}");
    assert!(reasons(run, "start").iter().any(|why| why.contains("no instance runs")), "{run:#}");
    assert!(number(run, "/totals/billed_instance_hours") > number(run, "/totals/instance_hours"), "{run:#}");
}

#[test]
fn y29_busy_processors_start_instances() {
    let app = scaling("automatic_scaling:\n  max_concurrent_requests: 80\n  target_cpu_utilization: 0.5\n");
    let args = ["--rps", "9x5m", "--arrivals", "even", "--cpu", "100", "--service-ms", "100"];
    let answer = simulate(&app, &args);
    let run = &answer["runs"][0];
    assert!(reasons(run, "start").iter().any(|why| why.contains("target_cpu_utilization")), "{run:#}");
    assert!(number(run, "/totals/cpu_utilization") < 0.7, "{:#}", run["totals"]);
}

#[test]
fn y21_warmup_requests_keep_slow_first_requests_from_users() {
    let block = "automatic_scaling:\n  max_concurrent_requests: 4\n  min_idle_instances: 2\n";
    let args = ["--rps", "2x2m,60x2m", "--warmup-ms", "3000", "--cpu", "5"];
    let cold = simulate(&scaling(block), &args);
    let warm = simulate(&scaling(&format!("{block}inbound_services:\n- warmup\n")), &args);
    let of = |answer: &Value| number(answer, "/runs/0/totals/cold_requests");
    assert!(of(&warm) < of(&cold), "{} {}", of(&warm), of(&cold));
}

#[test]
fn y30_basic_instances_come_on_demand_and_go_when_idle() {
    let app = scaling("basic_scaling:\n  max_instances: 2\n  idle_timeout: 2m\n");
    let answer = simulate(&app, &["--rps", "60x1m,0x10m", "--step", "1m", "--arrivals", "even", "--service-ms", "300"]);
    let run = &answer["runs"][0];
    assert_eq!(run["instance_class"], "B2");
    assert!((number(run, "/totals/instances/max") - 2.0).abs() < 0.5, "{:#}", run["totals"]);
    let ids: Vec<_> = run["decisions"].as_array().expect("a list").iter().map(|one| one["instance"].as_str().unwrap_or_default()).collect();
    assert!(ids.iter().all(|id| ["0", "1"].contains(id)), "{ids:?}");
    assert!(number(run, "/steps/2/instances/idle") > 1.9 && number(run, "/steps/5/instances/mean") < 0.001, "{run:#}");
    assert_eq!(reasons(run, "stop").len(), 2, "{run:#}");
}

#[test]
fn y31_manual_instances_are_there_whatever_comes() {
    let app = scaling("manual_scaling:\n  instances: 3\n");
    for load in ["0x10m", "100x10m"] {
        let answer = simulate(&app, &["--rps", load]);
        let run = &answer["runs"][0];
        assert!((number(run, "/totals/instances/mean") - 3.0).abs() < 0.01, "{load}: {:#}", run["totals"]);
        assert!((number(run, "/totals/starts") - 3.0).abs() < 0.01 && number(run, "/totals/stops") < 0.5, "{load}: {:#}", run["totals"]);
    }
}

#[test]
fn y22_a_larger_class_has_more_processor() {
    let app = scaling("automatic_scaling:\n  max_instances: 1\n");
    let slow = totals(&app, &["--rps", "15x2m", "--cpu", "80", "--set", "instance_class=F4"]);
    let (small, large) = (number(&slow[0], "/latency_ms/p95"), number(&slow[1], "/latency_ms/p95"));
    assert!(large < small / 2.0, "{small} {large}");
    assert!(number(&slow[1], "/cost") > 3.0 * number(&slow[0], "/cost"), "{slow:?}");
}

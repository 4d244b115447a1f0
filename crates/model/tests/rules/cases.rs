//! conformance/cases.json: what the SDK's own tests expect of its front end, asked of our rules. Kinds that need a socket or files are run elsewhere.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::asset::{self, Answer, ByteRange, Entity};
use model::config::InboundService;
use model::gate::{Ask, Caller, Internal, Verdict, check};
use model::handler::{AuthFail, Handler, Login};
use model::headers::request::clean;
use model::headers::response::finish;
use model::route::host::{aim, is_dispatchable};
use model::time::Expiration;
use model::user::User;
use serde_json::Value;

use crate::fixture::{config, rule, script, service, static_dir, static_files, table, version};
use crate::gate::ask;
use crate::request::{client, facts};
use crate::response::NOW;

/// Cases whose expectation a requirement overrules: id, row, why.
const OVERRULED: &[(&str, &str, &str)] = &[
    (
        "response_rewrite-005",
        "H18",
        "no Cache-Control becomes `private` with `Vary: Accept-Encoding`, as in production, and not `no-cache`",
    ),
    ("static_file-001", "Y8", "`Cache-Control: public, max-age` and Expires by default_expiration; tags are made of content hashes"),
    ("static_file-010", "Y17", "max-age is said beside `public`"),
];

/// Asks our rules: input and expectation of a case.
type Run = fn(&Value, &Value) -> Verdicts;

/// Kinds that these rules answer for, and how.
const KINDS: &[(&str, Run)] = &[
    ("auth", auth),
    ("dispatch_ah", dispatch_ah),
    ("dispatch_match", dispatch_match),
    ("environ", environ),
    ("etag_match", etag_match),
    ("host_check", host_check),
    ("host_resolve", host_resolve),
    ("implicit_handlers", implicit_handlers),
    ("login_cookie", login_cookie),
    ("range_parse", range_parse),
    ("request_rewrite", request_rewrite),
    ("response_rewrite", response_rewrite),
    ("soft_routing", soft_routing),
    ("static_file", static_file),
    ("static_match", static_match),
];

/// Pairs of what was got and what was wanted; none if the case is the shell's.
type Verdicts = Vec<(String, String)>;

/// What came out of the cases of one kind.
#[derive(Default)]
struct Count {
    hold: usize,
    overruled: usize,
    elsewhere: usize,
}

#[test]
fn the_shared_cases_hold() {
    let all: Vec<Value> = serde_json::from_str(include_str!("../../../../conformance/cases.json")).expect("cases.json parses");
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in &all {
        let (kind, id) = (text(&case["kind"]), text(&case["id"]));
        let Some((kind, run)) = KINDS.iter().find(|(known, _)| *known == kind) else { continue };
        let verdicts = run(&case["input"], &case["expected"]);
        if verdicts.is_empty() {
            counts.entry(kind).or_default().elsewhere += 1;
            continue;
        }
        let bad: Verdicts = verdicts.into_iter().filter(|(got, want)| got != want).collect();
        let overruled = OVERRULED.iter().find(|(known, ..)| *known == id);
        let count = counts.entry(kind).or_default();
        match (bad.is_empty(), overruled) {
            (true, None) => count.hold += 1,
            (false, Some(_)) => count.overruled += 1,
            (true, Some((_, row, _))) => wrong.push(format!("{id}: listed as overruled by {row}, but it holds")),
            (false, None) => wrong.push(format!("{id}: got and wanted {bad:?}")),
        }
    }
    print(&counts);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(counts.len(), KINDS.len(), "every kind occurs");
    let held: usize = counts.values().map(|count| count.hold).sum();
    assert!(held >= 50, "{held}");
}

/// For `cargo xtask conformance`, which runs this test with its output shown.
#[allow(clippy::print_stdout, reason = "counts are wanted on demand; tests capture them otherwise")]
fn print(counts: &BTreeMap<&str, Count>) {
    for (kind, Count { hold, overruled, elsewhere }) in counts {
        println!("cases.json {kind:<17} {hold:>3} hold, {overruled:>2} overruled by a requirement, {elsewhere} asked of the shell");
    }
    for (id, row, why) in OVERRULED {
        println!("cases.json {id} overruled by {row}: {why}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[allow(clippy::needless_pass_by_value, reason = "reads better without `&` at fifty places")]
fn pair(got: impl ToString, want: impl ToString) -> (String, String) {
    (got.to_string(), want.to_string())
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map(|all| all.iter().collect()).unwrap_or_default()
}

fn with_login(mut handler: Handler, input: &Value) -> Handler {
    handler.login = match text(&input["login"]) {
        "required" => Login::Required,
        "admin" => Login::Admin,
        _ => Login::Optional,
    };
    if text(&input["auth_fail_action"]) == "unauthorized" {
        handler.auth_fail = AuthFail::Unauthorized;
    }
    handler
}

fn auth(input: &Value, expected: &Value) -> Verdicts {
    let handler = with_login(script("/.*", "main.app"), &input["handler"]);
    let who = text(&input["who"]);
    let user = who.split_once('@').and_then(|_| User::new(who.split(' ').next().unwrap_or_default(), who.ends_with(" admin")));
    let caller = match who {
        who if who.starts_with("internal-admin") => Caller::Internal(Internal::Cron),
        who if who.starts_with("internal-logged-in") => Caller::Internal(Internal::Start),
        _ => Caller::External,
    };
    let (path, query) = text(&input["path"]).split_once('?').expect("a query");
    match check(&handler, &Ask { caller, user: user.as_ref(), authority: text(&input["host"]), path, query: Some(query), ..ask() }) {
        Verdict::Pass => vec![pair(true, &expected["allowed"])],
        Verdict::LogIn { location } => {
            vec![pair("302 Requires login", text(&expected["status"])), pair(location, text(&expected["Location"]))]
        }
        Verdict::Unauthorized(body) => vec![pair("401 Not authorized", text(&expected["status"])), pair(body, text(&expected["body"]))],
        Verdict::Redirect { .. } => vec![pair("redirect", "")],
    }
}

fn dispatch_ah(input: &Value, expected: &Value) -> Verdicts {
    vec![pair(is_dispatchable(text(&input["path"]).as_bytes()), &expected["dispatch_rules_apply"])]
}

fn dispatch_match(input: &Value, expected: &Value) -> Verdicts {
    let rules = list(&input["rules"]).into_iter().map(|entry| rule(text(&entry[0]), text(&entry[1]))).collect();
    let named = ["default", "1", "2", "3"].iter().map(|name| service(vec![config(name, "v", "python27")])).collect();
    let table = table(named, rules);
    let aim = aim(&table, "localhost", text(&input["path"]).as_bytes()).expect("aims");
    vec![pair(aim.service, text(&expected["service"]))]
}

fn environ(input: &Value, expected: &Value) -> Verdicts {
    let user = User::new(text(&input["user"]), input["admin"] == true);
    let (client, forwarded) = (client(), model::headers::request::Forwarded::default());
    let mut headers = HeaderMap::new();
    model::headers::request::add(&mut headers, &facts(&client, &forwarded, user.as_ref()));
    headers.insert("content-length", HeaderValue::from(text(&input["body"]).len()));
    let sees = expected["instance_sees"].as_object().expect("headers");
    sees.iter().map(|(name, want)| pair(headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default(), text(want))).collect()
}

fn etag_match(input: &Value, expected: &Value) -> Verdicts {
    let mut headers = HeaderMap::new();
    let name = HeaderName::from_bytes(text(&input["header"]).as_bytes()).expect("a name");
    headers.insert(&name, HeaderValue::from_str(text(&input["value"])).expect("a value"));
    let etag = format!("\"{}\"", text(&input["etag"]));
    let answer = asset::decide(&Method::GET, &headers, &Entity { etag: &etag, modified: 0, length: 3 }, NOW);
    let matched = if name == "if-match" { answer == Answer::Whole } else { answer == Answer::NotModified };
    vec![pair(matched, &expected["match"])]
}

fn host_check(input: &Value, expected: &Value) -> Verdicts {
    let mut table = table(vec![service(vec![config("default", "v", "python27")])], vec![]);
    table.naming.domains = vec!["localhost".into()];
    table.naming.allowed = list(&input["allowed_hosts"]).into_iter().map(|host| text(host).to_owned()).collect();
    let status = |host: &str| aim(&table, host, b"/").map_or_else(|error| error.status().as_u16(), |_| 200);
    if input.get("requests").is_some() {
        let statuses = [http::Version::HTTP_11, http::Version::HTTP_10].map(|version| {
            let parts = http::Request::builder().version(version).uri("/").body(()).expect("valid").into_parts().0;
            model::route::path::authority(&parts).map_or(400, status)
        });
        return vec![pair(format!("[{},{}]", statuses[0], statuses[1]), &expected["statuses"])];
    }
    let of = |key: &str, want: u16| list(&expected[key]).into_iter().map(move |host| (text(host), want)).collect::<Vec<_>>();
    let all = [of("status_200", 200), of("status_400", 400)].concat();
    all.into_iter().map(|(host, want)| pair(format!("{host} {}", status(host)), format!("{host} {want}"))).collect()
}

fn host_resolve(input: &Value, expected: &Value) -> Verdicts {
    let versions = vec![crate::fixture::manual(config("backend", "v1", "python27"), 2)];
    let table = table(vec![service(vec![config("default", "v", "python27")]), service(versions)], vec![rule("*/*", "backend")]);
    let Some(host) = input["Host"].as_str() else {
        let by_rules = matches!(aim(&table, "", b"/").expect("aims").why, model::route::host::Why::Dispatch(_));
        return vec![pair(if by_rules { "by dispatch rules" } else { "" }, text(&expected["service"]))];
    };
    vec![pair(aim(&table, host, b"/").expect("aims").service, text(&expected["service"]))]
}

fn implicit_handlers(input: &Value, expected: &Value) -> Verdicts {
    let mut config = config("default", "v", "python27");
    let made = |entry: &&Value| match text(&entry[1]) {
        "static_dir" => static_dir(text(&entry[0]), "x"),
        "static_files" => static_files(text(&entry[0]), "x", "x"),
        _ => script(text(&entry[0]), "main.app"),
    };
    config.handlers = list(&input["handlers"]).iter().map(made).collect();
    if list(&input["inbound_services"]).iter().any(|service| *service == "warmup") {
        config.inbound.insert(InboundService::Warmup);
    }
    let added = model::table::implicit_handlers(&config);
    let paths: Vec<&str> = added.iter().map(|handler| handler.written.as_str()).collect();
    let wanted: Vec<&str> = list(&expected["added_in_front"]).into_iter().map(text).collect();
    let mut verdicts = vec![pair(format!("{paths:?}"), format!("{wanted:?}"))];
    verdicts.extend(added.iter().map(|handler| pair(format!("{:?}", handler.login).to_lowercase(), text(&expected["login"]))));
    verdicts
}

/// The cookie itself is ours and signed; what it says of the user is the SDK's.
fn login_cookie(_: &Value, expected: &Value) -> Verdicts {
    let user = User::new(text(&expected["email"]), expected["admin"] == true).expect("an email");
    vec![pair(user.id, text(&expected["user_id"])), pair(user.admin, &expected["admin"])]
}

fn range_parse(input: &Value, expected: &Value) -> Verdicts {
    let wanted = &expected["start_end_exclusive"];
    let got = match ByteRange::parse(text(&input["range"])) {
        None => Value::Null,
        Some(ByteRange::Between(first, last)) => serde_json::json!([first, last + 1]),
        Some(ByteRange::From(first)) => serde_json::json!([first, null]),
        Some(ByteRange::Last(count)) => serde_json::json!([-i64::try_from(count).expect("small"), null]),
    };
    vec![pair(got, wanted)]
}

fn request_rewrite(input: &Value, expected: &Value) -> Verdicts {
    let mut headers = HeaderMap::new();
    for (name, value) in input["request_headers"].as_object().expect("headers") {
        headers.insert(HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(text(value)).expect("a value"));
    }
    clean(&mut headers, Caller::External);
    let sees = expected["app_sees"].as_object().expect("headers");
    let mut verdicts: Verdicts =
        sees.iter().map(|(name, want)| pair(headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default(), text(want))).collect();
    verdicts.extend(list(&expected["app_sees_not"]).into_iter().map(|name| pair(headers.contains_key(text(name)), false)));
    verdicts
}

fn response_rewrite(input: &Value, expected: &Value) -> Verdicts {
    let mut headers = HeaderMap::new();
    for entry in list(&input["app_headers"]) {
        let name = HeaderName::from_bytes(text(&entry[0]).as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(text(&entry[1])).expect("a value"));
    }
    let status = text(&input["app_status"]).split(' ').next().and_then(|code| code.parse().ok()).expect("a status");
    let method: Method = text(&input["method"]).parse().expect("a method");
    if text(&expected["status"]) != text(&input["app_status"]) {
        // The size limit is met while the body flows: the front end's test `h25_…`.
        return Vec::new();
    }
    let date = HeaderValue::from_static("Sat, 01 Jun 2024 12:00:00 GMT");
    let server = HeaderValue::from_static("Development/1.0");
    let ask = model::headers::response::Finish {
        method: &method,
        status,
        date: &date,
        now: NOW,
        server: Some(&server),
        length: None,
        gzip: false,
        stats: None,
    };
    let plan = finish(&mut headers, &ask);
    let mut verdicts = vec![pair(plan.empty && !text(&input["app_body"]).is_empty(), text(&expected["body"]).is_empty())];
    for (name, want) in expected["headers"].as_object().expect("headers") {
        let all: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
        let want = match want.as_str() {
            Some("<now>") => "Sat, 01 Jun 2024 12:00:00 GMT",
            Some(want) => want,
            None => "",
        };
        if name == "Content-Length" && method != Method::HEAD && !want.is_empty() {
            // Made from the body by whoever writes it.
            verdicts.push(pair(all.len(), 0));
        } else {
            verdicts.push(pair(all.join(", "), want));
        }
    }
    verdicts
}

fn soft_routing(input: &Value, expected: &Value) -> Verdicts {
    let services = input["services"]
        .as_object()
        .map(|all| all.iter().map(|(name, version)| service(vec![config(name, text(version), "python27")])).collect());
    let table = table(services.unwrap_or_default(), vec![]);
    let labels: Vec<&str> = [&input["version"], &input["service"]].into_iter().filter_map(Value::as_str).collect();
    let host = [&labels[..], &["localhost"]].concat().join(".");
    let got = aim(&table, &host, b"/").map_or("ModuleDoesNotExist".to_owned(), |aim| aim.service.to_string());
    vec![pair(got, text(&expected["result"]))]
}

fn static_match(input: &Value, expected: &Value) -> Verdicts {
    let handler = match input["static_dir"].as_str() {
        Some(dir) => static_dir(text(&input["url"]), dir),
        None => static_files(text(&input["url"]), text(&input["static_files"]), ".*"),
    };
    let mut config = config("default", "v", "python27");
    config.handlers = vec![handler];
    let version = version(config);
    let path = text(&input["path"]).as_bytes();
    let file = version.handlers().find(path).and_then(|matched| asset::locate(&version.config, &matched, path));
    vec![pair(serde_json::to_value(file).expect("a value"), &expected["file"])]
}

fn static_file(input: &Value, expected: &Value) -> Verdicts {
    let spec = &input["handler"];
    let mut config = config("default", "v", "python27");
    let mut handler = static_files(text(&spec["url"]), text(&spec["static_files"]), text(&spec["upload"]));
    if let (Some(period), model::handler::HandlerKind::Static(files)) = (spec["expiration"].as_str(), &mut handler.kind) {
        files.expiration = Some(Expiration::parse(period).expect("a period"));
    }
    if let Some(period) = spec["_default_expiration"].as_str() {
        config.default_expiration = Expiration::parse(period).expect("a period");
    }
    config.handlers = vec![handler];
    let version = version(config);
    let request = &input["request"];
    let mut headers = HeaderMap::new();
    if let Some(tag) = request["If-Match"].as_str() {
        headers.insert("if-match", HeaderValue::from_str(tag).expect("a value"));
    }
    let status = &expected["status"];
    match text(&request["file_error"]) {
        "EPERM" => return Vec::new(), // The shell's: 403.
        "ENOENT" => return vec![pair(asset::missing(&headers).as_u16(), status)],
        _ => {}
    }
    let matched = version.handlers().find(text(&spec["url"]).as_bytes()).expect("a handler");
    let file = asset::locate(&version.config, &matched, text(&spec["url"]).as_bytes()).expect("a file");
    let length = u64::try_from(text(&input["file"]).len()).expect("small");
    // The tag is ours; its use is the SDK's.
    let etag = expected["headers"]["ETag"].as_str().unwrap_or("\"ours\"");
    let entity = Entity { etag, modified: NOW - 60, length };
    let answer = asset::decide(&Method::GET, &headers, &entity, NOW);
    let got = asset::headers(&version.config, &matched, &entity, answer, &asset::mime_type(&matched, &file), NOW);
    let mut verdicts = vec![pair(answer.status().as_u16(), status)];
    for (name, want) in expected["headers"].as_object().expect("headers") {
        let want = match text(want) {
            "<now + 93784 s>" => "Sun, 02 Jun 2024 14:03:04 GMT",
            want => want,
        };
        if name != "Content-length" {
            verdicts.push(pair(got.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default(), want));
        }
    }
    verdicts
}

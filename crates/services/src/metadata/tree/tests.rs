//! The tree as clients read it.

use http::HeaderValue;
use model::config::VersionConfig;

use super::*;

fn version() -> Version {
    let key = model::ids::VersionKey::new("api".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
    let runtime = model::runtime::Runtime::parse("python312").expect("a runtime");
    let config = VersionConfig::new(key, runtime, Vec::new());
    Version::new("s~shop".parse().expect("valid"), config, "/app".into(), 7)
}

fn ask(target: &str, headers: &[(&'static str, &str)]) -> Asked {
    let mut all = HeaderMap::new();
    all.insert("metadata-flavor", HeaderValue::from_static("Google"));
    all.insert("host", HeaderValue::from_static("metadata.google.internal"));
    for (name, value) in headers {
        match *value {
            "" => drop(all.remove(*name)),
            value => drop(all.insert(*name, value.parse().expect("a value"))),
        }
    }
    let (version, instance) = (version(), InstanceId::Opaque("e4b565394caa".into()));
    let account = version.app.service_account();
    let subject = Subject { version: &version, instance: &instance, region: "local", account: &account };
    read(&Method::GET, &target.parse().expect("a target"), &all, subject)
}

#[track_caller]
fn known(target: &str) -> Found {
    match ask(&format!("/computeMetadata/v1{target}"), &[]) {
        Asked::Known(found) => found,
        other => panic!("{target}: {other:?}"),
    }
}

#[track_caller]
fn says(target: &str, wanted: &str) {
    let found = known(target);
    assert_eq!((found.status, found.body.as_str()), (StatusCode::OK, wanted), "{target}");
}

#[test]
fn s7_leaves_are_texts_and_folders_are_lists() {
    says("/project/project-id", "shop");
    assert_eq!(known("/project/numeric-project-id").body.len(), 12);
    says("/instance/id", "e4b565394caa");
    says("/universe/universe-domain", "googleapis.com");
    says("/universe/universe_domain", "googleapis.com");
    says("/instance/attributes/gae_backend_version", "v1");
    let number = known("/project/numeric-project-id").body;
    says("/instance/zone", &format!("projects/{number}/zones/local-1"));
    says("/instance/region", &format!("projects/{number}/regions/local"));
    says("/instance/hostname", "e4b565394caa.local-1.c.shop.internal");
    says("/", "instance/\nproject/\nuniverse/\n");
    says("/instance/service-accounts/", "default/\nshop@appspot.gserviceaccount.com/\n");
    says("/instance/service-accounts/default/", "aliases\nemail\nscopes\n");
    says("/instance/service-accounts/default/email", "shop@appspot.gserviceaccount.com");
    says("/instance/service-accounts/shop@appspot.gserviceaccount.com/email", "shop@appspot.gserviceaccount.com");
    says("/instance/service-accounts/shop%40appspot.gserviceaccount.com/aliases", "default\n");
    assert!(known("/instance/service-accounts/default/scopes").body.starts_with(USUAL_SCOPE));
    assert_eq!(known("/instance/id").kind, "application/text");
}

#[test]
fn s7_answers_are_json_where_it_is_asked_for() {
    says("/instance/id?alt=json", "\"e4b565394caa\"");
    says("/project/?alt=json", r#"["attributes/","numeric-project-id","project-id"]"#);
    let all = known("/?recursive=true");
    assert_eq!(all.kind, "application/json");
    let all: Value = serde_json::from_str(&all.body).expect("JSON");
    assert_eq!(all["instance"]["serviceAccounts"]["default"]["email"], "shop@appspot.gserviceaccount.com");
    assert_eq!(all["project"]["projectId"], "shop");
    assert!(all["project"]["numericProjectId"].is_u64());
    assert_eq!(all["instance"]["attributes"]["gae_backend_name"], "api");
    let account: Value = serde_json::from_str(&known("/instance/service-accounts/default/?recursive=True").body).expect("JSON");
    assert!(account["aliases"].is_array() && account.get("token").is_none());
    let lines = known("/instance/service-accounts/default/?recursive=true&alt=text");
    assert!(lines.body.starts_with("aliases default\nemail shop@"), "{}", lines.body);
}

#[test]
fn s7_what_is_not_there_is_not_found() {
    for missing in [
        "/nothing",
        "/instance/nothing",
        "/instance/id/",
        "/instance/service-accounts/other@x/email",
        "/instance/service-accounts/default/none",
    ] {
        assert_eq!(known(missing).status, StatusCode::NOT_FOUND, "{missing}");
    }
    for (target, to) in [("/instance", "/instance/"), ("/project/attributes?alt=json", "/project/attributes/?alt=json")] {
        let found = known(target);
        assert_eq!((found.status, found.location), (StatusCode::MOVED_PERMANENTLY, Some(format!("/computeMetadata/v1{to}"))));
    }
    for outside in ["/computeMetadata/v1beta1/", "/computeMetadata/v10", "/other", "/computeMetadata/v1/%ff"] {
        assert!(matches!(ask(outside, &[]), Asked::Known(Found { status: StatusCode::NOT_FOUND, .. })), "{outside}");
    }
}

#[test]
fn s7_only_programs_that_mean_it_are_answered() {
    let status = |target: &str, headers: &[(&'static str, &str)]| match ask(target, headers) {
        Asked::Known(found) => found.status,
        _ => StatusCode::OK,
    };
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    for target in ["/computeMetadata/v1/project/project-id", token, "/computeMetadata/"] {
        assert_eq!(status(target, &[]), StatusCode::OK);
        assert_eq!(status(target, &[("metadata-flavor", "google")]), StatusCode::OK);
        for (name, value) in [("metadata-flavor", ""), ("metadata-flavor", "x"), ("x-forwarded-for", "1.2.3.4"), ("host", "evil.example")] {
            assert_eq!(status(target, &[(name, value)]), StatusCode::FORBIDDEN, "{target} {name}: {value}");
        }
    }
    assert_eq!(status("/", &[("metadata-flavor", "")]), StatusCode::OK, "clients look here whether there is a server");
    assert_eq!(status("/", &[("host", "evil.example:80")]), StatusCode::FORBIDDEN);
}

#[test]
fn s7_hosts_are_ours_or_addresses() {
    for good in ["metadata.google.internal", "METADATA.google.internal:80", "metadata", "127.0.0.1:4567", "169.254.169.254", "localhost:1"]
    {
        assert!(is_ours(good), "{good}");
    }
    for bad in ["", "evil.example", "metadata.google.internal.evil.example", "127.0.0.1.evil.example", "127.0.0.1:80:80", "[::1]"] {
        assert!(!is_ours(bad), "{bad}");
    }
}

#[test]
fn s7_tokens_are_made_for_what_is_asked() {
    let account = "/computeMetadata/v1/instance/service-accounts";
    let Asked::Token(usual) = ask(&format!("{account}/default/token"), &[]) else { panic!("a token") };
    assert_eq!(usual, SCOPES);
    let both = Asked::Token(vec!["https://a".into(), "https://b".into()]);
    assert_eq!(ask(&format!("{account}/shop@appspot.gserviceaccount.com/token?scopes=https%3A%2F%2Fa,https%3A%2F%2Fb"), &[]), both);
    assert_eq!(ask(&format!("{account}/default/identity?audience=https://x/&format=full"), &[]), Asked::IdToken("https://x/".into()));
    let Asked::Known(found) = ask(&format!("{account}/default/identity"), &[]) else { panic!("refused") };
    assert_eq!(found.status, StatusCode::BAD_REQUEST);
    assert!(matches!(ask(&format!("{account}/other@x/token"), &[]), Asked::Known(Found { status: StatusCode::NOT_FOUND, .. })));
}

#[test]
fn s7_who_waits_for_a_change_waits() {
    let id = "/computeMetadata/v1/instance/id?wait_for_change=true";
    assert!(matches!(ask(&format!("{id}&timeout_sec=3"), &[]), Asked::Later(_, 3)));
    assert!(matches!(ask(&format!("{id}&last_etag={}", etag("e4b565394caa")), &[]), Asked::Later(..)));
    assert!(matches!(ask(&format!("{id}&last_etag=0"), &[]), Asked::Known(_)), "something else was known before");
}

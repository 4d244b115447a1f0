//! The resources of v1, and who may touch them (rows T6, T9).

use serde_json::{Value, json};
use store::control::Role;

use super::harness::House;

#[test]
fn t6_without_a_good_token_nothing_is_told() {
    let house = House::new();
    let none = house.ask_with("GET", "/v1/apps/demo", &[], b"");
    assert!(none.error().starts_with("UNAUTHENTICATED: Request is missing required authentication credential."), "{}", none.body);
    assert!(
        none.head.to_ascii_lowercase().contains("www-authenticate: bearer realm=\"https://accounts.google.com/\"\r\n"),
        "{}",
        none.head
    );
    for bad in ["Bearer nonsense", "Bearer ", "Basic eDp5", &format!("Bearer {}x", house.token)] {
        let reply = house.ask_with("GET", "/v1/apps/other", &[("Authorization", bad)], b"");
        assert!(reply.error().starts_with("UNAUTHENTICATED: Request had invalid authentication credentials."), "{bad}");
        assert!(reply.head.contains("error=\"invalid_token\""), "{}", reply.head);
    }
    let query = house.ask_with("GET", &format!("/v1/apps/demo?access_token={}", house.token), &[], b"");
    assert_eq!(query.status, 200, "{}", query.body);
}

#[test]
fn t6_roles_scopes_and_apps_limit_a_token() {
    let house = House::new();
    house.deploy("default", "v1", json!({}));
    house.ok("POST", "/v1/apps", &json!({"id": "other"}));
    let status = |token: &str, method: &str, path: &str, body: &str| {
        house.ask_with(method, path, &[("Authorization", &format!("Bearer {token}"))], body.as_bytes()).status
    };
    let split = ("PATCH", "/v1/apps/demo/services/default?updateMask=split", "{'split': {'allocations': {'v1': 1}}}");
    let rule = ("POST", "/v1/apps/demo/firewall/ingressRules", "{'priority': 5, 'action': 'DENY', 'sourceRange': '192.0.2.0/24'}");
    let app = ("POST", "/v1/apps", "{'id': 'third'}");
    let viewer = house.token(Role::Viewer, None, &[]);
    let deployer = house.token(Role::Deployer, Some("demo"), &[]);
    let admin = house.token(Role::Admin, Some("demo"), &[]);
    let reader = house.token(Role::Owner, None, &["https://www.googleapis.com/auth/appengine.admin"]);
    for (token, may) in [(&viewer, [403, 403, 403]), (&deployer, [200, 403, 403]), (&admin, [200, 200, 403]), (&reader, [403, 403, 403])] {
        assert_eq!(status(token, "GET", "/v1/apps/demo/services/default", ""), 200);
        assert_eq!([split, rule, app].map(|(method, path, body)| status(token, method, path, body)), may);
    }
    assert_eq!(status(&deployer, "GET", "/v1/apps/other", ""), 403);
    assert_eq!(status(&deployer, "GET", "/v1/apps/nosuch", ""), 403);
    // dispatch.yaml is part of a deployment; the other settings of an app are not.
    assert_eq!(
        status(
            &deployer,
            "PATCH",
            "/v1/apps/demo?updateMask=dispatchRules%2C",
            "{'dispatchRules': [{'domain': '*', 'path': '/x', 'service': 'default'}]}"
        ),
        200
    );
    assert_eq!(status(&deployer, "PATCH", "/v1/apps/demo?updateMask=servingStatus", "{'servingStatus': 'USER_DISABLED'}"), 403);
    let refused = house.ask_with("PATCH", split.1, &[("Authorization", &format!("Bearer {viewer}"))], split.2.as_bytes());
    assert_eq!(refused.error(), "PERMISSION_DENIED: The caller does not have permission");
}

#[test]
fn t9_apps() {
    let house = House::new();
    let app = house.get("/v1/apps/demo");
    for (field, value) in [
        ("name", json!("apps/demo")),
        ("id", json!("demo")),
        ("locationId", json!("local")),
        ("defaultHostname", json!("demo.local.r.localhost:8080")),
        ("codeBucket", json!("staging.demo.localhost")),
        ("servingStatus", json!("SERVING")),
    ] {
        assert_eq!(app[field], value, "{app}");
    }
    assert_eq!(house.ask("GET", "/v1/apps/nosuch", "").error(), "NOT_FOUND: Could not find Application \"nosuch\".");
    let again = house.ask("POST", "/v1/apps", "{id: demo2, locationId: 'mars'}");
    assert!(again.error().starts_with("INVALID_ARGUMENT: Invalid JSON payload"), "{}", again.body);
    let mars = house.ask("POST", "/v1/apps", "{id: 'demo2', locationId: 'mars'}").error();
    assert_eq!(mars, "INVALID_ARGUMENT: The location `mars` is not served here; this server's region is `local`.");
    assert_eq!(
        house.ask("POST", "/v1/apps", "{'id': 'demo'}").error(),
        "ALREADY_EXISTS: This application already exists and cannot be re-created."
    );
    // gcloud app update speaks v1beta, with a comma too many.
    house.ok("PATCH", "/v1beta/apps/demo?updateMask=sslPolicy%2C", &json!({"featureSettings": {}, "sslPolicy": "MODERN"}));
    assert_eq!(house.get("/v1beta/apps/demo")["sslPolicy"], "MODERN");
    house.ok(
        "PATCH",
        "/v1/apps/demo?updateMask=iap",
        &json!({"iap": {"enabled": true, "oauth2ClientId": "x", "oauth2ClientSecret": "hush"}}),
    );
    let iap = house.get("/v1/apps/demo")["iap"].clone();
    assert!(
        iap.get("oauth2ClientSecret").is_none() && iap["oauth2ClientSecretSha256"].as_str().is_some_and(|sum| sum.len() == 64),
        "{iap}"
    );
    let rule = house.ask(
        "PATCH",
        "/v1/apps/demo?updateMask=dispatch_rules",
        "{'dispatchRules': [{'domain': '*', 'path': 'x', 'service': 'default'}]}",
    );
    assert!(rule.error().contains("application.dispatchRules[0].path: `x` does not begin with `/`"), "{}", rule.body);
    assert_eq!(house.ok("POST", "/v1/apps/demo:repair", &json!({}))["done"], true);
}

#[test]
fn t9_versions() {
    let house = House::new();
    let first = house.ask("POST", "/v1/apps/demo/services/api/versions", "{'id': 'v1', 'runtime': 'python312'}").error();
    assert!(
        first.starts_with("INVALID_ARGUMENT: The first service (module) you upload to a new application must be the 'default'"),
        "{first}"
    );
    let versions = "/v1/apps/demo/services/default/versions";
    for (body, message) in [
        ("{'runtime': 'python312'}", "A version needs an id, such as \"v1\"."),
        ("{'id': 'default', 'runtime': 'python312'}", "`default` is reserved and cannot name a version"),
        ("{'id': 'v1', 'runtime': 'python312'}", "A version needs its code: `deployment.files` or `deployment.zip`."),
        ("{'id': 'v1', 'deployment': {'files': {'a': {}}}}", "version.runtime: a version needs its runtime, such as \"python312\""),
        ("{'id': 'v1', 'nope': 1}", "Invalid JSON payload received. Unknown name \"nope\" at 'version': Cannot find field."),
    ] {
        assert_eq!(house.ask("POST", versions, body).error(), format!("INVALID_ARGUMENT: {message}"), "{body}");
    }
    house.deploy(
        "default",
        "v1",
        json!({"env_variables": {"A": "b"}, "handlers": [{"urlRegex": "/.*", "script": {"scriptPath": "auto"}}]}),
    );
    house.deploy("default", "m1", json!({"manualScaling": {"instances": "2"}, "instanceClass": "B4"}));
    let basic = house.get(&format!("{versions}/v1"));
    assert!(basic.get("handlers").is_none() && basic.get("deployment").is_none() && basic.get("envVariables").is_none(), "{basic}");
    assert_eq!((&basic["servingStatus"], &basic["createdBy"], &basic["env"]), (&json!("SERVING"), &json!("owner"), &json!("standard")));
    assert_eq!(basic["versionUrl"], "http://v1-dot-demo.local.r.localhost:8080");
    let full = house.get(&format!("{versions}/v1?view=1"));
    assert_eq!(full["envVariables"], json!({"A": "b"}));
    assert_eq!(full["deployment"]["files"]["main.py"]["sha1Sum"], "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    // Terraform compares what it reads with what it sent.
    assert_eq!(house.get(&format!("{versions}/m1"))["manualScaling"], json!({"instances": 2}));
    let numbered = house.get(&format!("{versions}?%24alt=json%3Benum-encoding%3Dint"));
    assert!(numbered["versions"].as_array().is_some_and(|all| all.iter().all(|version| version["servingStatus"] == 1)), "{numbered}");

    let stop = |id: &str| house.ask("PATCH", &format!("{versions}/{id}?updateMask=servingStatus"), "{'servingStatus': 2}");
    assert_eq!(stop("v1").error(), "INVALID_ARGUMENT: Serving status cannot be changed for Automatic Scaling versions.");
    assert_eq!(stop("m1").status, 200);
    assert_eq!(house.get(&format!("{versions}/m1"))["servingStatus"], "STOPPED");
    house.ok("PATCH", &format!("{versions}/m1?updateMask=manual_scaling.instances"), &json!({"manualScaling": {"instances": 5}}));
    assert_eq!(house.get(&format!("{versions}/m1"))["manualScaling"], json!({"instances": 5}));
    let mask = "automaticScaling.standardSchedulerSettings.maxInstances";
    house.ok(
        "PATCH",
        &format!("{versions}/v1?updateMask={mask}"),
        &json!({"automaticScaling": {"standardSchedulerSettings": {"maxInstances": 3}}}),
    );
    assert_eq!(house.get(&format!("{versions}/v1"))["automaticScaling"]["standardSchedulerSettings"]["maxInstances"], 3);
    let kind = house.ask("PATCH", &format!("{versions}/m1?updateMask={mask}"), "{}").error();
    assert!(kind.starts_with("INVALID_ARGUMENT: "), "{kind}");
    let frozen = house.ask("PATCH", &format!("{versions}/v1?updateMask=runtime"), "{'runtime': 'python313'}").error();
    assert_eq!(frozen, "INVALID_ARGUMENT: The field `runtime` of a version cannot be changed; deploy a new version instead.");
    assert_eq!(house.ask("POST", &format!("{versions}/v1:exportAppImage"), "{}").status, 501);
}

#[test]
fn t9_instances() {
    let house = House::new();
    house.deploy("default", "v1", json!({}));
    house.deploy("default", "m1", json!({"manualScaling": {"instances": 1}}));
    let instances = "/v1/apps/demo/services/default/versions/v1/instances";
    let listed = house.get(instances);
    assert_eq!(listed["instances"][0]["name"], "apps/demo/services/default/versions/v1/instances/e4b565394caa");
    let one = house.get(&format!("{instances}/e4b565394caa"));
    assert_eq!((&one["memoryUsage"], &one["availability"], &one["requests"]), (&json!("1048576"), &json!("DYNAMIC"), &json!(7)));
    assert_eq!(house.get("/v1/apps/demo/services/default/versions/m1/instances/0")["id"], "0");
    assert_eq!(house.ask("GET", &format!("{instances}/0"), "").status, 404);
    assert_eq!(
        house.ok("DELETE", &format!("{instances}/e4b565394caa"), &json!({}))["metadata"]["method"],
        "google.appengine.v1.Instances.DeleteInstance"
    );
    let debug = house.ask("POST", &format!("{instances}/e4b565394caa:debug"), "{'sshKey': 'x'}").error();
    assert!(debug.starts_with("FAILED_PRECONDITION: Instances can be debugged in the flexible environment only"), "{debug}");
}

#[test]
fn t9_firewall_rules_change_at_once() {
    let house = House::new();
    let rules = "/v1/apps/demo/firewall/ingressRules";
    let default = json!({"priority": 2_147_483_647, "action": "ALLOW", "sourceRange": "*", "description": "The default action."});
    assert_eq!(house.get(rules), json!({"ingressRules": [default]}));
    let rule = json!({"priority": 100, "action": "DENY", "sourceRange": "192.0.2.0/24", "description": "noise"});
    assert_eq!(house.ok("POST", rules, &rule), rule);
    assert_eq!(house.ask("POST", rules, &rule.to_string()).status, 409);
    house.ok("PATCH", &format!("{rules}/100?updateMask=action"), &json!({"action": 1}));
    assert_eq!(house.get(&format!("{rules}/100"))["action"], "ALLOW");
    let tag = |path: &str| house.ask("GET", path, "").head.lines().find(|line| line.starts_with("etag: \"")).map(str::to_owned);
    assert!(tag(rules).is_some() && tag(rules) == tag(rules) && tag("/v1/apps/demo").is_none());
    let matching = house.get(&format!("{rules}?matchingAddress=192.0.2.7"));
    assert_eq!(matching["ingressRules"].as_array().map(Vec::len), Some(2));
    assert_eq!(house.get(&format!("{rules}?matchingAddress=203.0.113.1"))["ingressRules"].as_array().map(Vec::len), Some(1));
    assert_eq!(house.ask("DELETE", &format!("{rules}/default"), "").status, 400);
    assert_eq!(house.ok("DELETE", &format!("{rules}/100"), &json!({})), json!({}));
    let all = house.ok("POST", &format!("{rules}:batchUpdate"), &json!({"ingressRules": [rule]}));
    assert_eq!(all["ingressRules"].as_array().map(Vec::len), Some(2), "{all}");
}

#[test]
fn t9_domains_and_certificates() {
    let house = House::new();
    let domains = "/v1/apps/demo/domainMappings";
    let made = house.ok("POST", domains, &json!({"id": "WWW.example.org", "sslSettings": {"sslManagementType": "MANUAL"}}));
    assert_eq!(made["done"], true);
    let mapping = house.get(&format!("{domains}/www.example.org"));
    assert_eq!((&mapping["id"], &mapping["sslSettings"]["sslManagementType"]), (&json!("www.example.org"), &json!("MANUAL")));
    assert_eq!(mapping["resourceRecords"], json!([{"name": "www", "type": "CNAME", "rrdata": "demo.local.r.localhost."}]));
    for (id, records) in [
        ("example.org", json!([{"type": "A", "rrdata": "192.0.2.7"}, {"type": "AAAA", "rrdata": "2001:db8::7"}])),
        ("shop.co.uk", json!([{"type": "A", "rrdata": "192.0.2.7"}, {"type": "AAAA", "rrdata": "2001:db8::7"}])),
        ("a.b.example.org", json!([{"name": "a.b", "type": "CNAME", "rrdata": "demo.local.r.localhost."}])),
    ] {
        house.ok("POST", domains, &json!({"id": id, "sslSettings": {"sslManagementType": "MANUAL"}}));
        assert_eq!(house.get(&format!("{domains}/{id}"))["resourceRecords"], records, "{id}");
        house.ask("DELETE", &format!("{domains}/{id}"), "");
    }
    for bad in ["localhost", "x", "10.0.0.1", "a..b", "shop.local.r.localhost", "a_b.org"] {
        assert_eq!(house.ask("POST", domains, &json!({"id": bad}).to_string()).status, 400, "{bad}");
    }
    assert_eq!(house.ask("POST", domains, "{'id': 'www.example.org'}").status, 409);
    assert_eq!(house.get("/v1/apps/demo/authorizedDomains")["domains"][0]["id"], "www.example.org");

    let pair = rcgen::generate_simple_self_signed(["www.example.org".to_owned(), "example.org".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["x.example.org".to_owned()]).expect("a certificate");
    let body = |key: &str| json!({"displayName": "mine", "certificateRawData": {"publicCertificate": pair.cert.pem(), "privateKey": key}});
    let certificates = "/v1/apps/demo/authorizedCertificates";
    let wrong = house.ask("POST", certificates, &body(&other.signing_key.serialize_pem()).to_string()).error();
    assert_eq!(wrong, "INVALID_ARGUMENT: The private key does not belong to the first certificate of the chain.");
    let made = house.ok("POST", certificates, &body(&pair.signing_key.serialize_pem()));
    assert_eq!(made["domainNames"], json!(["www.example.org", "example.org"]));
    assert!(made["expireTime"].as_str().is_some_and(|time| time.starts_with("4096-01-01T")), "{made}");
    assert!(!made.to_string().contains("PRIVATE KEY"));
    let id = made["id"].as_str().expect("an id");
    let mask = "ssl_settings.certificate_id,ssl_settings.ssl_management_type";
    house.ok(
        "PATCH",
        &format!("{domains}/www.example.org?updateMask={mask}"),
        &json!({"sslSettings": {"certificateId": id, "sslManagementType": "MANUAL"}}),
    );
    let full = house.get(&format!("{certificates}/{id}?view=FULL_CERTIFICATE"));
    assert_eq!(full["visibleDomainMappings"], json!(["apps/demo/domainMappings/www.example.org"]));
    assert_eq!(house.ask("DELETE", &format!("{certificates}/{id}"), "").status, 400);
    house.ok("DELETE", &format!("{domains}/www.example.org"), &json!({}));
    assert_eq!(house.ok("DELETE", &format!("{certificates}/{id}"), &json!({})), json!({}));
    assert_eq!(house.get(certificates), json!({}));
}

#[test]
fn t9_places_and_shapes_of_answers() {
    let house = House::new();
    let locations = house.get("/v1/apps/demo/locations?pageSize=100");
    assert_eq!(locations["locations"][0]["labels"], json!({"cloud.googleapis.com/region": "local"}));
    assert!(house.get("/v1/apps/demo:listRuntimes?environment=STANDARD")["runtimes"].as_array().is_some_and(|all| all.len() > 10));
    assert_eq!(house.get("/v1/apps/demo/services"), json!({}));
    assert_eq!(house.ask("GET", "/v1/apps/demo?callback=x", "").status, 400);
    assert_eq!(
        house.get("/v1/apps/demo?fields=id,featureSettings/splitHealthChecks"),
        json!({"id": "demo", "featureSettings": {"splitHealthChecks": true}})
    );
    let short = house.ask("GET", "/v1/apps/demo?prettyPrint=false&fields=id", "");
    assert_eq!(short.body, "{\"id\":\"demo\"}\n");
    assert!(short.head.contains("application/json; charset=UTF-8"), "{}", short.head);
    let form = [("Authorization", format!("Bearer {}", house.token)), ("X-HTTP-Method-Override", "GET".to_owned())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let long = house.ask_with("POST", "/v1/apps/demo", &form, b"fields=id&prettyPrint=false");
    assert_eq!(long.body, "{\"id\":\"demo\"}\n");
    for path in ["/v1/apps/demo/nothing", "/v1/nothing", "/", "/v1/apps/demo/services/default/versions/v1:nothing"] {
        assert_eq!(house.ask("GET", path, "").status, 404, "{path}");
    }
    assert_eq!(house.ask("DELETE", "/v1/apps/demo", "").status, 404);
    let project = house.get("/v1/projects/demo/locations/local/applications/demo");
    assert_eq!(project["id"], "demo");
    let operations = house.get("/v1/apps/demo/operations?filter=done%3Atrue");
    assert!(
        operations["operations"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["done"] == true)),
        "{operations}"
    );
    assert_eq!(house.get("/v1/apps/demo/operations?filter=done%3Afalse"), json!({}));
    assert_eq!(house.ask("GET", "/v1/apps/demo/operations?filter=x", "").status, 400);
    let _: Value = operations;
}

//! The requests of Terraform's provider: `Content-Type: application/json` on everything, bodies or not, `snake_case` masks, allocations as strings,
//! versions from a zip in a bucket.

use serde_json::{Value, json};
use testkit::ServeNode;

use super::{send, server};

#[track_caller]
fn ask(server: &ServeNode, method: &str, target: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let join = if target.contains('?') { '&' } else { '?' };
    let response = send(server, method, &format!("{target}{join}alt=json"), "application/json", &body);
    let answer = if response.body.is_empty() { Value::Null } else { response.json() };
    (response.status, answer)
}

#[track_caller]
fn good(server: &ServeNode, method: &str, target: &str, body: &Value) -> Value {
    let (status, answer) = ask(server, method, target, body);
    assert!(status < 300, "{method} {target}: {status} {answer}");
    if answer["name"].as_str().is_some_and(|name| name.contains("/operations/")) { server.finished(answer) } else { answer }
}

/// A zip with one stored file.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let crc = content.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    });
    let (size, length) = (u32::try_from(content.len()).expect("small"), u16::try_from(name.len()).expect("small"));
    let mut facts = Vec::new();
    // Needs 2.0, no flags, stored, at no time.
    facts.extend([20, 0, 0, 0, 0, 0, 0, 0, 33, 0]);
    facts.extend((!crc).to_le_bytes());
    facts.extend(size.to_le_bytes());
    facts.extend(size.to_le_bytes());
    facts.extend(length.to_le_bytes());
    facts.extend([0, 0]);
    let local = [b"PK\x03\x04", facts.as_slice(), name.as_bytes(), content].concat();
    let entry = [b"PK\x01\x02\x14\x00", facts.as_slice(), &[0; 14], name.as_bytes()].concat();
    let (entry_size, begin) = (u32::try_from(entry.len()).expect("small"), u32::try_from(local.len()).expect("small"));
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &entry_size.to_le_bytes(), &begin.to_le_bytes(), &[0, 0]].concat();
    [local, entry, end].concat()
}

#[test]
fn t9_terraform_deploys_a_zip_from_a_bucket() {
    let server = server();
    good(&server, "POST", "/storage/v1/b?project=demo", &json!({"name": "code-of-demo", "location": "EU", "storageClass": "STANDARD"}));
    let packed = zip("static/index.html", b"from a zip");
    let target = "/upload/storage/v1/b/code-of-demo/o?alt=json&name=app.zip&prettyPrint=false&projection=full&uploadType=multipart";
    let body = [
        b"--x\r\nContent-Type: application/json\r\n\r\n{\"bucket\":\"code-of-demo\",\"name\":\"app.zip\"}\r\n--x\r\nContent-Type: application/zip\r\n\r\n",
        packed.as_slice(),
        b"\r\n--x--\r\n",
    ]
    .concat();
    send(&server, "POST", target, "multipart/related; boundary=x", &body).expect(200);
    let version = json!({
        "id": "v1", "runtime": "python27", "runtimeApiVersion": "1", "threadsafe": true, "entrypoint": {"shell": ""},
        "deployment": {"zip": {"sourceUrl": "https://storage.googleapis.com/code-of-demo/app.zip"}},
        "handlers": [{"urlRegex": "/(.*)", "staticFiles": {"path": "static/\\1", "uploadPathRegex": "static/.*"}}],
        "basicScaling": {"maxInstances": 2, "idleTimeout": "900s"}, "instanceClass": "B1", "envVariables": {"port": "8080"},
    });
    let versions = "/v1/apps/demo/services/default/versions";
    good(&server, "POST", versions, &version);
    let read = good(&server, "GET", &format!("{versions}/v1?view=FULL"), &Value::Null);
    for field in ["id", "runtime", "basicScaling", "instanceClass"] {
        assert_eq!(read[field], version[field], "{field}: a difference would be a plan");
    }
    assert_eq!(read.get("automaticScaling"), None);
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").text(), "from a zip");
    // Once more in place, as an update does.
    good(&server, "POST", versions, &version);
    let (status, refused) = ask(&server, "DELETE", &format!("{versions}/v1"), &Value::Null);
    assert_eq!(status, 400);
    let text = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("final version of a service") || text.contains("non-zero traffic allocation"), "{refused}");
    good(&server, "DELETE", "/storage/v1/b/code-of-demo/o/app.zip", &Value::Null);
    good(&server, "DELETE", "/storage/v1/b/code-of-demo", &Value::Null);
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").text(), "from a zip", "the version keeps its files");
}

#[test]
fn t9_terraforms_masks_and_strings_are_read() {
    let server = server();
    for (id, page) in [("v1", "one"), ("v2", "two")] {
        super::upload(&server, id, page);
        let version = json!({
            "id": id, "runtime": "python27", "runtimeApiVersion": "1", "threadsafe": true,
            "deployment": {"files": {"static/index.html": {"sourceUrl": format!("https://storage.googleapis.com/staging.demo.localhost/{id}")}}},
            "handlers": [{"urlRegex": "/(.*)", "staticFiles": {"path": "static/\\1", "uploadPathRegex": "static/.*"}}],
        });
        good(&server, "POST", "/v1/apps/demo/services/default/versions", &version);
    }
    let split = json!({"id": "default", "split": {"shardBy": "IP", "allocations": {"v1": "0.75", "v2": "0.25"}}});
    good(&server, "PATCH", "/v1/apps/demo/services/default?migrateTraffic=false&updateMask=split", &split);
    let service = good(&server, "GET", "/v1/apps/demo/services/default", &Value::Null);
    assert_eq!(service["split"], json!({"shardBy": "IP", "allocations": {"v1": 0.75, "v2": 0.25}}));
    let (status, refused) = ask(&server, "PATCH", "/v1/apps/demo/services/default?migrateTraffic=&updateMask=split", &split);
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("Invalid value at 'migrate_traffic' (TYPE_BOOL), \"\"")));
    let network = json!({"id": "default", "networkSettings": {"ingressTrafficAllowed": "INGRESS_TRAFFIC_ALLOWED_ALL"}});
    good(&server, "PATCH", "/v1/apps/demo/services/default?updateMask=id,networkSettings", &network);
    let rules = json!({"dispatchRules": [{"domain": "*", "path": "/x/*", "service": "default"}]});
    good(&server, "PATCH", "/v1/apps/demo?updateMask=dispatch_rules", &rules);
    assert_eq!(good(&server, "GET", "/v1/apps/demo", &Value::Null)["dispatchRules"], rules["dispatchRules"]);
    good(&server, "PATCH", "/v1/apps/demo?updateMask=dispatch_rules", &json!({}));
    assert_eq!(good(&server, "GET", "/v1/apps/demo", &Value::Null).get("dispatchRules"), None);
    let rule = json!({"priority": 1000, "action": "ALLOW", "sourceRange": "*"});
    good(&server, "POST", "/v1/apps/demo/firewall/ingressRules", &rule);
    let mask = "updateMask=description,sourceRange,action,priority";
    let denied = json!({"priority": 1000, "action": "DENY", "sourceRange": "192.0.2.0/24", "description": "no"});
    good(&server, "PATCH", &format!("/v1/apps/demo/firewall/ingressRules/1000?{mask}"), &denied);
    assert_eq!(good(&server, "GET", "/v1/apps/demo/firewall/ingressRules/1000", &Value::Null)["action"], "DENY");
    good(&server, "DELETE", "/v1/apps/demo/firewall/ingressRules/1000", &Value::Null);
    let domain = json!({"id": "shop.example.org", "sslSettings": {"sslManagementType": "MANUAL"}});
    good(&server, "POST", "/v1/apps/demo/domainMappings", &domain);
    let mask = "updateMask=ssl_settings.certificate_id,ssl_settings.ssl_management_type";
    good(&server, "PATCH", &format!("/v1/apps/demo/domainMappings/shop.example.org?{mask}"), &domain);
    good(&server, "DELETE", "/v1/apps/demo/domainMappings/shop.example.org", &Value::Null);
    let (status, refused) = ask(&server, "POST", "/v1/apps", &json!({"id": "demo", "locationId": "local"}));
    assert_eq!((status, &refused["error"]["message"]), (409, &json!("This application already exists and cannot be re-created.")));
    let update = json!({"authDomain": "gmail.com", "servingStatus": "SERVING", "featureSettings": {"splitHealthChecks": true}});
    good(&server, "PATCH", "/v1/apps/demo?updateMask=authDomain,databaseType,servingStatus,featureSettings.splitHealthChecks,iap", &update);
}

//! Every spelling that clients use means the same.

use serde_json::{Value, json};

use super::*;

fn read(message: &'static Message, value: &Value) -> Value {
    Value::Object(message.read(value, "it").unwrap_or_else(|status| panic!("{value}: {status}")))
}

fn refusal(message: &'static Message, value: &Value) -> String {
    message.read(value, "it").expect_err("a mistake").message
}

#[test]
fn t1_all_spellings_are_one() {
    let canonical = json!({"split": {"allocations": {"v1": 0.75, "v2": 0.25}, "shardBy": "IP"}});
    for split in [
        json!({"split": {"allocations": {"v1": 0.75, "v2": "0.25"}, "shardBy": "IP"}}),
        json!({"split": {"allocations": {"v1": "0.75", "v2": "0.25"}, "shard_by": "ip"}}),
        json!({"split": {"allocations": {"v1": 0.75, "v2": 0.25}, "shardBy": 2}, "labels": null}),
        json!({"split": {"allocations": {"v1": 0.75, "v2": 0.25}, "shardBy": "2"}, "id": "default", "name": "apps/a/services/default"}),
    ] {
        assert_eq!(read(&SERVICE, &split), canonical, "{split}");
    }
    let version = json!({"inbound_services": [9], "threadsafe": "True", "automatic_scaling": {"max_concurrent_requests": "50", "min_pending_latency": "0.030s"},
        "handlers": [{"security_level": 0}, {"securityLevel": "secure_always"}], "deployment": {"zip": {"files_count": 3.0}}});
    assert_eq!(
        read(&VERSION, &version),
        json!({"inboundServices": ["INBOUND_SERVICE_WARMUP"], "threadsafe": true,
            "automaticScaling": {"maxConcurrentRequests": 50, "minPendingLatency": "0.03s"},
            "handlers": [{"securityLevel": "SECURE_UNSPECIFIED"}, {"securityLevel": "SECURE_ALWAYS"}], "deployment": {"zip": {"filesCount": 3}}})
    );
}

#[test]
fn t1_mistakes_are_named_with_their_paths() {
    let status =
        SERVICE.read(&json!({"x": 1, "split": {"y": 2, "allocations": {"v1": "half"}, "shardBy": "HOST"}, "labels": 7}), "service");
    let status = status.expect_err("mistakes");
    for line in [
        "Invalid JSON payload received. Unknown name \"x\" at 'service': Cannot find field.",
        "Invalid JSON payload received. Unknown name \"y\" at 'service.split': Cannot find field.",
        "Invalid value at 'service.split.allocations[\"v1\"]' (TYPE_DOUBLE), \"half\"",
        "Invalid value at 'service.split.shard_by' (TYPE_ENUM), \"HOST\"",
        "Invalid value at 'service.labels' (TYPE_STRING), 7",
    ] {
        assert!(status.message.lines().any(|found| found == line), "{line} is not in {}", status.message);
    }
    assert_eq!(status.details[0]["fieldViolations"].as_array().map(Vec::len), Some(5));
    assert_eq!(refusal(&SERVICE, &json!([])), "Invalid value at 'it' (TYPE_MESSAGE), []");
    assert_eq!(refusal(&FIREWALL_RULE, &json!({"priority": 1.5})), "Invalid value at 'it.priority' (TYPE_INT32), 1.5");
    assert_eq!(refusal(&VERSION, &json!({"vm": ""})), "Invalid value at 'it.vm' (TYPE_BOOL), \"\"");
}

#[test]
fn t9_answers_leave_defaults_out_and_can_number_enums() {
    let version = json!({"id": "v1", "threadsafe": false, "vm": true, "diskUsageBytes": "0", "servingStatus": "STOPPED", "handlers": [],
        "entrypoint": {"shell": ""}, "envVariables": {"EMPTY": ""}, "inboundServices": ["INBOUND_SERVICE_WARMUP"], "network": {},
        "automaticScaling": {"minIdleInstances": 0, "maxPendingLatency": "0s"}});
    let named = json!({"id": "v1", "vm": true, "servingStatus": "STOPPED", "entrypoint": {}, "envVariables": {"EMPTY": ""},
        "inboundServices": ["INBOUND_SERVICE_WARMUP"], "network": {}, "automaticScaling": {"maxPendingLatency": "0s"}});
    assert_eq!(VERSION.write(version.clone(), false), named);
    let numbered = VERSION.write(version, true);
    assert_eq!((&numbered["servingStatus"], &numbered["inboundServices"]), (&json!(2), &json!([9])));
    let operation =
        json!({"done": true, "response": {"@type": "type.googleapis.com/google.appengine.v1.Service", "split": {"shardBy": "IP"}}});
    assert_eq!(OPERATION.write(operation, true)["response"]["split"]["shardBy"], json!(2));
    assert_eq!(OPERATION.write(json!({"done": false, "name": "x"}), false), json!({"name": "x"}));
}

#[test]
fn t9_paths_of_masks_are_checked() {
    for good in
        ["split", "split.allocations", "split.allocations.v1", "networkSettings.ingressTrafficAllowed", "generatedCustomerMetadata.x"]
    {
        assert!(SERVICE.has(good), "{good}");
    }
    for bad in ["splits", "split.shard", "split.shardBy.x", "id.x", ""] {
        assert!(!SERVICE.has(bad), "{bad}");
    }
    assert_eq!(snake("ssl2CertificateId"), "ssl2_certificate_id");
    assert_eq!(camel("ssl_settings"), "sslSettings");
}

//! On a server: the changes are those of the Admin API, in the state and in the audit log.

use testkit::{App, Python, ServeNode};

use super::{add, asks, plain};
use crate::on_both;

fn two(python: Python) -> App {
    let app = add(App::new(), python, "web", "default", "automatic_scaling:\n  max_instances: 2\n");
    add(app, python, "api", "api", "manual_scaling:\n  instances: 1\n")
}

#[test]
fn m3_changes_from_inside_are_those_of_the_admin_api() {
    on_both(|python| {
        let mut node = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--patience", "300"]);
        let app = two(python);
        for folder in ["web", "api"] {
            let path = app.join(folder);
            node.deploy_folder("shop", &path, &["--version", "v1"]);
        }
        let versions = "/v1/apps/shop/services/api/versions/v1";
        {
            let check = |expression: &str, wanted: &str| {
                let answer = plain(&node.get("shop.local.r.localhost", &asks(expression)).expect(200).text());
                assert_eq!(answer, wanted, "{python:?}: {expression}");
            };
            check("list(modules.get_modules())", "['api', 'default']");
            check("modules.set_num_instances(2, 'api'), modules.get_num_instances('api')", "(None, 2)");
            for way in ["who", "fetched"] {
                check(&format!("{way}(modules.get_hostname('api', None, 1))"), "api v1 1");
            }
            assert_eq!(node.done("GET", versions, "")["manualScaling"]["instances"], 2);
            node.done("PATCH", &format!("{versions}?updateMask=manualScaling.instances"), r#"{"manualScaling": {"instances": 3}}"#);
            check("modules.get_num_instances('api')", "3");
            check("who(modules.get_hostname('api', None, 2))", "api v1 2");
            check("modules.stop_version('api', 'v1'), fetch(modules.get_hostname('api'))[0]", "(None, 404)");
            assert_eq!(node.done("GET", versions, "")["servingStatus"], "STOPPED");
            check("raw('modules', 'StopModule', module='api')", "5");
        }
        node.kill();
        node.restart();
        let check = |expression: &str, wanted: &str| {
            let answer = node.eventually("shop.local.r.localhost", &asks(expression), |answer| answer.status == 200);
            assert_eq!(plain(&answer.text()), wanted, "{python:?}: {expression}");
        };
        check("fetch(modules.get_hostname('api'))[0]", "404");
        check("modules.start_version('api', 'v1'), who(modules.get_hostname('api', None, 2))", "(None, 'api v1 2')");
        let audit = node.done("GET", "/enginehouse/v1/apps/shop/audit", "");
        let entries = audit["entries"].as_array().expect("entries");
        let own: Vec<_> = entries.iter().filter(|entry| entry["user"] == "apps/shop").collect();
        assert!(own.len() == 3 && own.iter().all(|entry| entry["action"] == "versions.patch"), "{audit}");
    });
}

//! `google-cloud-tasks` for Python, unmodified, against a server of ours: queues and tasks of an app.

use std::path::PathBuf;
use std::process::Command;

use testkit::Python;

use super::clients::{run, tasks, text};
use super::server;

/// Writes down what it is asked; `/fails` fails.
const WITNESS: &str = r"
seen = []


def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/seen':
        start_response('200 OK', [])
        return ['\n'.join(seen).encode('ascii')]
    body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))
    names = ['REQUEST_METHOD', 'QUERY_STRING', 'HTTP_X_APPENGINE_QUEUENAME', 'HTTP_X_APPENGINE_TASKNAME', 'HTTP_X_OWN', 'CONTENT_TYPE']
    if path == '/work':
        seen.append(' '.join([environ.get(name) or '-' for name in names] + [str(len(body))]))
    start_response('500 Broken' if path == '/fails' else '200 OK', [])
    return []
";

#[test]
fn s1_the_python_client_of_cloud_tasks_works_over_rest() {
    for version in ["v2", "v2beta3"] {
        let server = server();
        let app = crate::apps::app(Python::Two, "automatic_scaling:\n  max_instances: 1\n", WITNESS);
        server.deploy("demo", &app, &["--version", "v1"]);
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/google/cloudtasks.py");
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", tasks()).arg(script).arg(server.admin_url()).arg(server.owner_token()).arg(version);
        assert_eq!(text(&run(&mut command).stdout).lines().last(), Some("ok"), "{version}");
        let wanted = ["POST n=1 slow first yes text/x 11", "PATCH n=3 slow after - application/octet-stream 5"];
        server.eventually("demo.local.r.localhost", "/seen", |answer| {
            let seen = answer.text();
            wanted.iter().all(|line| seen.lines().filter(|seen| seen == line).count() == 1)
                && seen.lines().any(|line| line.starts_with("POST n=4 default "))
                && !seen.contains("n=2")
        });
    }
}

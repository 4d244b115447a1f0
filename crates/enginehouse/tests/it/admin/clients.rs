//! Google's clients for Python from `PyPI`, with nothing changed but the server's address.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use testkit::ServeNode;

use super::shop;

/// What the scripts in `tests/clients` import.
const PACKAGES: [&str; 2] = ["google-api-python-client>=2.100", "google-cloud-appengine-admin>=1.9"];

/// A Python that has Google's clients: made once, and kept beside the build.
fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = crate::workspace().join("target/google-clients");
        let (python, mark) = (folder.join("bin/python"), folder.join("complete"));
        if !mark.exists() {
            let run = |command: &mut Command| {
                let output = command.output().expect("it starts");
                assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            };
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
            run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES));
            std::fs::write(mark, "").expect("written");
        }
        python
    })
}

/// Runs a script until its end; it says `ok` if everything was as it should be.
#[track_caller]
fn script(server: &ServeNode, name: &str) {
    let file = crate::workspace().join("crates/enginehouse/tests/clients").join(name);
    let output = Command::new(python())
        .arg(&file)
        .args([&server.admin_url(), &server.owner_token(), "shop"])
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .output()
        .expect("python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim() == "ok", "{name}: {out}\n{err}");
}

#[test]
fn t7_t8_google_api_python_client_runs_the_documents_flows() {
    script(&shop(&["v1", "v2", "v3"]), "discovery.py");
}

#[test]
fn t9_the_gapic_client_speaks_rest_with_enum_numbers() {
    script(&shop(&["v1", "v2"]), "gapic.py");
}

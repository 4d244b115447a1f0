//! `enginehouse serve` as a child process: a data folder of its own, ports of the system's choice, the owner's token, the Admin API.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::http1::{Connection, Request, Response};
use crate::node::{Builder, Finished, Node};
use crate::{App, DEADLINE};

/// A running server.
pub struct ServeNode {
    node: Node,
    binary: String,
    args: Vec<OsString>,
    home: Arc<TempDir>,
}

impl ServeNode {
    /// A fresh server of the binary at this path (`env!("CARGO_BIN_EXE_enginehouse")`).
    #[track_caller]
    pub fn start(binary: &str) -> Self {
        Self::with(binary, [] as [&str; 0])
    }

    /// A fresh server with further arguments, `["--project", "shop"]`.
    #[track_caller]
    pub fn with<A: Into<OsString>>(binary: &str, args: impl IntoIterator<Item = A>) -> Self {
        let home = tempfile::Builder::new().prefix("enginehouse-serve-").tempdir().expect("a temporary folder");
        let (args, home) = (args.into_iter().map(Into::into).collect::<Vec<_>>(), Arc::new(home));
        let node = node(binary, home.path(), &args);
        Self { node, binary: binary.to_owned(), args, home }
    }

    /// Ends it as a power cut would; [`Self::restart`] starts it again.
    #[track_caller]
    pub fn kill(&mut self) {
        self.node.kill();
    }

    /// Starts it again on the same data.
    #[track_caller]
    pub fn restart(&mut self) {
        self.node = node(&self.binary, self.home.path(), &self.args);
    }

    /// Lets the same binary take over, as `enginehouse upgrade` does.
    #[track_caller]
    pub fn upgrade(&mut self) {
        let heir = self.begin_upgrade();
        self.node.handed_over(heir);
    }

    /// The same, while the old process may still have something to do; returns the number of the new one.
    #[track_caller]
    pub fn begin_upgrade(&mut self) -> u32 {
        let data = self.data();
        let command = ["upgrade".into(), "--data".into(), data.clone().into_os_string()];
        let finished = command.into_iter().fold(Builder::new(&self.binary), Builder::arg).output();
        assert_eq!(finished.code, Some(0), "{finished:?}\n{}", self.node.everything());
        std::fs::read_to_string(data.join("lock")).expect("the lock").trim().parse().expect("a number")
    }

    /// The process, its log and its signals.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Everything that it has written so far.
    pub fn log(&self) -> String {
        self.node.everything()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Where apps answer.
    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        self.node.address()
    }

    /// Where the Admin API answers.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        self.node.admin().expect("a server has an admin port")
    }

    /// `http://localhost:PORT` of the Admin API.
    #[track_caller]
    pub fn admin_url(&self) -> String {
        format!("http://localhost:{}", self.admin().port())
    }

    /// The token with all rights that the first start made.
    #[track_caller]
    pub fn owner_token(&self) -> String {
        std::fs::read_to_string(self.data().join("owner-token")).expect("the owner's token").trim().to_owned()
    }

    /// GET for an app, with this Host.
    #[track_caller]
    pub fn get(&self, host: &str, target: &str) -> Response {
        Connection::open(self.http()).send(&Request::get(target).host(host))
    }

    /// A request to the Admin API with the owner's token; an empty text is no body.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: &str) -> Response {
        let token = self.owner_token();
        let mut request = Request::new(method, path).header("Authorization", &format!("Bearer {token}"));
        if !body.is_empty() {
            request = request.header("Content-Type", "application/json").body(body);
        }
        Connection::open(self.admin()).send(&request)
    }

    /// The same, which must succeed, and if the answer is an operation, must come to its end.
    #[track_caller]
    pub fn done(&self, method: &str, path: &str, body: &str) -> Value {
        let response = self.api(method, path, body);
        assert_eq!(response.status, 200, "{method} {path}: {}", response.text());
        let answer = response.json();
        if answer["name"].as_str().is_some_and(|name| name.contains("/operations/")) { self.finished(answer) } else { answer }
    }

    /// Polls an operation until it is done; it must succeed. Returns its response.
    #[track_caller]
    pub fn finished(&self, operation: Value) -> Value {
        let operation = self.ended(operation);
        assert!(operation.get("error").is_none(), "the operation failed: {operation}");
        operation["response"].clone()
    }

    /// Polls an operation until it is done, whatever came of it.
    #[track_caller]
    pub fn ended(&self, mut operation: Value) -> Value {
        let until = Instant::now() + DEADLINE;
        while operation["done"] != true {
            assert!(Instant::now() < until, "the operation does not end: {operation}\n{}", self.node.everything());
            std::thread::park_timeout(std::time::Duration::from_millis(10));
            let name = operation["name"].as_str().expect("an operation has a name");
            operation = self.api("GET", &format!("/v1/{name}"), "").json();
        }
        operation
    }

    /// Waits until GET with this Host is answered as `wanted`.
    #[track_caller]
    pub fn eventually(&self, host: &str, target: &str, wanted: impl Fn(&Response) -> bool) -> Response {
        self.node.eventually(&Request::get(target).host(host), wanted)
    }

    /// `enginehouse deploy` of an app, to its end; `args` are further arguments, `["--version", "v1", "--no-promote"]`.
    #[track_caller]
    pub fn try_deploy(&self, project: &str, app: &App, args: &[&str]) -> Finished {
        self.try_deploy_folder(project, app.path(), args)
    }

    fn try_deploy_folder(&self, project: &str, folder: &Path, args: &[&str]) -> Finished {
        let (server, token, path) = (self.admin_url(), self.owner_token(), folder.to_str().expect("UTF-8").to_owned());
        let own = ["deploy", &path, "--server", &server, "--token", &token, "--project", project, "--quiet"];
        Builder::new(&self.binary).args(own).args(args.iter().copied()).output()
    }

    /// `enginehouse deploy` of a folder, which must succeed.
    #[track_caller]
    pub fn deploy_folder(&self, project: &str, folder: &Path, args: &[&str]) {
        let finished = self.try_deploy_folder(project, folder, args);
        assert_eq!(finished.code, Some(0), "{}\n{}\n{}", finished.stdout, finished.stderr, self.node.everything());
    }

    /// The same, which must succeed.
    #[track_caller]
    pub fn deploy(&self, project: &str, app: &App, args: &[&str]) {
        let finished = self.try_deploy(project, app, args);
        assert_eq!(finished.code, Some(0), "{}\n{}\n{}", finished.stdout, finished.stderr, self.node.everything());
    }

    /// Begins to make a version of the same files and settings as another one of its service; returns the operation.
    #[track_caller]
    pub fn begin_copy(&self, project: &str, service: &str, from: &str, to: &str) -> Response {
        let versions = format!("/v1/apps/{project}/services/{service}/versions");
        let mut spec = self.api("GET", &format!("{versions}/{from}?view=FULL"), "").expect(200).json();
        for output in ["name", "createTime", "createdBy", "diskUsageBytes", "versionUrl"] {
            spec.as_object_mut().expect("a version").remove(output);
        }
        spec["id"] = to.into();
        self.api("POST", &versions, &spec.to_string())
    }

    /// The whole traffic of a service, in the form of the documents: `{"v1": 0.6, "v2": 0.4}` by this.
    #[track_caller]
    pub fn split(&self, project: &str, service: &str, by: &str, allocations: &Value) {
        let body = serde_json::json!({"split": {"shardBy": by, "allocations": allocations}});
        self.done("PATCH", &format!("/v1/apps/{project}/services/{service}?updateMask=split"), &body.to_string());
    }
}

fn node(binary: &str, home: &Path, args: &[OsString]) -> Node {
    let builder = Builder::new(binary);
    let cache = builder.cache().join("enginehouse");
    let mut command: Vec<OsString> = vec!["serve".into(), "--data".into(), home.join("data").into(), "--cache".into(), cache.into()];
    command.extend(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"].map(OsString::from));
    let builder = args.iter().fold(builder.serving(command), Builder::arg);
    builder.start()
}

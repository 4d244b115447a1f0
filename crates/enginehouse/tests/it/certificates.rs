//! Certificates of a server by host name: its owner's own, and those that it orders from an authority. The authority is Pebble, the one that Let's
//! Encrypt tests clients with (`apt install pebble`), and looks at the server as a real one does: through the DNS and over http.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use testkit::{DEADLINE, ServeNode};

/// Where the server speaks TLS.
fn https(server: &mut ServeNode) -> SocketAddr {
    let ready: Value = serde_json::from_slice(&std::fs::read(server.node().ready_file()).expect("ready")).expect("JSON");
    let port = ready["https"].as_str().and_then(|url| url.rsplit(':').next()).expect("an address for https");
    SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")))
}

/// Shakes hands for a name, and asks for `/`. The chain must lead to `roots`; returns the leaf and the status line.
fn visit(address: SocketAddr, name: &str, roots: &[CertificateDer<'static>]) -> Result<(CertificateDer<'static>, String), String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(store).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = ClientConnection::new(Arc::new(config), name.clone()).expect("a session");
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let mut stream = rustls::StreamOwned::new(session, socket);
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", name.to_str());
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).map_err(|error| error.to_string())?;
    let leaf = stream.conn.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").clone().into_owned();
    Ok((leaf, String::from_utf8_lossy(&answer).into_owned()))
}

/// Asks until the server shows a certificate that suits.
#[track_caller]
fn eventually(address: SocketAddr, name: &str, roots: &[CertificateDer<'static>], suits: impl Fn(&CertificateDer<'static>) -> bool) {
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let seen = visit(address, name, roots);
        if seen.as_ref().is_ok_and(|(leaf, _)| suits(leaf)) {
            return;
        }
        assert!(std::time::Instant::now() < until, "{name}: {seen:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// A certificate and its key in PEM, and what to trust for it.
fn made(name: &str) -> (String, String, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("made");
    (made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().clone())
}

#[test]
fn t9_certificates_of_the_owner_are_shown_by_name_and_replaced_while_serving() {
    let mut server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--listen-tls", "127.0.0.1:0"]);
    let address = https(&mut server);
    let upload = |chain: &str, key: &str| json!({ "certificateRawData": { "publicCertificate": chain, "privateKey": key } }).to_string();
    let (chain, key, first) = made("www.example.org");
    let id = server.done("POST", "/v1/apps/shop/authorizedCertificates", &upload(&chain, &key))["id"].as_str().expect("an id").to_owned();
    let (star, star_key, wild) = made("*.example.net");
    let wild_id =
        server.done("POST", "/v1/apps/shop/authorizedCertificates", &upload(&star, &star_key))["id"].as_str().expect("an id").to_owned();
    assert!(visit(address, "www.example.org", std::slice::from_ref(&first)).is_err(), "it is mapped to no name yet");
    for (name, certificate) in [("www.example.org", &id), ("*.example.net", &wild_id)] {
        let mapping = json!({ "id": name, "sslSettings": { "sslManagementType": "MANUAL", "certificateId": certificate } });
        server.done("POST", "/v1/apps/shop/domainMappings", &mapping.to_string());
    }
    eventually(address, "www.example.org", std::slice::from_ref(&first), |leaf| *leaf == first);
    eventually(address, "any.example.net", std::slice::from_ref(&wild), |leaf| *leaf == wild);
    assert!(visit(address, "www.example.com", &[first.clone(), wild]).is_err(), "nobody mapped this name");
    // A new one in its place, without a restart.
    let (chain, key, second) = made("www.example.org");
    server.done("PATCH", &format!("/v1/apps/shop/authorizedCertificates/{id}?updateMask=certificateRawData"), &upload(&chain, &key));
    eventually(address, "www.example.org", std::slice::from_ref(&second), |leaf| *leaf == second);
    server.kill();
    server.restart();
    let address = https(&mut server);
    eventually(address, "www.example.org", std::slice::from_ref(&second), |leaf| *leaf == second);
    assert!(!server.node().everything().contains("PRIVATE KEY"));
}

/// An authority with a DNS of its own, in which every name is this machine.
struct Authority {
    folder: tempfile::TempDir,
    ports: [u16; 4],
    children: Vec<Child>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ports that were free a moment ago: these programs cannot be told to take any.
fn free() -> [u16; 4] {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let [a, b, _, d] = held.map(|held| held.local_addr().expect("bound").port());
    [a, b, udp.local_addr().expect("bound").port(), d]
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key, _) = made("localhost");
        std::fs::write(folder.path().join("cert.pem"), chain).expect("written");
        std::fs::write(folder.path().join("key.pem"), key).expect("written");
        Self { folder, ports: free(), children: Vec::new() }
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.ports[0])
    }

    /// A server that orders here.
    fn server(&self) -> ServeNode {
        self.server_with(&[])
    }

    fn server_with(&self, further: &[&str]) -> ServeNode {
        let (directory, ca) = (self.directory(), self.ca());
        let args = ["--project", "shop", "--listen-tls", "127.0.0.1:0", "--acme-email", "owner@example.org", "--acme-retry", "1"];
        let own = ["--acme-directory", &directory, "--acme-ca", ca.to_str().expect("UTF-8")];
        ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), args.into_iter().chain(own).chain(further.iter().copied()))
    }

    /// Begins to issue. It looks at names at the port of `server`.
    fn open(&mut self, server: &ServeNode) {
        self.open_at(server.http().port(), 1);
    }

    /// The same; it looks at these ports, by http and by TLS.
    fn open_at(&mut self, http: u16, tls: u16) {
        let [port, management, dns, records] = self.ports;
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"), "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": http, "tlsPort": tls,
        }});
        std::fs::write(self.folder.path().join("config.json"), config.to_string()).expect("written");
        let (dns_at, records_at) = (format!("127.0.0.1:{dns}"), format!("127.0.0.1:{records}"));
        let names = ["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-dns01", &dns_at, "-management", &records_at];
        self.children.push(start(Command::new("pebble-challtestsrv").args(names)));
        // A fifth of all nonces is refused: clients must ask again.
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", "config.json", "-dnsserver", &dns_at]).current_dir(self.folder.path());
        self.children.push(start(pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "20")));
        for port in [port, management, records] {
            reachable(port);
        }
    }

    /// In the DNS, this name is at this address from now on.
    fn record(&self, name: &str, address: &str) {
        // What was said before would be given besides.
        self.tell("/clear-a", &json!({ "host": name }));
        self.tell("/add-a", &json!({ "host": name, "addresses": [address] }));
    }

    fn tell(&self, what: &str, body: &Value) {
        let request = testkit::Request::post(what, body.to_string()).host("localhost");
        testkit::Connection::open(SocketAddr::from(([127, 0, 0, 1], self.ports[3]))).send(&request).expect(200);
    }

    /// Whom to trust: drawn anew whenever Pebble starts.
    fn roots(&self) -> Vec<CertificateDer<'static>> {
        let request = testkit::Request::get("/roots/0").host("localhost");
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports[1]));
        let pem = testkit::Connection::open_tls(address).send(&request).expect(200).text();
        vec![CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")]
    }
}

#[track_caller]
fn start(command: &mut Command) -> Child {
    let program = Path::new(command.get_program()).display().to_string();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("{program}: {error}; the tests need it: apt install pebble"))
}

#[track_caller]
fn reachable(port: u16) {
    let until = std::time::Instant::now() + DEADLINE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(std::time::Instant::now() < until, "nobody listens on {port}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

fn map(server: &ServeNode, name: &str) {
    let mapping = json!({ "id": name, "sslSettings": { "sslManagementType": "AUTOMATIC" } });
    server.done("POST", "/v1/apps/shop/domainMappings", &mapping.to_string());
}

fn certificates(server: &ServeNode) -> Vec<Value> {
    server.done("GET", "/v1/apps/shop/authorizedCertificates", "")["certificates"].as_array().cloned().unwrap_or_default()
}

/// Waits until the certificate of a name has this status.
#[track_caller]
fn status(server: &ServeNode, name: &str, wanted: &str) -> Value {
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let all = certificates(server);
        let found = all.iter().find(|one| one["domainNames"][0] == name);
        if let Some(found) = found.filter(|found| found["managedCertificate"]["status"] == wanted) {
            return found.clone();
        }
        assert!(std::time::Instant::now() < until, "{name} is not {wanted}: {all:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

#[test]
fn t9_custom_domains_get_certificates_from_an_authority() {
    let mut authority = Authority::new();
    let mut server = authority.server();
    let address = https(&mut server);
    // The authority is not there yet: it is tried again.
    map(&server, "www.example.org");
    status(&server, "www.example.org", "FAILED_RETRYING_NOT_VISIBLE");
    let pending = server.done("GET", "/v1/apps/shop/domainMappings/www.example.org", "");
    assert!(pending["sslSettings"]["pendingManagedCertificateId"].is_string(), "{pending}");
    authority.open(&server);
    let issued = status(&server, "www.example.org", "OK");
    assert!(issued["expireTime"].is_string() && issued["managedCertificate"]["lastRenewalTime"].is_string(), "{issued}");
    let mapping = server.done("GET", "/v1/apps/shop/domainMappings/www.example.org", "");
    let ssl = &mapping["sslSettings"];
    assert!(ssl["certificateId"] == issued["id"] && ssl["pendingManagedCertificateId"].is_null(), "{mapping}");
    let roots = authority.roots();
    eventually(address, "www.example.org", &roots, |_| true);
    let (leaf, _) = visit(address, "www.example.org", &roots).expect("a chain that is trusted");
    assert!(visit(address, "shop.example.org", &roots).is_err(), "nobody mapped this name");
    // After a crash the same one is shown, and nothing is ordered again.
    server.kill();
    server.restart();
    let address = https(&mut server);
    eventually(address, "www.example.org", &roots, |shown| *shown == leaf);
    let told = server.node().everything();
    assert!(!told.contains("PRIVATE KEY") && !told.contains(" was issued"), "{told}");
    // The process that takes over goes on.
    server.upgrade();
    map(&server, "next.example.org");
    let next = status(&server, "next.example.org", "FAILED_RETRYING_NOT_VISIBLE");
    assert!(next["expireTime"].is_null(), "the authority looks at the old port: {next}");
    server.done("DELETE", "/v1/apps/shop/domainMappings/next.example.org", "");
    // The mapping goes, and the certificate with it.
    server.done("DELETE", "/v1/apps/shop/domainMappings/www.example.org", "");
    let until = std::time::Instant::now() + DEADLINE;
    while !certificates(&server).is_empty() {
        assert!(std::time::Instant::now() < until, "{:?}", certificates(&server));
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

#[test]
fn t9_a_domain_that_leads_elsewhere_gets_its_certificate_when_it_leads_here() {
    let mut authority = Authority::new();
    let mut server = authority.server();
    let address = https(&mut server);
    authority.open(&server);
    authority.record("late.example.org", "127.0.0.9");
    map(&server, "late.example.org");
    map(&server, "good.example.org");
    let line = server.node().wait_line("why", |line| line.contains("no certificate for late.example.org"));
    assert!(line.contains("127.0.0.9") && line.contains("tried again in "), "{line}");
    status(&server, "late.example.org", "FAILED_RETRYING_NOT_VISIBLE");
    // One failure holds up nobody else.
    status(&server, "good.example.org", "OK");
    authority.record("late.example.org", "127.0.0.1");
    status(&server, "late.example.org", "OK");
    eventually(address, "late.example.org", &authority.roots(), |_| true);
    // No authority proves a wildcard over http.
    map(&server, "*.example.org");
    status(&server, "*.example.org", "FAILED_PERMANENT");
}

#[test]
fn t9_certificates_are_renewed_before_they_end() {
    let mut authority = Authority::new();
    let mut server = authority.server();
    let address = https(&mut server);
    authority.open(&server);
    map(&server, "www.example.org");
    let first = status(&server, "www.example.org", "OK");
    let roots = authority.roots();
    eventually(address, "www.example.org", &roots, |_| true);
    let (before, _) = visit(address, "www.example.org", &roots).expect("a chain that is trusted");
    // As if most of its life had passed: the store is changed while the server is down.
    server.node().stop();
    let database = server.data().join("control.db");
    let store = store::control::Store::open(&server.data()).expect("the state");
    let app: model::ids::AppId = "shop".parse().expect("an id");
    let id = first["id"].as_str().expect("an id");
    let changed = store.change::<_, store::control::StoreError>(&store::control::Actor::house(), |change| {
        let mut row = change.certificate(&app, id)?;
        row.expires = change.now() + std::time::Duration::from_hours(1);
        row.managed = Some(json!({ "status": "OK", "lastRenewalTime": "2020-01-01T00:00:00Z" }));
        change.put_certificate(&row)
    });
    changed.expect("written");
    drop(store);
    assert_eq!(database.metadata().expect("there").permissions().mode() & 0o077, 0, "nobody else reads keys");
    server.restart();
    // Its address is another one now; the authority looks at the old port.
    authority.children.drain(..).for_each(|mut child| {
        let _ = child.kill();
        let _ = child.wait();
    });
    authority.open(&server);
    let address = https(&mut server);
    server.node().wait_line("the renewal", |line| line.contains("the certificate of www.example.org was renewed"));
    let again = status(&server, "www.example.org", "OK");
    assert_eq!(again["id"], first["id"], "it keeps its id");
    eventually(address, "www.example.org", &authority.roots(), |leaf| *leaf != before);
}

#[test]
fn t9_a_name_is_proven_by_tls_where_only_that_port_leads_here() {
    let mut authority = Authority::new();
    let mut server = authority.server_with(&["--acme-proof", "tls"]);
    let address = https(&mut server);
    // Nobody listens at the port for http.
    authority.open_at(1, address.port());
    map(&server, "www.example.org");
    status(&server, "www.example.org", "OK");
    eventually(address, "www.example.org", &authority.roots(), |_| true);
    // No proof is under way any more, and who asks for nothing else is shown none.
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from("www.example.org").expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let refused = session.complete_io(&mut socket).expect_err("no proof").to_string();
    assert!(refused.contains("AccessDenied") || refused.contains("HandshakeFailure"), "{refused}");
}

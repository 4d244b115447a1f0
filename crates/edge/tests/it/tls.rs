//! TLS: ALPN, self-signed certificates, `secure`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge::{Certificate, Listener, Options, Timeouts};
use http_body_util::{BodyExt, Full};
use model::handler::Secure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app;
use crate::h2;
use crate::node::{Node, config, files, folder, options, script, table};

fn node(timeouts: Timeouts) -> (tempfile::TempDir, Node) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (endpoint, _) = app::http(|received, wire| {
        wire.answer(
            "200 OK",
            format!(
                "{} {}",
                received.header("x-appengine-https").unwrap_or_default(),
                received.header("x-forwarded-proto").unwrap_or_default()
            ),
        );
        true
    });
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let tls = Some(Certificate::SelfSigned { directory: directory.path().to_owned() });
    let options = Options {
        listeners: vec![Listener::plain(any), Listener { tls, ..Listener::plain(any) }],
        names: vec!["shop.localhost".into()],
        timeouts,
        ..options()
    };
    let mut always = script("/always");
    always.secure = Secure::Always;
    let mut never = script("/never");
    never.secure = Secure::Never;
    let routes = table(config("nodejs22", vec![always, never, script("/.*")]), Path::new("/nowhere"));
    (directory, Node::start(options, routes, Ok(endpoint)))
}

fn trusting(directory: &Path, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(directory.join("certificate.pem")).expect("a certificate");
    roots.add(certificate).expect("added");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn connect(node: &Node, config: &Arc<ClientConfig>, name: &'static str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(node.addresses[1]).await.expect("connects");
    TlsConnector::from(config.clone()).connect(ServerName::try_from(name).expect("a name"), stream).await.expect("a handshake")
}

async fn get(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("written");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    text
}

#[test]
fn h9_h10_http_1_over_tls() {
    let (directory, node) = node(Timeouts::default());
    h2::runtime().block_on(async {
        let config = trusting(directory.path(), &["http/1.1"]);
        for name in ["localhost", "shop.localhost", "127.0.0.1", "::1"] {
            let mut stream = connect(&node, &config, name).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let text = get(&mut stream, "/").await;
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("on https"), "{text}");
        }
        let mut stream = connect(&node, &config, "localhost").await;
        let text = get(&mut stream, "/").await;
        assert!(text.ends_with("on https"));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "sessions are resumed");
    });
}

#[test]
fn large_answers_over_tls_are_whole_and_end_with_a_farewell() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (_keep, root) = folder(&[("s/large.bin", &large), ("s/small.bin", b"small")]);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let tls = Some(Certificate::SelfSigned { directory: directory.path().to_owned() });
    let options = Options { listeners: vec![Listener::plain(any), Listener { tls, ..Listener::plain(any) }], ..options() };
    let node = Node::files(options, table(config("python312", vec![files("/s", "s")]), &root));
    h2::runtime().block_on(async {
        for (name, content) in [("small", &b"small"[..]), ("large", &large)] {
            let mut stream = connect(&node, &trusting(directory.path(), &[]), "localhost").await;
            let request = format!("GET /s/{name}.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut all = Vec::new();
            // Without `close_notify` this would be an error.
            stream.read_to_end(&mut all).await.expect("an orderly end");
            assert!(all.ends_with(content), "{name}: {} bytes", all.len());
        }
    });
}

#[test]
fn http_2_over_tls() {
    let (directory, node) = node(Timeouts::default());
    h2::runtime().block_on(async {
        let stream = connect(&node, &trusting(directory.path(), &["h2", "http/1.1"]), "localhost").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut send = h2::client(stream).await;
        let request = http::Request::get("https://localhost/").body(Full::<Bytes>::default()).expect("a request");
        let response = send.send_request(request).await.expect("an answer");
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "on https");
    });
}

#[test]
fn y20_secure_is_honoured_when_there_is_a_certificate() {
    let (directory, node) = node(Timeouts::default());
    let (http, https) = (node.addresses[0].port(), node.addresses[1].port());
    let answer = node.get("/always?x=1");
    assert_eq!((answer.status, answer.header("location")), (302, Some(format!("https://localhost:{https}/always?x=1"))));
    h2::runtime().block_on(async {
        let mut stream = connect(&node, &trusting(directory.path(), &[]), "localhost").await;
        let text = get(&mut stream, "/never?x=1").await;
        assert!(text.contains(&format!("location: http://localhost:{http}/never\r\n")), "{text}");
    });
}

#[test]
fn a_handshake_that_takes_too_long_is_cut_off() {
    let (_directory, node) = node(Timeouts { handshake: Duration::from_millis(100), ..Timeouts::default() });
    let mut client = crate::node::Client::to(node.addresses[1]);
    client.write(b"\x16\x03\x01");
    assert!(client.closed());
    let mut client = crate::node::Client::to(node.addresses[1]);
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // An alert, or nothing; the server goes on.
    let _ = client.closed();
    assert_eq!(node.get("/").status, 200);
}

//! Mail over TLS, both ways, against servers and clients of others: Python's aiosmtpd and smtplib.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use testkit::{DEADLINE, Node, Python};

use super::{app, eval, kept, listener};
use crate::node;

/// An authority, and a certificate of its for `localhost`.
struct Papers {
    folder: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (authority_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut authority = CertificateParams::new(Vec::new()).expect("good");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than the certificate's, which OpenSSL would otherwise take for its own authority.
        authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let own = authority.self_signed(&authority_key).expect("signed").pem();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("good");
        let signed = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).expect("signed").pem();
        // What the machine believes too: packages may have to be fetched.
        let system = std::env::var("SSL_CERT_FILE").unwrap_or_else(|_| "/etc/ssl/certs/ca-certificates.crt".into());
        let known = std::fs::read_to_string(system).unwrap_or_default();
        for (name, text) in
            [("authority.pem", &own), ("chain.pem", &signed), ("key.pem", &key.serialize_pem()), ("all.pem", &format!("{own}\n{known}"))]
        {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// aiosmtpd as a child process.
struct Server {
    child: Child,
    port: u64,
    came: Receiver<Value>,
}

impl Server {
    fn start(way: &str, papers: &Papers) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mail/server.py");
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", packages()).arg(script).arg(way).args([papers.file("chain.pem"), papers.file("key.pem")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let (sender, came) = channel();
        std::thread::spawn(move || lines.map_while(|line| serde_json::from_str(&line).ok()).try_for_each(|line| sender.send(line)));
        let first: Value = came.recv_timeout(DEADLINE).expect("it tells its port");
        Self { child, port: first["port"].as_u64().expect("a port"), came }
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.came.recv_timeout(DEADLINE).expect("a message comes")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with aiosmtpd, installed once.
fn packages() -> PathBuf {
    crate::google::installed("mail", |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(folder).arg("aiosmtpd>=1.4.6");
        crate::google::done(&mut pip);
    })
}

/// A node whose mail goes to `url`, and which believes the authorities in `believed`.
fn sending(url: &str, believed: &str, password: &str) -> (Node, tempfile::TempDir) {
    let storage = tempfile::tempdir().expect("a folder");
    let file = storage.path().join("password");
    std::fs::write(&file, format!("{password}\n")).expect("written");
    let (file, path) = (file.display().to_string(), storage.path().join("app").display().to_string());
    let args = ["--patience", "300", "--storage", &path, "--smtp-password-file", &file];
    (node().app(&app(Python::Three)).args(args).env("ENGINEHOUSE_SMTP_URL", url).env("SSL_CERT_FILE", believed).start(), storage)
}

#[test]
fn s4_mail_goes_out_over_tls_with_a_password() {
    let papers = Papers::new();
    for (way, scheme) in [("starttls", "smtp+starttls"), ("smtps", "smtps")] {
        testkit::node::say(&format!("--- {scheme}"));
        let server = Server::start(way, &papers);
        let (node, _storage) = sending(&format!("{scheme}://shop@localhost:{}", server.port), &papers.file("all.pem"), "secret");
        assert_eq!(eval(&node, "send()"), Value::Null);
        let came = server.next();
        assert_eq!(
            (&came["sender"], &came["tls"], &came["to"][0]),
            (&"me@example.com".into(), &true.into(), &"you@example.com".into()),
            "{came}"
        );
        assert!(["PLAIN", "LOGIN"].contains(&came["mechanism"].as_str().unwrap_or_default()), "{came}");
        assert!(came["message"].as_str().is_some_and(|text| text.contains("Subject: Hello")), "{came}");
        node.wait_line("the delivery", |line| line.contains("is delivered"));
    }
}

#[test]
fn s4_what_is_wrong_with_a_mail_server_is_told_and_mail_waits() {
    let papers = Papers::new();
    let server = Server::start("starttls", &papers);
    let believed = papers.file("all.pem");
    let by_name = format!("smtp+starttls://shop@localhost:{}", server.port);
    let by_address = format!("smtp+starttls://shop@127.0.0.1:{}", server.port);
    let strict = format!("smtps://shop@localhost:{}", server.port);
    for (url, believed, password, wanted) in [
        (by_name.as_str(), "/etc/ssl/certs/ca-certificates.crt", "secret", "its authority is not among those of this machine"),
        (&by_address, &believed, "secret", "it is for another name"),
        (&by_name, &believed, "wrong", "does not take the user and password"),
        (&strict, &believed, "secret", "TLS with the mail server localhost fails"),
    ] {
        testkit::node::say(&format!("--- {wanted}"));
        let (node, storage) = sending(url, believed, password);
        assert_eq!(eval(&node, "send()"), Value::Null);
        let line = node.wait_line("the reason", |line| line.contains(" waits: "));
        assert!(line.contains(wanted), "{line}");
        let place = storage.path().join("app").display().to_string();
        let listed = super::mail(&place, &["list", "--format", "json"]);
        let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
        // No bounce: it is not the recipient's fault, and may be mended.
        assert_eq!((listed.as_array().map(Vec::len), &listed[0]["state"]), (Some(1), &"queued".into()), "{listed}");
        assert!(!node.everything().contains("secret"), "the log knows no passwords");
    }
    assert!(server.came.try_recv().is_err(), "nothing was taken");
}

/// smtplib, which brings a message with STARTTLS.
const CLIENT: &str = r"
import smtplib, socket, ssl, sys
host, port, believed, to = sys.argv[1:]
context = ssl.create_default_context(cafile=believed) if believed else ssl._create_unverified_context()
client = smtplib.SMTP(host, int(port), timeout=60)
client.ehlo()
assert client.has_extn('starttls'), client.esmtp_features
client.starttls(context=context)
client.ehlo()
assert not client.has_extn('starttls')
client.sendmail('ann@example.org', [to], 'From: ann@example.org\r\nTo: %s\r\nSubject: sealed\r\n\r\nx' % to)
client.quit()
# What comes in the clear behind the command is thrown away, and the connection with it.
raw = socket.create_connection((host, int(port)), 60)
raw.recv(1000)
raw.sendall(b'EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@example.org>\r\n')
said = b''
while True:
    try:
        more = raw.recv(1000)
    except ConnectionResetError:
        break
    if not more:
        break
    said += more
assert b'220 2.0.0' in said and said.count(b'250 ') <= 1, said
print('ok')
";

#[track_caller]
fn brings(node: &Node, believed: &str, to: &str) {
    let at = listener(node);
    let mut command = Command::new("python3");
    command.args(["-c", CLIENT, "localhost", &at.port().to_string(), believed, to]);
    let output = crate::google::done(&mut command);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
}

#[test]
fn y21_mail_comes_in_over_starttls() {
    let papers = Papers::new();
    let (chain, key) = (papers.file("chain.pem"), papers.file("key.pem"));
    let args = ["--patience", "300", "--mail-listen", "127.0.0.1:0"];
    let node = || node().app(&app(Python::Three)).args(args);
    let with_own = node().args(["--mail-tls-cert", &chain, "--mail-tls-key", &key]).start();
    brings(&with_own, &papers.file("authority.pem"), "a@demo.appspotmail.com");
    assert_eq!(kept(&with_own, "mail")[5], "sealed");
    let place = eval(&with_own, "memcache.get('mail')[0]");
    assert_eq!(place, "/_ah/mail/a@demo.appspotmail.com");
    drop(with_own);
    // Without a word about certificates there is one of our own.
    let with_made = node().start();
    brings(&with_made, "", "b@demo.appspotmail.com");
    assert_eq!(kept(&with_made, "mail")[5], "sealed");
}

//! TLS: certificates from files or made for `localhost`, ALPN, session tickets.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};

use crate::BindError;
use crate::options::{Certificate, Options};
use crate::vault::{self, Chooser};

/// The TLS settings of one listener.
pub(crate) fn configure(certificate: &Certificate, options: &Options) -> Result<Arc<ServerConfig>, BindError> {
    let files = match certificate {
        Certificate::Vault => None,
        Certificate::Files { chain, key } => Some((chain.clone(), key.clone())),
        Certificate::SelfSigned { directory } => Some(self_signed(directory, &options.names)?),
    };
    let own = files.map(|(chain, key)| read(&chain, &key)).transpose()?;
    let system = |error: rustls::Error| BindError::System(io::Error::other(error));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(system)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Chooser { vault: Arc::clone(&options.vault), own }));
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), vault::PROOF.to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(system)?;
    // One TLS 1.3 ticket is enough to resume once; each costs a write of its own.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The TLS settings of a listener outside the front end, with the same certificates and suites, for HTTP/1 alone.
///
/// # Errors
/// If the certificate cannot be used.
pub fn only_http1(certificate: &Certificate) -> Result<Arc<ServerConfig>, BindError> {
    let mut config = configure(certificate, &Options::default())?;
    Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The TLS settings of a listener that speaks no HTTP: the same certificates, those of custom domains among them, and no application protocol.
///
/// # Errors
/// If the certificate cannot be used.
pub fn without_protocol(certificate: &Certificate, vault: &Arc<vault::Vault>, names: &[String]) -> Result<Arc<ServerConfig>, BindError> {
    let options = Options { vault: Arc::clone(vault), names: names.to_vec(), ..Options::default() };
    let mut config = configure(certificate, &options)?;
    Arc::make_mut(&mut config).alpn_protocols.clear();
    Ok(config)
}

/// The certificate and key of two files.
fn read(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, BindError> {
    let fail = |path: &Path, why: String| BindError::Certificate { path: path.to_owned(), why };
    let certificates = fs::read_to_string(chain).map_err(|error| fail(chain, error.to_string()))?;
    if !certificates.contains("-----BEGIN CERTIFICATE-----") {
        return Err(fail(chain, "the file holds no certificate (`-----BEGIN CERTIFICATE-----`)".into()));
    }
    let private = fs::read_to_string(key).map_err(|error| fail(key, error.to_string()))?;
    vault::certified(&certificates, &private).map_err(|why| fail(key, why))
}

/// The library's suites, those of SHA-256 first: processors have instructions for it, and with SHA-384 the key schedule is the dearest part of a
/// resumed handshake. AES-128 is as safe (docs/decisions/046-tls.md).
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// Names that every self-signed certificate is good for.
const NAMES: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];

fn self_signed(directory: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), BindError> {
    let (chain, key, list) = (directory.join("certificate.pem"), directory.join("key.pem"), directory.join("names.txt"));
    let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned()).collect();
    let wanted = names.join("\n");
    // A certificate that was trusted by hand is kept for as long as it names everything.
    let kept = fs::read_to_string(&list).is_ok_and(|kept| names.iter().all(|name| kept.lines().any(|line| line == name)));
    if kept && chain.is_file() && key.is_file() {
        return Ok((chain, key));
    }
    let fail = |path: &Path, why: String| BindError::Certificate { path: path.to_owned(), why };
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| fail(&chain, error.to_string()))?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        keep(&key, &made.signing_key.serialize_pem())?;
        keep(&chain, &made.cert.pem())?;
        keep(&list, &wanted)
    };
    write().map_err(|error| fail(directory, error.to_string()))?;
    Ok((chain, key))
}

fn keep(path: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let certificate = Certificate::SelfSigned { directory: directory.path().join("tls") };
        configure(&certificate, &Options::default()).expect("made");
        let before = fs::read(directory.path().join("tls/certificate.pem")).expect("kept");
        configure(&certificate, &Options::default()).expect("read again");
        assert_eq!(fs::read(directory.path().join("tls/certificate.pem")).expect("kept"), before);
        configure(&certificate, &Options { names: vec!["shop.localhost".into()], ..Options::default() }).expect("made anew");
        assert_ne!(fs::read(directory.path().join("tls/certificate.pem")).expect("kept"), before, "it names one more host");
        let mode = fs::metadata(directory.path().join("tls/key.pem")).expect("kept").permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else reads the key");
    }

    #[test]
    fn certificates_that_cannot_be_used_say_why() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("empty.pem");
        fs::write(&path, "nothing").expect("written");
        let missing = Certificate::Files { chain: directory.path().join("none.pem"), key: path.clone() };
        assert!(configure(&missing, &Options::default()).is_err_and(|error| error.to_string().contains("none.pem")));
        let empty = Certificate::Files { chain: path.clone(), key: path };
        assert!(configure(&empty, &Options::default()).is_err_and(|error| error.to_string().contains("holds no certificate")));
    }
}

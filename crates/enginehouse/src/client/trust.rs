//! Whose certificates are believed when a server speaks https.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::Failure;

/// Where systems keep the certificates that they trust.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// TLS that trusts the certificates in `own`, or else those of the system.
pub(crate) fn tls(own: Option<&Path>) -> Result<TlsConfig, Failure> {
    let bundle = own.map(Path::to_owned).or_else(system_bundle).ok_or_else(|| {
        Failure::Here("no certificates of the system were found; name a file with --ca FILE or in SSL_CERT_FILE".to_owned())
    })?;
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(certificates(&bundle)?)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build())
}

/// The file with the certificates of authorities that this machine trusts.
pub(crate) fn system_bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|file| file.is_file()))
}

fn certificates(bundle: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::Here(format!("the certificates in {} cannot be read: {error}", bundle.display()));
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(bundle).map_err(|error| unreadable(&error))? {
        found.push(Certificate::from_der(&certificate.map_err(|error| unreadable(&error))?).to_owned());
    }
    if found.is_empty() {
        return Err(unreadable(&"it holds none"));
    }
    Ok(found)
}

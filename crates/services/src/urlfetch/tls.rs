//! TLS to the servers of others: with a good certificate, or with any if the app says so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Both ways; made when they are first needed.
#[derive(Debug)]
pub(crate) struct Trust {
    /// PEM file of the authorities that are believed.
    bundle: Option<PathBuf>,
    strict: OnceLock<Result<Arc<ClientConfig>, String>>,
    lax: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Trust {
    pub(crate) fn new(bundle: Option<PathBuf>) -> Self {
        Self { bundle, strict: OnceLock::new(), lax: OnceLock::new() }
    }

    /// The file of the authorities.
    pub(crate) fn bundle(&self) -> Option<&Path> {
        self.bundle.as_deref()
    }

    /// The configuration; reads files the first time.
    pub(crate) fn config(&self, validate: bool) -> Result<Arc<ClientConfig>, String> {
        let made = if validate { self.strict.get_or_init(|| self.strict()) } else { self.lax.get_or_init(lax) };
        made.clone()
    }

    fn strict(&self) -> Result<Arc<ClientConfig>, String> {
        let bundle = self.bundle.as_ref().ok_or("this server found no certificates of authorities; name a file in SSL_CERT_FILE")?;
        let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", bundle.display());
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_file_iter(bundle).map_err(|error| unreadable(&error))?;
        let (good, _) = roots.add_parsable_certificates(found.filter_map(Result::ok));
        if good == 0 {
            return Err(unreadable(&"it holds no certificates"));
        }
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }
}

fn lax() -> Result<Arc<ClientConfig>, String> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(Arc::new(config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Believes every certificate, as `validate_certificate=False` asks; only that the server holds its key is checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

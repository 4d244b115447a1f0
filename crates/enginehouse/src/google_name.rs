//! `appengine.googleapis.com` for instances whose Modules API asks the Admin API: a listener on the loopback, at port 443 if we may have it, a certificate
//! for the name, and the authority that those instances believe. Reasons: docs/decisions/370-google-admin-api-name.md.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use control::api::{Api, Door};
use control::within::Within;
use control::{Admin, Bound};
use fleet::AdminApi;
use model::brief;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::client::system_bundle;

/// What answers under the name.
pub(crate) struct GoogleName {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    shown: AdminApi,
}

impl GoogleName {
    /// Takes an address: port 443 of `names`, under which instances find Google's other names, or any free port, which only the agent knows of. The
    /// authority is kept in `state`, what instances are to believe in `cache`.
    pub(crate) fn take(names: Option<Ipv4Addr>, state: &Path, cache: &Path) -> anyhow::Result<Self> {
        let usual = names.and_then(|address| TcpListener::bind((address, AdminApi::PORT)).ok());
        let listener = usual.map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok).context("no port can be listened on")?;
        listener.set_nonblocking(true).context("the socket cannot be used")?;
        let address = listener.local_addr().context("the socket has no address")?;
        let folder = state.join("google-authority");
        let authority = Authority::keep(&folder).with_context(|| format!("no authority can be kept in {}", folder.display()))?;
        let tls = authority.certify().context("no certificate can be made")?;
        let shown = authority.shown(address, &cache.join("authorities"));
        Ok(Self { listener, tls, shown })
    }

    /// What instances are told.
    pub(crate) fn shown(&self) -> AdminApi {
        self.shown.clone()
    }

    /// The Admin API of a server begins to answer under the name.
    pub(crate) fn open(&self, api: &Arc<Api>) -> anyhow::Result<Admin> {
        let tls = Arc::clone(&self.tls);
        let door = Door::new(Arc::clone(api)).secured(move || Arc::clone(&tls));
        self.bound()?.open(door).context("cannot start a thread")
    }

    /// That of one app that runs by itself begins to answer.
    pub(crate) fn open_within(&self, within: Within) -> anyhow::Result<Admin> {
        self.bound()?.within(Arc::new(within), Arc::clone(&self.tls)).context("cannot start a thread")
    }

    fn bound(&self) -> anyhow::Result<Bound> {
        let listener = self.listener.try_clone().context("cannot copy a socket")?;
        Bound::on(listener).context("the socket cannot be used")
    }
}

/// An authority for this one name: whoever steals its key can speak for Google to the apps of this house alone.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The one that is kept, or a new one. Two processes that begin at once agree on the key, which is made to exist only once.
    fn keep(folder: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let file = folder.join("key.pem");
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = KeyPair::generate()?.serialize_pem();
                let draft = folder.join(format!("key.{}.new", std::process::id()));
                write(&draft, &made, 0o600)?;
                // A link does not replace what another process has put there.
                let linked = fs::hard_link(&draft, &file);
                fs::remove_file(&draft)?;
                if linked.is_ok() { made } else { fs::read_to_string(&file)? }
            }
            read => read?,
        };
        let key = KeyPair::from_pem(&text).with_context(|| format!("{} holds no key; delete it, and a new one is made", file.display()))?;
        // Beside the key, for whoever wants to believe it too.
        let kept = folder.join("authority.pem");
        let pem = match fs::read_to_string(&kept) {
            Ok(pem) if !pem.is_empty() => pem,
            _ => {
                let pem = params()?.self_signed(&key)?.pem();
                write(&kept, &pem, 0o644)?;
                pem
            }
        };
        Ok(Self { pem, issuer: Issuer::new(params()?, key) })
    }

    /// A certificate for the name, good for this process.
    fn certify(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec![AdminApi::NAME.to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, AdminApi::NAME);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        valid(&mut leaf);
        let certificate: Certificate = leaf.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The authority and the machine's own ones, for a file named after what is in it: others may be reading it.
    fn shown(&self, address: SocketAddr, folder: &Path) -> AdminApi {
        let system = system_bundle().and_then(|file| fs::read_to_string(file).ok()).filter(|text| text.contains("BEGIN CERTIFICATE"));
        let whole = system.is_some();
        let text = format!("{}\n{}", self.pem, system.unwrap_or_default());
        let name = brief::hex(&digest(&SHA256, text.as_bytes()).as_ref()[..12]);
        AdminApi { address, authorities: text.into(), bundle: folder.join(format!("{name}.pem")), whole }
    }
}

fn params() -> anyhow::Result<CertificateParams> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Enginehouse, for appengine.googleapis.com inside its instances");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(AdminApi::NAME.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    valid(&mut authority);
    Ok(authority)
}

/// For as long as a date in two digits reaches (RFC 5280 §4.1.2.5): nothing here is renewed, and the name is nobody's but the house's.
fn valid(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2049, 12, 31));
}

fn write(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m3_the_authority_is_kept_and_believed() {
        let home = tempfile::tempdir().expect("a folder");
        let take = || GoogleName::take(None, home.path(), &home.path().join("cache")).expect("taken");
        let (first, second) = (take(), take());
        assert_eq!(first.shown().bundle, second.shown().bundle, "one authority");
        assert_ne!(first.shown().address, second.shown().address);
        let text = first.shown().authorities;
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----"), "{text}");
        let key = home.path().join("google-authority/key.pem");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&key).expect("there")) & 0o777, 0o600);
        fs::write(&key, "x").expect("written");
        let error = GoogleName::take(None, home.path(), home.path()).err().expect("no key");
        assert!(format!("{error:#}").contains("delete it"), "{error:#}");
    }
}

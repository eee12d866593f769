//! An authority that signs certificates, and TLS servers that show them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::TlsRoots;

/// How many authorities there have been.
static NUMBER: AtomicUsize = AtomicUsize::new(1);

/// An authority with a key of its own.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Two of the same name would look like one with two keys.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate, in DER.
    pub(super) fn certificate(&self) -> &[u8] {
        self.0.der()
    }

    /// Roots that trust it and nobody else.
    pub(super) fn roots(&self) -> TlsRoots {
        TlsRoots::new([], [self.certificate()]).expect("its certificate can be read")
    }

    /// A server with a certificate for these names.
    pub(super) fn server(&self, names: &[&str], alpn: &[u8]) -> ServerConfig {
        self.server_until(names, alpn, 2000, 4000)
    }

    /// The same, for these years.
    pub(super) fn server_until(&self, names: &[&str], alpn: &[u8], from: i32, until: i32) -> ServerConfig {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        server_config(certificate.der().clone(), &key, alpn)
    }
}

/// A server with this certificate.
fn server_config(certificate: CertificateDer<'static>, key: &KeyPair, alpn: &[u8]) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("the key fits");
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// Takes a TLS connection; none if the client does not like it.
pub(super) async fn accept(stream: TcpStream, config: &Arc<ServerConfig>) -> Option<TlsStream<TcpStream>> {
    TlsAcceptor::from(Arc::clone(config)).accept(stream).await.ok()
}

//! TLS to targets: whom we trust, and what we say of a certificate that we do not.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::StreamFailure;
use crate::dns::Target;

/// The protocol name of DNS over TLS in the handshake (IANA, for RFC 7858).
const ALPN_DOT: &[u8] = b"dot";
/// That of HTTP/2.
const ALPN_HTTP2: &[u8] = b"h2";
/// That of DNS over QUIC (RFC 9250 section 4.1).
pub(super) const ALPN_DOQ: &[u8] = b"doq";

/// How many of the names in a certificate are shown to the operator.
const NAMES_SHOWN_MAX: usize = 3;

/// Who may sign the certificates of targets.
#[derive(Clone, Debug)]
pub struct TlsRoots(Arc<RootCertStore>);

/// A certificate that the operator named as a root and that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRootsError {
    /// Which one, counted from 1.
    pub number: usize,
    /// Why not.
    pub reason: String,
}

impl TlsRoots {
    /// Those of the system, and those that the operator names; all in DER. What is unreadable among the system's is left
    /// out.
    ///
    /// # Errors
    ///
    /// When one that the operator names cannot be used.
    pub fn new<'c>(
        system: impl IntoIterator<Item = Vec<u8>>,
        named: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<Self, TlsRootsError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(system.into_iter().map(CertificateDer::from));
        for (index, certificate) in named.into_iter().enumerate() {
            store
                .add(CertificateDer::from(certificate))
                .map_err(|error| TlsRootsError { number: index + 1, reason: error.to_string() })?;
        }
        Ok(Self(Arc::new(store)))
    }

    /// How many there are. With none, no certificate is accepted.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for TlsRootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {} cannot be used: {}", self.number, self.reason)
    }
}

/// A configuration for one protocol. Sessions are resumed; nothing is sent before the handshake is done.
pub(super) fn client_config(roots: &TlsRoots, alpn: &[u8]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(Arc::clone(&roots.0))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// What TLS sessions are made with.
pub(super) struct TlsDialer {
    dot: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl TlsDialer {
    /// For these roots.
    pub(super) fn new(roots: &TlsRoots) -> Self {
        let config = |alpn| Arc::new(client_config(roots, alpn));
        Self { dot: config(ALPN_DOT), http2: config(ALPN_HTTP2) }
    }

    /// Makes a stream to a target one for DNS over TLS.
    pub(super) async fn dot<S>(&self, stream: S, target: &Target) -> Result<TlsStream<S>, StreamFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        handshake(stream, target, &self.dot).await
    }

    /// Makes a stream to a target one for HTTP/2.
    pub(super) async fn http2<S>(&self, stream: S, target: &Target) -> Result<TlsStream<S>, StreamFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = handshake(stream, target, &self.http2).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_HTTP2) => Ok(stream),
            _ => Err(StreamFailure::Protocol("it does not speak HTTP/2".into())),
        }
    }
}

/// Begins TLS. The certificate must be for the target's name, and signed by a root of ours: there is no less strict way
/// (RFC 8310 section 5).
async fn handshake<S>(stream: S, target: &Target, config: &Arc<ClientConfig>) -> Result<TlsStream<S>, StreamFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(target.certificate_name())
        .map_err(|_: InvalidDnsNameError| StreamFailure::Certificate("no certificate can be for such a name".into()))?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| failure_of(&error))
}

/// What an error of a TLS stream means for the operator.
fn failure_of(error: &io::Error) -> StreamFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error) => failure_of_tls(error),
        None => StreamFailure::Unreachable,
    }
}

/// The same of an error of TLS itself.
fn failure_of_tls(error: &rustls::Error) -> StreamFailure {
    match error {
        rustls::Error::InvalidCertificate(error) => StreamFailure::Certificate(reason(error).into()),
        rustls::Error::NoCertificatesPresented => StreamFailure::Certificate("it shows none".into()),
        rustls::Error::InvalidMessage(_) => StreamFailure::Protocol("what it speaks is not TLS".into()),
        error => StreamFailure::Protocol(format!("the TLS handshake fails: {error}").into()),
    }
}

/// The failure where nobody whom we trust signed the certificate.
pub(super) fn unknown_issuer() -> StreamFailure {
    StreamFailure::Certificate(reason(&CertificateError::UnknownIssuer).into())
}

/// Why a certificate is not accepted.
fn reason(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "it is not signed by anyone we trust; tls_roots can name more".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock of this machine right?".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let shown: Vec<&str> = presented.iter().take(NAMES_SHOWN_MAX).map(|name| bare(name)).collect();
            let more = if presented.len() > NAMES_SHOWN_MAX { " and others" } else { "" };
            let names = if shown.is_empty() { "no name".to_owned() } else { shown.join(", ") };
            format!("it is for {names}{more}, not for {}", expected.to_str())
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        error => error.to_string(),
    }
}

/// A name as rustls shows it, `DnsName("dns.example")`, without its kind.
fn bare(shown: &str) -> &str {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(shown);
    inner.trim_matches('"')
}

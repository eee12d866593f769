//! The root certificates of this machine, which encrypted targets are checked against.

/// All that can be read, in DER: from where OpenSSL on this machine has them, or from `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`. There may be none, which matters only where there are encrypted targets.
pub fn system_roots() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    found.certs.into_iter().map(|certificate| certificate.to_vec()).collect()
}

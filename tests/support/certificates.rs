//! Certificates of servers that tests start.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::Path;

/// An authority: its certificate, and in this folder its `authority.pem`, and for a name `certificate.pem` and `key.pem`.
pub(crate) fn authority(folder: &Path, name: &str) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    std::fs::write(folder.join("authority.pem"), issuer.pem()).expect("a file can be written");
    std::fs::write(folder.join("certificate.pem"), certificate.pem()).expect("a file can be written");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file can be written");
    issuer.der().to_vec()
}

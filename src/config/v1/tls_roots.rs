//! `[upstream] tls_roots`: a file of certificates as text (RFC 7468 section 5).

use super::Builder;
use super::document::UPSTREAM;
use super::table::Text;
use super::zone_file::stays_inside;
use crate::config::diagnostic::{Diagnostic, Place, quoted};
use crate::config::settings::TlsRoots;
use std::sync::Arc;

impl<'t> Builder<'t, '_> {
    /// Reads the file; none where there is any trouble, which is said.
    pub(super) fn tls_roots(&mut self, file: &Text<'t>) -> Option<TlsRoots> {
        if !stays_inside(&file.value) {
            let problem = format!("`tls_roots` {} leads out of the configuration's folder", quoted(&file.value));
            let rule = "a file is named by its path from there, without `..`";
            self.reading.report(self.reading.error(file.at, UPSTREAM, problem).rule(rule));
            return None;
        }
        let named_at = self.reading.place(file.at, format!("{UPSTREAM}, `tls_roots`"));
        let rank = self.further_files.name(&file.value, named_at);
        let text = match (self.surroundings.read_file)(&file.value) {
            Ok(text) => text,
            Err(trouble) => {
                let problem = format!("the file of certificates {} cannot be read", quoted(&file.value));
                let error = self.reading.error(file.at, UPSTREAM, problem).rule(trouble);
                self.reading.report(error.hint("the path counts from the configuration's folder"));
                return None;
            }
        };
        let Pem { certificates, findings } = read_pem(&text);
        let name: Arc<str> = file.value.as_ref().into();
        let place =
            |line| Place { file: name.clone(), rank, line, column: 1, label: format!("{UPSTREAM}, `tls_roots`") };
        let mut is_whole = true;
        for (line, finding) in findings {
            let diagnostic = match finding {
                Finding::Other(label) => Diagnostic::warning(place(line), format!("{} is passed over", quoted(&label)))
                    .rule("only certificates are read")
                    .maybe_hint(label.contains("PRIVATE KEY").then(|| "a key is not for here: remove it".to_owned())),
                finding => {
                    is_whole = false;
                    Diagnostic::error(place(line), finding.problem())
                        .rule("a certificate is base64 between its two lines (RFC 7468 section 5)")
                        .hint("copy the certificate again from where it came")
                }
            };
            self.reading.report(diagnostic);
        }
        if certificates.len() > CERTIFICATES_MAX {
            let problem = format!("{} has {} certificates", quoted(&file.value), certificates.len());
            let rule = format!("at most {CERTIFICATES_MAX} are kept");
            let error = self.reading.error(file.at, UPSTREAM, problem).rule(rule);
            self.reading.report(error.hint("the system's roots are trusted anyhow: name only your own"));
            return None;
        }
        if certificates.is_empty() && is_whole {
            let problem = format!("there is no certificate in {}", quoted(&file.value));
            let rule = "a certificate begins with -----BEGIN CERTIFICATE----- (RFC 7468 section 5)";
            let error = self.reading.error(file.at, UPSTREAM, problem).rule(rule);
            self.reading.report(error.hint("openssl x509 -inform der -in FILE writes one that is in DER"));
            return None;
        }
        is_whole.then(|| TlsRoots { file: file.value.as_ref().into(), certificates })
    }
}

/// What a file of certificates holds.
struct Pem {
    /// In DER, in the order of the file.
    certificates: Vec<Box<[u8]>>,
    /// What else there is, and the line where it is.
    findings: Vec<(u32, Finding)>,
}

/// What is to be said about a file of certificates.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// A block that is no certificate: what it says it is.
    Other(String),
    /// A block that nothing ends.
    Open,
    /// A character that base64 has not.
    NotBase64,
    /// Base64 of something else than one DER value.
    NotDer,
}

impl Finding {
    fn problem(&self) -> String {
        match self {
            Self::Other(label) => format!("{} is passed over", quoted(label)),
            Self::Open => "the certificate that begins here has no end".to_owned(),
            Self::NotBase64 => "the certificate that begins here is not base64".to_owned(),
            Self::NotDer => "the certificate that begins here is cut short, or is none".to_owned(),
        }
    }
}

/// Reads blocks of text (RFC 7468 section 2); what stands between blocks is explanation.
fn read_pem(text: &str) -> Pem {
    let mut pem = Pem { certificates: Vec::new(), findings: Vec::new() };
    // The line where the block begins, what it says it is, and its base64 so far.
    let mut open: Option<(u32, &str, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(label) = boundary(line, "BEGIN") {
            if let Some((begun, _, _)) = open.replace((number, label, String::new())) {
                pem.findings.push((begun, Finding::Open));
            }
        } else if boundary(line, "END").is_some() {
            match open.take() {
                Some((begun, label, base64)) => pem.add(begun, label, &base64),
                None => continue,
            }
        } else if let Some((_, _, base64)) = &mut open {
            base64.push_str(line);
        }
    }
    pem.findings.extend(open.map(|(begun, _, _)| (begun, Finding::Open)));
    pem
}

impl Pem {
    /// Adds a block that was closed.
    fn add(&mut self, begun: u32, label: &str, base64: &str) {
        if label != "CERTIFICATE" {
            self.findings.push((begun, Finding::Other(label.to_owned())));
            return;
        }
        match decode_base64(base64) {
            None => self.findings.push((begun, Finding::NotBase64)),
            Some(octets) if !is_one_der_sequence(&octets) => self.findings.push((begun, Finding::NotDer)),
            Some(octets) => self.certificates.push(octets.into()),
        }
    }
}

/// What a line says that begins or ends a block.
fn boundary<'l>(line: &'l str, word: &str) -> Option<&'l str> {
    line.strip_prefix("-----")?.strip_suffix("-----")?.strip_prefix(word)?.strip_prefix(' ')
}

/// Decodes base64 with its padding (RFC 4648 section 4); white space is passed over.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    let mut padding = 0;
    for octet in text.bytes().filter(|octet| !octet.is_ascii_whitespace()) {
        match octet {
            b'=' => padding += 1,
            _ if padding > 0 => return None,
            b'A'..=b'Z' => digits.push(octet - b'A'),
            b'a'..=b'z' => digits.push(octet - b'a' + 26),
            b'0'..=b'9' => digits.push(octet - b'0' + 52),
            b'+' => digits.push(62),
            b'/' => digits.push(63),
            _ => return None,
        }
    }
    if padding > 2 || (digits.len() + padding) % 4 != 0 {
        return None;
    }
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - group.len()));
        let octets = bits.to_be_bytes();
        octets.into_iter().skip(1).take(group.len() - 1)
    });
    Some(groups.collect())
}

/// Whether these octets are one DER SEQUENCE from the first to the last, as every certificate is.
fn is_one_der_sequence(octets: &[u8]) -> bool {
    let Some((&[0x30, first], rest)) = octets.split_first_chunk() else { return false };
    let long = usize::from(first & 0x7f);
    match first {
        0..0x80 => rest.len() == long,
        _ => {
            (1..=4).contains(&long) && rest.len() >= long && {
                let (length, value) = rest.split_at(long);
                value.len() == length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
            }
        }
    }
}

/// Certificates of one file; Mozilla's whole list has under two hundred.
const CERTIFICATES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate in DER, as far as is looked at: a SEQUENCE with that many octets in it.
    fn der(length: u16) -> Vec<u8> {
        let mut octets = vec![0x30, 0x82];
        octets.extend(length.to_be_bytes());
        octets.resize(octets.len() + usize::from(length), 7);
        octets
    }

    fn base64(octets: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let groups = octets.chunks(3).map(|group| {
            let bits = group.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - group.len()));
            let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
            let digits: String = (0..=group.len()).map(digit).collect();
            format!("{digits:=<4}")
        });
        groups.collect()
    }

    fn block(label: &str, inside: &str) -> String {
        let lines: Vec<&str> = inside.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\r\n"))
    }

    #[test]
    fn certificates_are_read_in_order() {
        let ders = [der(300), der(301), der(302)];
        let text: String =
            ders.iter().map(|der| format!("subject=CN=x\n  {}", block("CERTIFICATE", &base64(der)))).collect();
        let pem = read_pem(&text);
        assert!(pem.findings.is_empty(), "{:?}", pem.findings);
        assert!(pem.certificates.iter().map(|der| &**der).eq(ders.iter().map(|der| &**der)));
        assert_eq!(read_pem(include_str!("../../../tests/config/accepted/corp-ca.pem")).certificates.len(), 1);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        // A length without padding, so that cutting it short leaves base64.
        let whole = base64(&der(302));
        let findings = |text: &str| read_pem(text).findings;
        let certificate = |inside: &str| findings(&block("CERTIFICATE", inside));
        assert_eq!(certificate(&whole[..whole.len() - 4]), [(1, Finding::NotDer)]);
        assert_eq!(certificate(&format!("{whole}AAAA")), [(1, Finding::NotDer)]);
        assert_eq!(certificate(&base64(b"\x31\x01a")), [(1, Finding::NotDer)]);
        assert_eq!(certificate(""), [(1, Finding::NotDer)]);
        for wrong in [&whole[..whole.len() - 1], "AA=A", "A===", "AAAA=", "AA-A", "\u{e9}"] {
            assert_eq!(certificate(wrong), [(1, Finding::NotBase64)], "{wrong}");
        }
        let key = block("EC PRIVATE KEY", "AAAA");
        let open = "\n-----BEGIN CERTIFICATE-----\n";
        assert_eq!(
            findings(&format!("{key}{open}{}{open}", block("CERTIFICATE", &whole))),
            [(1, Finding::Other("EC PRIVATE KEY".to_owned())), (5, Finding::Open), (16, Finding::Open)]
        );
        assert_eq!(findings("-----END CERTIFICATE-----\nno block\n"), []);
    }

    #[test]
    fn only_one_der_sequence_counts() {
        assert!(is_one_der_sequence(b"\x30\x02ab"));
        assert!(is_one_der_sequence(&der(300)));
        for wrong in
            [&b""[..], b"\x30", b"\x30\x02a", b"\x30\x02abc", b"\x30\x80ab", b"\x30\x82\x01", b"\x30\x85\0\0\0\0\x01a"]
        {
            assert!(!is_one_der_sequence(wrong), "{wrong:?}");
        }
    }
}

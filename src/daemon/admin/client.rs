//! The other end of the admin interface: one request, and its reply.

use std::io::{self, Read};

/// Octets of a reply that are read at most.
const REPLY_OCTETS_MAX: u64 = 64 << 20;

/// Sends a request and reads the reply to its end, which is that of the connection; its code and its body.
pub fn exchange(mut stream: impl Read + io::Write, method: &str, target: &str) -> io::Result<(u16, String)> {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.take(REPLY_OCTETS_MAX).read_to_string(&mut reply)?;
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "what answers there is not plustwo");
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(odd)?;
    let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(odd)?;
    Ok((code, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_must_be_http() {
        struct Wire(io::Cursor<&'static [u8]>);
        impl Read for Wire {
            fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
                self.0.read(octets)
            }
        }
        impl io::Write for Wire {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                Ok(octets.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let reply = |octets: &'static [u8]| exchange(Wire(io::Cursor::new(octets)), "GET", "/");
        assert_eq!(reply(b"HTTP/1.1 503 No\r\nA: b\r\n\r\n{}").unwrap(), (503, "{}".to_owned()));
        for odd in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 2\r\n\r\n"] {
            assert_eq!(reply(odd).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}

//! `[admin]`: where operators are answered. Who may connect may reload and end the daemon, so it is this machine only.

use super::document::SettingsTables;
use super::source::Reading;
use super::table::Text;
use crate::config::AdminSettings;
use crate::config::diagnostic::quoted;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Settles `[admin]`.
pub(super) fn settle<'t>(tables: &SettingsTables<'t>, reading: &mut Reading<'t>) -> AdminSettings {
    AdminSettings {
        socket: tables
            .admin_socket
            .as_ref()
            .and_then(|text| socket_path(text, (LABEL, "socket", "/run/plustwo/admin.sock"), reading)),
        http: tables.admin_http.as_ref().and_then(|text| http(text, reading)),
    }
}

/// The path of a Unix socket; says so where it cannot be one.
pub(super) fn socket_path<'t>(
    text: &Text<'t>,
    (label, key, example): (&str, &str, &str),
    reading: &mut Reading<'t>,
) -> Option<PathBuf> {
    let (is_path, octets) = (!text.value.is_empty() && !text.value.ends_with('/'), text.value.len());
    if is_path && !text.value.contains('\0') && octets <= SOCKET_PATH_OCTETS_MAX {
        return Some(PathBuf::from(&*text.value));
    }
    let problem = format!("`{key}` {} is not the path of a socket", quoted(&text.value));
    let rule = format!("a file's path of at most {SOCKET_PATH_OCTETS_MAX} octets (unix(7))");
    let hint = format!("write a path, absolute or from the configuration's folder: {example:?}");
    reading.report(reading.error(text.at, label, problem).rule(rule).hint(hint));
    None
}

/// A loopback address with a port.
fn http<'t>(text: &Text<'t>, reading: &mut Reading<'t>) -> Option<SocketAddr> {
    let hint = "write a loopback address with a port: \"127.0.0.1:9353\"";
    let Ok(address) = text.value.parse::<SocketAddr>() else {
        let problem = format!("`http` {} is not an address with a port", quoted(&text.value));
        reading.report(reading.error(text.at, LABEL, problem).hint(hint));
        return None;
    };
    if !address.ip().to_canonical().is_loopback() {
        let problem = format!("`http` {address} is not an address of the loopback");
        let rule = "whoever reaches it may reload, flush the cache and end the daemon, and is not asked who they are";
        reading.report(reading.error(text.at, LABEL, problem).rule(rule).hint(hint));
        return None;
    }
    Some(address)
}

/// Octets of a socket's path at most: `sun_path` has 108, the last of them a zero.
const SOCKET_PATH_OCTETS_MAX: usize = 107;
/// How `[admin]` is called in messages.
const LABEL: &str = "[admin]";

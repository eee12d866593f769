//! `[protection]`: how many replies go to one prefix; and `[cookies]`, whose secrets may stand in a file that a fleet shares.

use super::Builder;
use super::document::{ProtectionTable, SettingsTables};
use super::settings::in_range;
use super::table::Text;
use super::zone_file::stays_inside;
use crate::config::diagnostic::{Diagnostic, Place, quoted};
use crate::config::settings::{
    CookieSettings, ERRORS_PER_SECOND, IPV4_PREFIX, IPV6_PREFIX, PRIVATE_NETWORKS, ProtectionSettings,
    RESPONSES_PER_SECOND, SERVER_COOKIES, SLIP,
};
use crate::dns::cookie::{CookieSecret, SECRET_OCTETS};
use std::sync::Arc;

impl<'t> Builder<'t, '_> {
    /// Settles `[protection]`.
    pub(super) fn settle_protection(&mut self, table: &ProtectionTable<'t>) -> ProtectionSettings {
        let exempt = match &table.exempt {
            None => PRIVATE_NETWORKS.to_vec(),
            Some(texts) => {
                let nets = self.nets_of_any_width(Some(texts), PROTECTION, "exempt");
                nets.into_iter().map(|(net, _)| net).collect()
            }
        };
        let mut number = |value, range, key| in_range(value, range, PROTECTION, key, &mut self.reading);
        ProtectionSettings {
            responses_per_second: number(table.responses_per_second, RESPONSES_PER_SECOND, "responses_per_second"),
            errors_per_second: number(table.errors_per_second, ERRORS_PER_SECOND, "errors_per_second"),
            slip: number(table.slip, SLIP, "slip") as u32,
            ipv4_prefix: number(table.ipv4_prefix, IPV4_PREFIX, "ipv4_prefix") as u8,
            ipv6_prefix: number(table.ipv6_prefix, IPV6_PREFIX, "ipv6_prefix") as u8,
            exempt,
        }
    }

    /// Settles `[cookies]`.
    pub(super) fn settle_cookies(&mut self, tables: &SettingsTables<'t>) -> CookieSettings {
        let enabled = tables.cookies_enabled.map_or(SERVER_COOKIES, |enabled| enabled.value);
        let file = tables.cookie_secret_file.as_ref();
        if let Some(file) = file.filter(|_| !enabled) {
            let warning = self.reading.warning(file.at, COOKIES, "`secret_file` with `enabled = false` does nothing");
            self.reading.report(warning.rule("there are no cookies").hint("remove one of them"));
        }
        CookieSettings { enabled, secrets: file.map_or_else(Vec::new, |file| self.cookie_secrets(file)) }
    }

    /// Reads the file of secrets; what is wrong with it is said.
    fn cookie_secrets(&mut self, file: &Text<'t>) -> Vec<CookieSecret> {
        if !stays_inside(&file.value) {
            let problem = format!("`secret_file` {} leads out of the configuration's folder", quoted(&file.value));
            let rule = "a file is named by its path from there, without `..`";
            self.reading.report(self.reading.error(file.at, COOKIES, problem).rule(rule));
            return Vec::new();
        }
        let label = format!("{COOKIES}, `secret_file`");
        let rank = self.further_files.name(&file.value, self.reading.place(file.at, label.clone()));
        let text = match (self.surroundings.read_file)(&file.value) {
            Ok(text) => text,
            Err(trouble) => {
                let problem = format!("the file of secrets {} cannot be read", quoted(&file.value));
                let error = self.reading.error(file.at, COOKIES, problem).rule(trouble);
                self.reading.report(error.hint("the path counts from the configuration's folder"));
                return Vec::new();
            }
        };
        let name: Arc<str> = file.value.as_ref().into();
        let mut secrets = Vec::new();
        let lines =
            (1..).zip(text.lines()).map(|(line, text)| (line, text.split('#').next().unwrap_or_default().trim()));
        for (line, digits) in lines.filter(|(_, text)| !text.is_empty()) {
            match secret(digits) {
                Some(secret) => secrets.push(secret),
                None => {
                    // What is in the line may be most of a secret: it is not shown.
                    let place = Place { file: name.clone(), rank, line, column: 1, label: label.clone() };
                    let error = Diagnostic::error(place, "this line is not a secret");
                    let hint = "openssl rand -hex 16 writes one";
                    self.reading
                        .report(error.rule("a secret is 32 hexadecimal digits (RFC 9018 section 4.4)").hint(hint));
                }
            }
        }
        if secrets.is_empty() || secrets.len() > SECRETS_MAX {
            let problem = format!("{} has {} secrets", quoted(&file.value), secrets.len());
            let rule = format!("the first one makes cookies, up to {} more are accepted: a line each", SECRETS_MAX - 1);
            let error = self.reading.error(file.at, COOKIES, problem).rule(rule);
            self.reading.report(error.hint("openssl rand -hex 16 writes one"));
        }
        secrets
    }
}

/// A secret from its digits.
fn secret(digits: &str) -> Option<CookieSecret> {
    let mut secret = [0; SECRET_OCTETS];
    if digits.len() != 2 * SECRET_OCTETS || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, at) in secret.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(CookieSecret(secret))
}

/// Secrets of one file at most: each is tried for a cookie that none of them made.
const SECRETS_MAX: usize = 4;
/// How `[protection]` is called in messages.
const PROTECTION: &str = "[protection]";
/// How `[cookies]` is called in messages.
const COOKIES: &str = "[cookies]";

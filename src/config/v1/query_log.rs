//! `[query_log]` and `[dnstap]`: where queries are logged, and which; and the accounts that the lines name.

use super::Builder;
use super::admin::socket_path;
use super::cache_file;
use super::document::{Document, Texts};
use super::settings::word;
use super::source::{At, Reading};
use super::table::{Table, Text};
use crate::aws::query_log::{ACCOUNT_ID, ACCOUNT_ID_DIGITS};
use crate::aws::{LoggedVpcs, QueryLogConfig};
use crate::config::diagnostic::quoted;
use crate::config::settings::{
    DNSTAP_MESSAGES, DnstapSettings, LOG_FILTER_ENTRIES_MAX, LOG_RCODES, LOG_SOURCES, LogFilter, LogOutput,
    QueryLogSettings, SampleRate,
};
use std::path::{Path, PathBuf};

/// `[query_log]`.
#[derive(Default)]
pub(super) struct QueryLogTable<'t> {
    output: Option<Text<'t>>,
    account_id: Option<Text<'t>>,
    filter: FilterKeys<'t>,
}

/// `[dnstap]`.
#[derive(Default)]
pub(super) struct DnstapTable<'t> {
    output: Option<Text<'t>>,
    client_queries: Option<At<bool>>,
    client_responses: Option<At<bool>>,
    filter: FilterKeys<'t>,
}

/// The keys of both that say which queries.
#[derive(Default)]
struct FilterKeys<'t> {
    vpcs: Option<Texts<'t>>,
    sources: Option<Texts<'t>>,
    rcodes: Option<Texts<'t>>,
    names: Option<Texts<'t>>,
    sample_rate: Option<At<f64>>,
}

/// Reads `[query_log]`.
pub(super) fn read_query_log<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> QueryLogTable<'t> {
    let query_log = QueryLogTable {
        output: table.text(reading, "output"),
        account_id: table.text(reading, "account_id"),
        filter: read_filter(&mut table, reading),
    };
    table.finish(reading);
    query_log
}

/// Reads `[dnstap]`.
pub(super) fn read_dnstap<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> DnstapTable<'t> {
    let dnstap = DnstapTable {
        output: table.text(reading, "output"),
        client_queries: table.boolean(reading, "client_queries"),
        client_responses: table.boolean(reading, "client_responses"),
        filter: read_filter(&mut table, reading),
    };
    table.finish(reading);
    dnstap
}

fn read_filter<'t>(table: &mut Table<'t>, reading: &mut Reading<'t>) -> FilterKeys<'t> {
    FilterKeys {
        vpcs: table.texts(reading, "vpcs"),
        sources: table.texts(reading, "sources"),
        rcodes: table.texts(reading, "rcodes"),
        names: table.texts(reading, "names"),
        sample_rate: table.decimal(reading, "sample_rate"),
    }
}

impl<'t> Builder<'t, '_> {
    /// Settles where queries are logged, and which; whose goes into the model.
    pub(super) fn settle_logs(
        &mut self,
        document: &Document<'t>,
        file_name: &str,
        cache_file: Option<&Path>,
    ) -> (QueryLogSettings, DnstapSettings) {
        let Document { query_log, dnstap, .. } = document;
        let output = query_log.output.as_ref().and_then(|text| self.log_output(text, file_name, cache_file));
        let lines = QueryLogSettings { output, filter: self.log_filter(&query_log.filter, QUERY_LOG) };
        let is_set = |key: Option<At<bool>>| key.map_or(DNSTAP_MESSAGES, |key| key.value);
        let frames = DnstapSettings {
            socket: dnstap.output.as_ref().and_then(|text| self.dnstap_output(text)),
            client_queries: is_set(dnstap.client_queries),
            client_responses: is_set(dnstap.client_responses),
            filter: self.log_filter(&dnstap.filter, DNSTAP),
        };
        if let (Some(at), false, false) = (dnstap.client_queries, frames.client_queries, frames.client_responses) {
            let error = self.reading.error(at.at, DNSTAP, "neither `client_queries` nor `client_responses` is wanted");
            self.reading.report(error.hint("let one of them be true, or remove `output`"));
        }
        let account_id = query_log.account_id.as_ref().map(|text| self.account_id(text, QUERY_LOG, "account_id"));
        let query_log_vpcs = self.logged_vpcs(query_log.filter.vpcs.as_ref(), lines.output.is_some(), QUERY_LOG);
        let dnstap_vpcs = self.logged_vpcs(dnstap.filter.vpcs.as_ref(), frames.socket.is_some(), DNSTAP);
        if lines.output.is_some() || frames.socket.is_some() {
            self.model.query_log = Some(QueryLogConfig {
                account_id: account_id.unwrap_or_else(|| ACCOUNT_ID.into()),
                query_log: query_log_vpcs,
                dnstap: dnstap_vpcs,
            });
        }
        (lines, frames)
    }

    /// Where lines go; none where it says so, or cannot be read, which is said.
    fn log_output(&mut self, text: &Text<'t>, file_name: &str, cache_file: Option<&Path>) -> Option<LogOutput> {
        match &*text.value {
            NOWHERE => None,
            "stdout" => Some(LogOutput::Stdout),
            _ => {
                if let Some(socket) = behind(text, SOCKET_PREFIX) {
                    return socket_path(&socket, (QUERY_LOG, "output", "unix:/run/queries.sock"), &mut self.reading)
                        .map(LogOutput::Socket);
                }
                let Some(file) = behind(text, FILE_PREFIX) else {
                    let hint =
                        "write \"none\", \"stdout\", \"file:/var/log/plustwo/query.log\" or \"unix:/run/queries.sock\"";
                    self.refuse_output(text, QUERY_LOG, hint);
                    return None;
                };
                let written = &cache_file::QUERY_LOG;
                let path = cache_file::settle(&file, written, file_name, &self.further_files, &mut self.reading)?;
                if cache_file == Some(&path) {
                    let problem = format!("the cache's file and the query log's are the same, {}", quoted(&file.value));
                    let error = self.reading.error(file.at, QUERY_LOG, problem);
                    self.reading.report(error.hint("give each a file of its own"));
                }
                Some(LogOutput::File(path))
            }
        }
    }

    /// Where frames go.
    fn dnstap_output(&mut self, text: &Text<'t>) -> Option<PathBuf> {
        if text.value == NOWHERE {
            return None;
        }
        let Some(socket) = behind(text, SOCKET_PREFIX) else {
            self.refuse_output(text, DNSTAP, "write \"none\" or \"unix:/run/dnstap.sock\"");
            return None;
        };
        socket_path(&socket, (DNSTAP, "output", "unix:/run/dnstap.sock"), &mut self.reading)
    }

    fn refuse_output(&mut self, text: &Text<'t>, label: &str, hint: &str) {
        let problem = format!("`output` {} is no place that lines can go to", quoted(&text.value));
        self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
    }

    /// Which queries a log has.
    fn log_filter(&mut self, keys: &FilterKeys<'t>, label: &str) -> LogFilter {
        for (key, texts) in [("sources", &keys.sources), ("rcodes", &keys.rcodes), ("names", &keys.names)] {
            let Some(texts) = texts.as_ref().filter(|texts| texts.value.len() > LOG_FILTER_ENTRIES_MAX) else {
                continue;
            };
            let problem = format!("`{key}` has {} entries", texts.value.len());
            let rule = format!("at most {LOG_FILTER_ENTRIES_MAX}: each line is held against all of them");
            self.reading.report(self.reading.error(texts.at, label, problem).rule(rule));
        }
        let sample_rate = keys.sample_rate.and_then(|written| {
            let rate = SampleRate::new(written.value);
            if rate.is_none() {
                let problem = format!("`sample_rate` is {}", written.value);
                let error = self.reading.error(written.at, label, problem);
                self.reading.report(error.hint("write a part of all queries from 0 to 1: 0.01 is one in a hundred"));
            }
            rate
        });
        let sources = LOG_SOURCES.map(|source| (source, source));
        LogFilter {
            sample_rate: sample_rate.unwrap_or_default(),
            sources: each(&keys.sources)
                .filter_map(|text| word(text, &sources, label, "sources", &mut self.reading))
                .collect(),
            rcodes: each(&keys.rcodes)
                .filter_map(|text| word(text, &LOG_RCODES, label, "rcodes", &mut self.reading))
                .collect(),
            names: each(&keys.names).filter_map(|text| self.absolute_name(text, label, "names")).collect(),
        }
    }

    /// Whose queries a log has.
    fn logged_vpcs(&mut self, vpcs: Option<&Texts<'t>>, is_on: bool, label: &str) -> LoggedVpcs {
        let named =
            vpcs.filter(|vpcs| !vpcs.value.is_empty()).map(|vpcs| self.associated_vpcs(Some(vpcs), label, true));
        match named {
            _ if !is_on => LoggedVpcs::None,
            None => LoggedVpcs::All,
            Some(vpcs) => LoggedVpcs::Some(vpcs),
        }
    }

    /// An account's id; says so where it is none.
    pub(super) fn account_id(&mut self, text: &Text<'t>, label: &str, key: &str) -> Box<str> {
        let is_id = text.value.len() == ACCOUNT_ID_DIGITS && text.value.bytes().all(|digit| digit.is_ascii_digit());
        if !is_id {
            let problem = format!("`{key}` {} is not the id of an account", quoted(&text.value));
            let rule = format!("it has {ACCOUNT_ID_DIGITS} digits");
            self.reading
                .report(self.reading.error(text.at, label, problem).rule(rule).hint("write it as \"111122223333\""));
        }
        text.value.as_ref().into()
    }
}

/// What stands behind a prefix.
fn behind<'t>(text: &Text<'t>, prefix: &str) -> Option<Text<'t>> {
    let value = text.value.strip_prefix(prefix)?.to_owned();
    Some(At { value: value.into(), at: text.at })
}

/// The word for no output.
const NOWHERE: &str = "none";
/// What stands before the path of a file.
const FILE_PREFIX: &str = "file:";
/// What stands before the path of a Unix socket.
const SOCKET_PREFIX: &str = "unix:";

/// The entries of a list, if it is there.
fn each<'a, 't>(texts: &'a Option<Texts<'t>>) -> impl Iterator<Item = &'a Text<'t>> {
    texts.iter().flat_map(|texts| &texts.value)
}

/// How `[query_log]` is called in messages.
pub(super) const QUERY_LOG: &str = "[query_log]";
/// How `[dnstap]` is called in messages.
pub(super) const DNSTAP: &str = "[dnstap]";

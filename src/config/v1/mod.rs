//! Version 1 of the configuration file.
//!
//! Text → [`Document`] (what was written) → [`Model`] (what cannot be wrong). Every step reports all it finds and
//! goes on with what is left; a model that any error had a part in is never handed out.

mod address;
mod admin;
mod alias;
mod cache_file;
mod compat;
mod conflict;
mod delegation;
mod document;
mod door;
mod ec2_tables;
mod endpoint;
mod endpoint_association;
mod endpoint_service;
mod endpoint_set;
mod endpoint_tables;
mod health_check;
mod hosted_zone;
mod inbound_endpoint;
mod instance;
mod name;
mod network_interface;
mod private_name;
mod profile;
mod protection;
mod query_log;
mod record_set;
mod resolver_config;
mod resolver_rule;
mod resolver_tables;
mod routing_policy;
mod settings;
mod source;
mod subnet;
mod table;
mod target;
mod tls_roots;
mod upstream;
mod vpc;
mod vpc_peering;
mod zone_file;
mod zone_sets;

use super::{Before, Configuration, Loaded, Surroundings, ZonesOfFiles};
use crate::aws::{HealthCheckIndex, Model, VpcIndex};
use document::Document;
use door::Doors;
use endpoint_service::OfferedService;
use network_interface::AddressOwners;
use source::{FurtherFiles, Reading};
use std::collections::{BTreeMap, HashMap, HashSet};
use table::Table;
use toml::de::DeTable;

/// Loads version 1.
pub(super) fn load(
    before: Option<&Before<'_>>,
    file_name: &str,
    text: &str,
    surroundings: &Surroundings<'_>,
) -> Loaded {
    let mut reading = Reading::new(file_name, text);
    let document = read_document(text, &mut reading);
    let (configuration, diagnostics) = match document {
        None => (None, reading.diagnostics),
        Some(document) => {
            let (configuration, reading) = settle(document, reading, file_name, (surroundings, before));
            (Some(configuration), reading.diagnostics)
        }
    };
    let configuration = configuration.filter(|_| !diagnostics.has_errors());
    Loaded { configuration, diagnostics: diagnostics.into_sorted() }
}

/// Text to document; none where the text is no TOML, or of a version that is not known.
fn read_document<'t>(text: &'t str, reading: &mut Reading<'t>) -> Option<Document<'t>> {
    if text.len() > CONFIGURATION_OCTETS_MAX {
        let problem = format!("the configuration has {} octets", text.len());
        let rule = format!("at most {CONFIGURATION_OCTETS_MAX} are read");
        reading.report(reading.error(0, "", problem).rule(rule).hint("put records into zone files (`file = …`)"));
        return None;
    }
    let top = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let is_escape = error.message().contains("escape");
            let hint = "between single quotes a backslash stands for itself: '\\052.corp.example'";
            let diagnostic = reading.error(at, "", format!("not TOML: {}", error.message()));
            reading.report(diagnostic.maybe_hint(is_escape.then(|| hint.to_owned())));
            return None;
        }
    };
    let mut top = Table::new("the top of the file", 0, top.into_inner());
    top.require(reading, "version", "1");
    if let Some(version) = top.number(reading, "version").filter(|version| version.value != VERSION) {
        let problem = format!("`version = {}` is not known here", version.value);
        reading.report(reading.error(version.at, "", problem).hint(format!("this plustwo reads version {VERSION}")));
        return None;
    }
    Some(Document::read(top, reading))
}

/// Document to model, step by step: whoever is referred to comes before whoever refers.
fn settle<'t>(
    document: Document<'t>,
    reading: Reading<'t>,
    file_name: &str,
    (surroundings, before): (&Surroundings<'_>, Option<&Before<'_>>),
) -> (Configuration, Reading<'t>) {
    let mut builder = Builder {
        reading,
        surroundings,
        before,
        zones_of_files: ZonesOfFiles::new(),
        further_files: FurtherFiles::default(),
        model: Model::default(),
        vpc_indexes: HashMap::new(),
        vpc_names: Vec::new(),
        vpc_places: Vec::new(),
        address_owners: AddressOwners::default(),
        doors: Doors::default(),
        endpoint_services: HashMap::new(),
        health_check_indexes: BTreeMap::new(),
        shared_ids: profile::shared_ids(&document.profiles),
        is_open_resolver: document.server.open_resolver.is_some_and(|open| open.value),
    };
    let mut settings = settings::settle(&document.settings, &mut builder.reading);
    builder.model.compat = compat::settle(&document.compat, &mut builder.reading);
    builder.claim_vpc_names(&document.vpcs);
    builder.settle_vpcs(&document.vpcs, document.region.as_ref());
    builder.settle_resolver_configs(&document.resolver_configs);
    builder.settle_vpc_peerings(&document.vpc_peerings);
    builder.settle_network_interfaces(&document.network_interfaces);
    builder.settle_instances(&document.instances);
    builder.settle_inbound_endpoints(&document.inbound_endpoints);
    builder.settle_shared_doors(&document.server);
    builder.settle_same_prefixes(&document.vpcs);
    builder.settle_door_conflicts();
    builder.settle_upstream(&document.upstream);
    builder.settle_resolver_rules(&document.resolver_rules);
    settings.upstream = builder.upstream_settings(&document.upstream);
    settings.protection = builder.settle_protection(&document.settings.protection);
    settings.cookies = builder.settle_cookies(&document.settings);
    builder.settle_endpoint_services(&document.endpoint_services);
    let (endpoint_names, private_dns_claims) = builder.settle_endpoints(&document.endpoints);
    builder.settle_health_checks(&document.health_checks);
    builder.settle_hosted_zones(&document.hosted_zones, &endpoint_names, &private_dns_claims);
    builder.warn_of_incomplete_sets(&private_dns_claims);
    builder.settle_profiles(&document);
    builder.settle_delegations(&document.resolver_rules);
    if let Some(file) = &document.settings.cache_file {
        // When all files are known that are read.
        settings.cache.file =
            cache_file::settle(file, &cache_file::CACHE, file_name, &builder.further_files, &mut builder.reading);
    }
    (settings.query_log, settings.dnstap) = builder.settle_logs(&document, file_name, settings.cache.file.as_deref());
    let door_places = builder.door_places();
    let zones_of_files = builder.zones_of_files;
    (Configuration { model: builder.model, settings, door_places, zones_of_files }, builder.reading)
}

/// A model in the making.
struct Builder<'t, 's> {
    reading: Reading<'t>,
    surroundings: &'s Surroundings<'s>,
    /// What is served meanwhile.
    before: Option<&'s Before<'s>>,
    /// Zones that are what their files say.
    zones_of_files: ZonesOfFiles,
    /// Zone files, those that they include, certificates.
    further_files: FurtherFiles,
    model: Model,
    /// Ids and names of VPCs.
    vpc_indexes: HashMap<String, VpcIndex>,
    /// The same in order, for hints.
    vpc_names: Vec<String>,
    /// Where each VPC begins, and how it is called.
    vpc_places: Vec<(usize, String)>,
    /// Who has which address of a VPC.
    address_owners: AddressOwners,
    /// Every address that queries come in by.
    doors: Doors,
    /// Endpoint services by their names.
    endpoint_services: HashMap<String, OfferedService>,
    /// Health checks by their ids; none: it has been refused.
    health_check_indexes: BTreeMap<String, Option<HealthCheckIndex>>,
    /// The ids of what profiles share.
    shared_ids: HashSet<String>,
    /// `[server] open_resolver`.
    is_open_resolver: bool,
}

/// The version that this is.
const VERSION: u64 = 1;
/// Octets of the configuration file itself; zone files may be larger.
const CONFIGURATION_OCTETS_MAX: usize = 64 << 20;

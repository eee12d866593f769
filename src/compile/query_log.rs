//! What the query log says of VPCs, and whose queries it has.

use crate::aws::{LoggedVpcs, Model, QueryLogConfig, VpcIndex};
use crate::snapshot::query_log::{LogNames, LoggedVpc, Logs};
use std::collections::HashMap;
use std::net::IpAddr;

/// What is said of VPCs, and the logs that have the queries of each, in their order. Nothing where nothing is logged.
pub(super) fn compile(model: &Model) -> (LogNames, Vec<Logs>) {
    let mut of_vpcs = vec![Logs::NONE; model.vpcs.len()];
    let Some(config) = &model.query_log else { return (LogNames::default(), of_vpcs) };
    let mut names = LogNames { account_id: config.account_id.clone(), ..LogNames::default() };
    for (log, vpcs) in [(Logs::QUERY_LOG, &config.query_log), (Logs::DNSTAP, &config.dnstap)] {
        match vpcs {
            LoggedVpcs::None => {}
            LoggedVpcs::All => {
                names.unclaimed = names.unclaimed.with(log);
                of_vpcs.iter_mut().for_each(|logs| *logs = logs.with(log));
            }
            LoggedVpcs::Some(vpcs) => {
                for vpc in vpcs {
                    let logs = &mut of_vpcs[vpc.0 as usize];
                    *logs = logs.with(log);
                }
            }
        }
    }
    let mut instances = instances(model);
    let logged = (0..).map(VpcIndex).zip(&model.vpcs).zip(&of_vpcs).filter(|(_, logs)| !logs.is_none());
    names.vpcs = logged
        .map(|((index, vpc), _)| {
            let logged = LoggedVpc {
                account_id: owner(config, vpc.owner_id.as_deref()),
                region: vpc.region.clone(),
                instances: instances.remove(&index).unwrap_or_default(),
            };
            (vpc.id.clone(), logged)
        })
        .collect();
    (names, of_vpcs)
}

/// The account that a VPC belongs to.
fn owner(config: &QueryLogConfig, owner_id: Option<&str>) -> Box<str> {
    owner_id.map_or_else(|| config.account_id.clone(), Box::from)
}

/// The instances of each VPC by the addresses that they ask from.
fn instances(model: &Model) -> HashMap<VpcIndex, HashMap<IpAddr, Box<str>>> {
    let mut by_vpc: HashMap<VpcIndex, HashMap<IpAddr, Box<str>>> = HashMap::new();
    for instance in &model.instances {
        let of_vpc = by_vpc.entry(instance.vpc).or_default();
        let private = instance.private_ip_address.map(IpAddr::V4);
        let addresses = private.into_iter().chain(instance.ipv6_address.map(IpAddr::V6));
        of_vpc.extend(addresses.map(|address| (address, instance.id.clone())));
    }
    by_vpc
}

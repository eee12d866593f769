//! `subnets` of a VPC: which Availability Zone a client's address is in.

use super::Builder;
use super::document::VpcTable;
use super::endpoint::{ZoneWord, availability_zone};
use super::source::At;
use crate::aws::Subnet;
use crate::config::diagnostic::quoted;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

impl<'t> Builder<'t, '_> {
    /// The subnets of a VPC with these CIDR blocks, in the order of the file.
    pub(super) fn subnets(&mut self, table: &VpcTable<'t>, blocks: &[IpNet]) -> Vec<Subnet> {
        let Some(written) = &table.subnets else { return Vec::new() };
        let label = format!("{}, `subnets`", table.label);
        let mut subnets = Vec::new();
        // By their first address: their last one, and where they stand. There may be one for every address of a VPC.
        let mut taken: BTreeMap<IpAddr, (IpAddr, usize)> = BTreeMap::new();
        for (zone, texts) in &written.value {
            if !matches!(availability_zone(&zone.value), ZoneWord::Name) {
                let problem = format!("{} is not the name of an Availability Zone", quoted(&zone.value));
                let hint = "write its name in the account, as ap-northeast-2a: { ap-northeast-2a = [\"10.0.1.0/24\"] }";
                self.reading.report(self.reading.error(zone.at, &label, problem).hint(hint));
                continue;
            }
            let texts = At { value: texts.clone(), at: zone.at };
            for net in self.nets(Some(&texts), &label, "subnets") {
                let cidr_block = net.value;
                if !blocks.iter().any(|block| block.contains(&cidr_block)) {
                    // In AWS's own words (EC2 API: CreateSubnet, InvalidSubnet.Range).
                    let error = self.reading.error(net.at, &label, format!("The CIDR '{cidr_block}' is invalid."));
                    let rule = "a subnet is in one of the VPC's CIDR blocks";
                    self.reading.report(error.rule(rule).hint("correct it, or add its block to `cidrs`"));
                    continue;
                }
                // Those that are taken do not overlap: it meets the last of them that begins before its own end, or none.
                let before = taken.range(..=cidr_block.broadcast()).next_back();
                if let Some((_, (_, at))) = before.filter(|(_, (last, _))| *last >= cidr_block.network()) {
                    // The same, InvalidSubnet.Conflict.
                    let problem = format!("The CIDR '{cidr_block}' conflicts with another subnet");
                    let also = self.reading.place(*at, &label);
                    let error = self.reading.error(net.at, &label, problem).also(also);
                    self.reading.report(error.hint("subnets of a VPC do not overlap: correct one of them"));
                    continue;
                }
                taken.insert(cidr_block.network(), (cidr_block.broadcast(), net.at));
                subnets.push(Subnet { cidr_block, availability_zone: zone.value.as_ref().into() });
            }
        }
        subnets
    }
}

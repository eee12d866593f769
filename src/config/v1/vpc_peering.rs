//! `[[vpc_peering]]`.

use super::Builder;
use super::ec2_tables::{PeeringSideTable, VpcPeeringTable};
use super::settings::word;
use crate::aws::vpc_peering::PEERINGS_MAX;
use crate::aws::{PeeringSide, PeeringStatus, VpcIndex, VpcPeering};
use ipnet::IpNet;
use std::collections::HashMap;

impl<'t> Builder<'t, '_> {
    /// Settles every peering connection.
    pub(super) fn settle_vpc_peerings(&mut self, tables: &[VpcPeeringTable<'t>]) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        let mut live: HashMap<(VpcIndex, VpcIndex), usize> = HashMap::new();
        let mut counts: HashMap<VpcIndex, usize> = HashMap::new();
        for (index, table) in tables.iter().enumerate() {
            let requester = table.requester.as_ref().and_then(|side| self.peering_side(side));
            let accepter = table.accepter.as_ref().and_then(|side| self.peering_side(side));
            let status = match &table.status {
                None => Some(PeeringStatus::Active),
                Some(text) => word(text, &PeeringStatus::WORDS, &table.label, "status.code", &mut self.reading),
            };
            let (Some(id), Some(requester), Some(accepter), Some(status)) = (&table.id, requester, accepter, status)
            else {
                continue;
            };
            if self.is_one_vpc(table, requester, accepter) {
                continue;
            }
            if status == PeeringStatus::Active {
                let pair = (requester.vpc.min(accepter.vpc), requester.vpc.max(accepter.vpc));
                if let Some(first) = live.insert(pair, index) {
                    self.report_second_peering(table, &tables[first]);
                }
                for side in [requester, accepter] {
                    let count = counts.entry(side.vpc).or_default();
                    *count += 1;
                    if *count == PEERINGS_MAX + 1 {
                        self.report_too_many(table, side.vpc);
                    }
                }
                self.refuse_overlap(table, requester.vpc, accepter.vpc);
                self.warn_of_idle_peering(table, [(requester, accepter), (accepter, requester)]);
            }
            let id = id.value.as_ref().into();
            self.model.vpc_peerings.push(VpcPeering { id, requester, accepter, status });
        }
    }

    fn peering_side(&mut self, table: &PeeringSideTable<'t>) -> Option<PeeringSide> {
        let vpc = self.vpc_index(table.vpc.as_ref()?, &table.label)?;
        let allows = table.allow_dns_resolution_from_remote_vpc.is_some_and(|allows| allows.value);
        Some(PeeringSide { vpc, allow_dns_resolution_from_remote_vpc: allows })
    }

    /// Refuses a connection of a VPC with itself.
    fn is_one_vpc(&mut self, table: &VpcPeeringTable<'t>, requester: PeeringSide, accepter: PeeringSide) -> bool {
        let is_one = requester.vpc == accepter.vpc;
        if is_one {
            let problem = format!("the peering connection is of {} with itself", self.model.vpc(requester.vpc).id);
            let at = table.accepter.as_ref().and_then(|side| side.vpc.as_ref()).map_or(table.at, |vpc| vpc.at);
            self.reading.report(self.reading.error(at, &table.label, problem).hint("name two VPCs"));
        }
        is_one
    }

    fn report_second_peering(&mut self, table: &VpcPeeringTable<'t>, first: &VpcPeeringTable<'t>) {
        let also = self.reading.place(first.at, &first.label);
        let error = self.reading.error(table.at, &table.label, "two peering connections between the same VPCs");
        let rule = "two VPCs have one that is active (VPC peering guide, vpc-peering-basics)";
        self.reading.report(error.also(also).rule(rule).hint("remove one of them, or give it its status"));
    }

    /// A name is looked for with every VPC that is seen: there is a limit to these.
    fn report_too_many(&mut self, table: &VpcPeeringTable<'t>, vpc: VpcIndex) {
        let problem = format!("{} has more than {PEERINGS_MAX} active peering connections", self.model.vpc(vpc).id);
        let error = self.reading.error(table.at, &table.label, problem);
        let rule = "AWS allows no more (VPC user guide, amazon-vpc-limits)";
        self.reading.report(error.rule(rule).hint("remove some, or give them their status"));
    }

    /// CIDR blocks of peers do not overlap (VPC peering guide, vpc-peering-basics).
    fn refuse_overlap(&mut self, table: &VpcPeeringTable<'t>, requester: VpcIndex, accepter: VpcIndex) {
        let (one, other) = (self.model.vpc(requester), self.model.vpc(accepter));
        let meets = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let overlap = one.cidrs.iter().find_map(|a| Some((*a, *other.cidrs.iter().find(|b| meets(a, b))?)));
        let Some((a, b)) = overlap else { return };
        let problem = format!("{} of {} overlaps {} of {}", a, one.id, b, other.id);
        let rule = "VPCs whose CIDR blocks overlap cannot be peers (VPC peering guide, vpc-peering-basics)";
        let mut error = self.reading.error(table.at, &table.label, problem).rule(rule);
        for (at, label) in [requester, accepter].map(|vpc| &self.vpc_places[vpc.0 as usize]) {
            error = error.also(self.reading.place(*at, label));
        }
        self.reading.report(error.hint("correct the CIDR blocks, or remove the connection"));
    }

    /// Names of a VPC are seen by its peer only where both VPCs have both DNS attributes.
    fn warn_of_idle_peering(&mut self, table: &VpcPeeringTable<'t>, directions: [(PeeringSide, PeeringSide); 2]) {
        for (side, (of, from)) in [&table.requester, &table.accepter].into_iter().zip(directions) {
            let option = side.as_ref().and_then(|side| Some((side, side.allow_dns_resolution_from_remote_vpc?)));
            let Some((side, option)) = option.filter(|(_, option)| option.value) else { continue };
            for vpc in [of.vpc, from.vpc] {
                self.warn_of_vpc_attributes(option.at, &side.label, "allow_dns_resolution_from_remote_vpc", vpc);
            }
        }
    }
}

//! `[[inbound_endpoint]]`.

use super::Builder;
use super::document::InboundEndpointTable;
use crate::aws::InboundEndpoint;
use crate::aws::inbound_endpoint::{INBOUND_ADDRESSES_MAX, INBOUND_ADDRESSES_MIN};
use ipnet::IpNet;

impl<'t> Builder<'t, '_> {
    /// Settles every inbound endpoint.
    pub(super) fn settle_inbound_endpoints(&mut self, tables: &[InboundEndpointTable<'t>]) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        for table in tables {
            self.check_address_count(table);
            let vpc = table.vpc.as_ref().and_then(|vpc| self.vpc_index(vpc, &table.label));
            let own: Vec<IpNet> = vpc.map_or_else(Vec::new, |vpc| {
                let vpc = self.model.vpc(vpc);
                vpc.cidrs.iter().chain(&vpc.clients).copied().collect()
            });
            let listen = self.listen(table.listen.as_ref(), &table.label);
            let allow = self.allow(table.allow.as_ref(), &own, &table.label);
            let (Some(id), Some(vpc)) = (&table.id, vpc) else { continue };
            let dns64 = table.dns64_enabled.is_some_and(|on| on.value);
            let id = id.value.as_ref().into();
            self.model.inbound_endpoints.push(InboundEndpoint { id, vpc, listen, allow, dns64 });
        }
    }

    /// An inbound endpoint has two to six addresses (R53:resolver-overview-forward-network-to-vpc); one works here.
    fn check_address_count(&mut self, table: &InboundEndpointTable<'t>) {
        let Some(listen) = &table.listen else { return };
        let addresses = listen.value.len();
        let problem = format!("the inbound endpoint has {addresses} addresses");
        let rule =
            format!("AWS gives one {INBOUND_ADDRESSES_MIN} to {INBOUND_ADDRESSES_MAX}, in two Availability Zones");
        let diagnostic = match addresses {
            0 => self.reading.error(listen.at, &table.label, "the inbound endpoint has no address").rule(rule),
            1 => {
                let warning = self.reading.warning(listen.at, &table.label, "the inbound endpoint has one address");
                warning.rule(rule).hint("add a second, so that clients have another to ask")
            }
            _ if addresses > INBOUND_ADDRESSES_MAX => {
                let error = self.reading.error(listen.at, &table.label, problem).rule(rule);
                error.hint("make a second inbound endpoint for the rest")
            }
            _ => return,
        };
        self.reading.report(diagnostic);
    }

    /// Refuses two things of one kind with the same id.
    pub(super) fn refuse_repeated_ids<'i>(
        &mut self,
        ids: impl Iterator<Item = (Option<&'i super::table::Text<'t>>, &'i str)>,
    ) where
        't: 'i,
    {
        let mut first_at = std::collections::HashMap::new();
        for (id, label) in ids.filter_map(|(id, label)| Some((id?, label))) {
            match first_at.get(&id.value) {
                None => {
                    first_at.insert(&id.value, id.at);
                }
                Some(at) => {
                    let problem =
                        format!("two of this kind have the id {}", crate::config::diagnostic::quoted(&id.value));
                    let error = self.reading.error(id.at, label, problem).also(self.reading.place(*at, label));
                    self.reading.report(error.hint("give one of them another id"));
                }
            }
        }
    }
}

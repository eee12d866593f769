//! The cloud's nouns: values that cannot be invalid. Knows DNS names and nothing of files, sockets or answers.

pub mod autodefined;
pub mod compat;
pub mod delegation;
pub mod endpoint;
pub mod endpoint_service;
pub mod health_check;
pub mod hosted_zone;
pub mod inbound_endpoint;
pub mod instance;
pub mod model;
pub mod network_interface;
pub mod partition;
pub mod profile;
pub mod query_log;
pub mod record_set;
pub mod region;
pub mod resolver_rule;
pub mod routing_policy;
pub mod service_catalog;
pub mod service_name;
pub mod vpc;
pub mod vpc_peering;

pub use compat::{Compat, SoaInNegativeAnswers};
pub use delegation::{Delegation, NameServer};
pub use endpoint::{
    DnsRecordIpType, EndpointAssociation, EndpointKind, EndpointState, InterfaceProbe, IpAddressType,
    PrivateDnsPreference, PrivateName, VpcEndpoint, ZonalAddresses,
};
pub use endpoint_service::DnsNameState;
pub use health_check::{
    HealthCheck, HealthCheckIndex, HealthCheckKind, MonitoredEndpoint, MonitoredHost, MonitoringProtocol,
};
pub use hosted_zone::{HostedZone, RecordSets};
pub use inbound_endpoint::InboundEndpoint;
pub use instance::{HostnameType, Instance, PrivateDnsNameOptions};
pub use model::{Model, SharedDoors, VpcIndex};
pub use network_interface::{NetworkInterface, PrivateIpAddress};
pub use partition::Partition;
pub use profile::{Profile, ProfileAssociation, ProfileIndex};
pub use query_log::{LoggedVpcs, QueryLogConfig};
pub use record_set::{AliasSuffix, AliasTarget, RecordData, RecordSet};
pub use region::Region;
pub use resolver_rule::{ResolverRule, RuleAction};
pub use routing_policy::{Routing, RoutingPolicy};
pub use service_name::{ServiceName, ServiceOwner};
pub use vpc::{Subnet, Vpc};
pub use vpc_peering::{PeeringSide, PeeringStatus, VpcPeering};

//! Route 53 Resolver query logging: whose queries are logged, and in whose account.

use super::model::VpcIndex;

/// What is logged of whom (Route 53 Resolver API, `ResolverQueryLogConfig` and its associations).
#[derive(Clone, Debug)]
pub struct QueryLogConfig {
    /// The account of VPCs that name no owner, and of queries that belong to no VPC.
    pub account_id: Box<str>,
    /// Whose queries the query log has.
    pub query_log: LoggedVpcs,
    /// Whose queries dnstap has.
    pub dnstap: LoggedVpcs,
}

/// Whose queries a log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedVpcs {
    /// Nobody's: it is off.
    None,
    /// Everybody's, also those that belong to no VPC.
    All,
    /// Those of the VPCs that it is associated with.
    Some(Vec<VpcIndex>),
}

/// The account where nobody says another: twelve digits, as all have.
pub const ACCOUNT_ID: &str = "000000000000";
/// Digits of an account's id.
pub const ACCOUNT_ID_DIGITS: usize = 12;

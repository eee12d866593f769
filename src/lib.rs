//! plustwo: the VPC resolver (the "VPC+2" address) that anyone can run.
//!
//! `ARCHITECTURE.md` shows the house. In one line: [`config`] reads the operator's files into [`aws::Model`],
//! [`compile`] turns that into a [`snapshot`], [`resolve`] decides what a query in a view gets, [`serve`] brings
//! queries in by doors, [`forward`] asks others, and [`probe`] asks endpoints whether they are healthy.

pub mod aws;
pub mod cli;
pub mod compile;
pub mod config;
pub mod daemon;
pub mod dns;
pub mod forward;
pub mod probe;
pub mod resolve;
pub mod serve;
pub mod snapshot;
pub mod udp;

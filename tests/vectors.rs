//! The conformance vectors (tests/data/vectors.json), each as a configuration of its own, asked over UDP.
//!
//! A vector's configuration is written as a user would write it, in TOML; what version 1 cannot say is a failure of
//! that vector. Those that fail stand in tests/vectors-not-yet.toml with their reasons, or, where we differ on purpose, in
//! tests/vectors-differences.toml with their line of docs/compatibility.md. Some of these pass with a `[compat]`.

mod support;

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use support::ask::{self, Question};
use support::case::{DoorName, rcode};
use support::compatibility;
use support::present::{present, present_name};
use support::world::World;

/// Where the upstream of every vector stands, and the targets of its FORWARD rules.
const INTERNET: &str = "192.0.2.250";
const TARGET: &str = "192.0.2.53";
/// Where the name server stands that a vector's zone delegates to.
const NAME_SERVER: &str = "192.0.2.10";
/// What they answer to A.
const NAME_SERVER_ANSWER: &str = "203.0.113.10";
/// What is in the zones of a profile, of which a vector only says that they are there.
const PROFILE_ANSWER: &str = "10.99.0.1";
const INTERNET_ANSWER: &str = "203.0.113.250";
const TARGET_ANSWER: &str = "203.0.113.53";
/// What they answer to PTR.
const INTERNET_POINTER: &str = "the-internet.example.";
const TARGET_POINTER: &str = "the-target.example.";

const VECTORS: &str = include_str!("data/vectors.json");
const NOT_YET: &str = include_str!("vectors-not-yet.toml");
const DIFFERENCES: &str = include_str!("vectors-differences.toml");

/// Why a vector does not pass on purpose.
struct Difference {
    reason: String,
    /// How its line of docs/compatibility.md begins.
    line: String,
    /// What `[compat]` says for it to pass; none: nothing does.
    compat: Option<String>,
}

fn differences() -> BTreeMap<String, Difference> {
    let tables: toml::Table = DIFFERENCES.parse().expect("TOML");
    let read = |(id, table): (String, toml::Value)| {
        let word = |key: &str| table.get(key).map(|word| word.as_str().expect("a text").to_owned());
        let strange =
            table.as_table().expect("a table").keys().find(|key| !["reason", "line", "compat"].contains(&&***key));
        assert_eq!(strange, None, "{id}");
        let reason = word("reason").filter(|reason| !reason.trim().is_empty());
        let reason = reason.unwrap_or_else(|| panic!("{id} has no reason"));
        (id, Difference { reason, line: word("line").unwrap_or_default(), compat: word("compat") })
    };
    tables.into_iter().map(read).collect()
}

#[test]
fn differences_stand_in_the_documentation() {
    for (id, Difference { line, .. }) in differences() {
        compatibility::line(&line).unwrap_or_else(|fault| panic!("{id}: {fault}"));
    }
}

#[test]
fn vectors_pass_or_stand_in_a_list() {
    let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
    let vectors = vectors["vectors"].as_array().expect("a list of vectors");
    let mut not_yet: BTreeMap<String, String> = toml::from_str(NOT_YET).expect("TOML: id = reason");
    let mut differences = differences();
    let mut faults = Vec::new();
    let mut passed = 0;
    let listed = (not_yet.len(), differences.len());
    for vector in vectors {
        let id = vector["id"].as_str().expect("an id");
        let outcome = run(vector, "");
        if let Some(difference) = differences.remove(id) {
            if outcome.is_ok() {
                faults.push(format!("{id} passes: take it off the differences ({})", difference.reason));
            }
            if let Some(fault) =
                difference.compat.and_then(|compat| run(vector, &format!("[compat]\n{compat}\n")).err())
            {
                faults.push(format!("{id} does not pass with its [compat]: {fault}"));
            }
            continue;
        }
        match (outcome, not_yet.remove(id)) {
            (Ok(()), None) => passed += 1,
            (Err(_), Some(reason)) => assert!(!reason.trim().is_empty(), "{id} has no reason"),
            (Ok(()), Some(reason)) => faults.push(format!("{id} passes: take it off the list ({reason})")),
            (Err(fault), None) => faults.push(format!("{id}: {fault}")),
        }
    }
    let strange = not_yet.keys().chain(differences.keys());
    faults.extend(strange.map(|id| format!("{id} is in a list, and no vector; or in both lists")));
    println!("{passed} of {} vectors pass; not yet and on purpose not: {listed:?}", vectors.len());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Plays one vector; `further` are tables of the configuration.
fn run(vector: &Value, further: &str) -> Result<(), String> {
    let id = text(&vector["id"])?;
    let (configuration, upstreams) = (configuration(vector)? + further, upstreams(vector)?);
    let world = std::panic::catch_unwind(|| World::from_text(id, &configuration, &upstreams))
        .map_err(|_| format!("does not load:\n{configuration}"))?;
    let running = world.start(Ipv4Addr::LOCALHOST.into());
    let query = &vector["query"];
    let door = match text(&query["via"])?.split_once(':') {
        Some((_, endpoint)) => DoorName::Via(endpoint.to_owned(), 0),
        None => DoorName::From(text(&query["vpc"])?.to_owned()),
    };
    let mut question = Question::new(text(&query["name"])?, text(&query["type"])?);
    question.edns = Some((4096, 0, query["do"].as_bool().unwrap_or(false)));
    let door = running.door(&door);
    let mut message = None;
    // What is left to chance is asked often enough that a choice that may not be made would be seen.
    let is_chance = array(&vector["expect"]["answer"]).iter().any(|entry| chance(entry).is_some());
    let times = query["repeat"].as_u64().unwrap_or(if is_chance { CHANCES } else { 1 });
    let mut chosen: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..times {
        let reply = ask::over_udp(IpAddr::V4(Ipv4Addr::LOCALHOST), door, &question.octets(rand::random()));
        let reply = reply.map_err(|error| format!("no reply: {error}"))?;
        let reply = Message::from_vec(&reply).map_err(|error| format!("hickory-proto cannot read it: {error}"))?;
        if message.is_none() && vector["expect"]["authority_first"] == "SOA" && !has_soa(&reply) {
            return Err("no SOA in the authority section of the first negative answer".to_owned());
        }
        if is_chance {
            judge_chance(vector, &reply)?;
            for record in &reply.answers {
                *chosen.entry(rdata(record)).or_default() += 1;
            }
        }
        message = Some(reply);
    }
    if is_chance {
        judge_chances(vector, &chosen)?;
    }
    let message = message.ok_or("nothing was asked")?;
    running.daemon.stop();
    let asked = |placeholder: &str| world.upstream(placeholder).questions();
    judge(vector, &message, (asked(INTERNET), asked(TARGET), asked(NAME_SERVER)))
}

/// Compares a reply with what the vector expects.
fn judge(
    vector: &Value,
    message: &Message,
    (internet, target, name_server): (usize, usize, usize),
) -> Result<(), String> {
    let expect = &vector["expect"];
    let source = expect["source"].as_str().unwrap_or("none");
    let got = || {
        let records: String = message.answers.iter().map(|record| format!("\n    {}", present(record))).collect();
        format!("got {}{records}", rcode(message))
    };
    let expected_rcode = expect["rcode"].as_str().unwrap_or("NOERROR");
    if rcode(message) != expected_rcode {
        return Err(format!("expected {expected_rcode}, {}", got()));
    }
    let asked = match source {
        "internet" | "phz+internet" => internet > 0 && target == 0,
        "delegation" => internet == 0 && target == 0 && name_server > 0,
        "internet+dns64" => internet > 1,
        "profile-phz" => internet == 0 && target == 0,
        "forward" if expected_rcode == "SERVFAIL" => internet == 0,
        "forward" | "phz+forward" => internet == 0 && target > 0,
        // An alias of a load balancer is asked of the upstream.
        "phz(alias)" | "phz" => target == 0,
        "public" => true,
        "endpoint-private-dns" | "autodefined" | "none" => internet == 0 && target == 0,
        other => return Err(format!("nobody can say here what the source {other:?} answers")),
    };
    if !asked {
        return Err(format!("source {source}: {internet} questions to the upstream, {target} to the rule's target"));
    }
    let mut expected = Vec::new();
    match expect["answer"].as_array() {
        Some(entries) if entries.iter().any(|entry| chance(entry).is_some()) => return judge_rest(expect, message),
        Some(entries) => {
            for entry in entries {
                expected.extend(expected_records(vector, entry)?);
            }
        }
        None if expected_rcode == "NOERROR" => {
            let rdata = match source {
                "forward" => TARGET_ANSWER,
                "delegation" => NAME_SERVER_ANSWER,
                "profile-phz" => PROFILE_ANSWER,
                _ => INTERNET_ANSWER,
            };
            let pointer = if source == "forward" { TARGET_POINTER } else { INTERNET_POINTER };
            let rdata = if vector["query"]["type"] == "PTR" { pointer } else { rdata };
            expected.push(Line { owner: None, ttl: None, rtype: None, rdata: rdata.to_owned() });
        }
        None => {}
    }
    let mut left: Vec<&Record> = message.answers.iter().collect();
    for line in &expected {
        let at = left.iter().position(|record| line.holds(record)).ok_or_else(|| format!("no {line:?}: {}", got()))?;
        left.remove(at);
    }
    if !left.is_empty() {
        return Err(format!("{} records too many: {}", left.len(), got()));
    }
    judge_rest(expect, message)
}

/// How often what is left to chance is asked.
const CHANCES: u64 = 400;
/// By how many standard deviations of as many draws a count may miss its probability: once in 10^15 runs.
const DEVIATIONS_MAX: f64 = 8.0;

/// What an entry of `answer` leaves to chance.
enum Chance<'v> {
    /// One of these addresses, each with its probability.
    OneOf(Vec<(&'v str, f64)>),
    /// So many of the sets with this health, or any that count as healthy.
    Count(usize, &'static str),
}

/// What an entry leaves to chance; none: it is a fixed set of records.
fn chance(entry: &Value) -> Option<Chance<'_>> {
    if let Some(address) = entry["always"].as_str() {
        return Some(Chance::OneOf(vec![(address, 1.0)]));
    }
    if let Some(all) = entry["one_of"].as_array() {
        let all = all.iter().filter_map(Value::as_str).map(|one| {
            let (address, probability) = one.split_once(" p=").expect("ADDRESS p=PROBABILITY");
            (address, probability.parse().expect("a probability"))
        });
        return Some(Chance::OneOf(all.collect()));
    }
    let count = entry["count"].as_u64()? as usize;
    let health = if entry["subset_of"].as_str()?.contains("unhealthy") { "unhealthy" } else { "healthy" };
    Some(Chance::Count(count, health))
}

/// The data of a record as a vector writes it.
fn rdata(record: &Record) -> String {
    present(record).splitn(5, ' ').nth(4).unwrap_or_default().to_owned()
}

/// Holds one reply against what is left to chance.
fn judge_chance(vector: &Value, reply: &Message) -> Result<(), String> {
    let found: std::collections::BTreeSet<String> = reply.answers.iter().map(rdata).collect();
    for entry in array(&vector["expect"]["answer"]) {
        let (count, allowed) = match chance(entry).ok_or("an answer that is chance in part")? {
            Chance::OneOf(all) => (1, all.into_iter().map(|(address, _)| address.to_owned()).collect()),
            Chance::Count(count, health) => (count, of_health(vector, health)),
        };
        let strange = found.iter().find(|address| !allowed.contains(address));
        if reply.answers.len() != count || found.len() != count || strange.is_some() {
            return Err(format!("expected {count} of {allowed:?}, got {found:?}"));
        }
    }
    Ok(())
}

/// The values of the vector's sets with this health.
fn of_health(vector: &Value, health: &str) -> Vec<String> {
    let zones = vector["config"]["phz"].as_object().into_iter().flat_map(|zones| zones.values());
    let records = zones.flat_map(|zone| array(&zone["records"])).filter(|record| record["health"] == health);
    records.flat_map(|record| array(&record["rdata"])).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Holds the counts of all replies against the probabilities; what has none must at least have come.
fn judge_chances(vector: &Value, chosen: &BTreeMap<String, u64>) -> Result<(), String> {
    for entry in array(&vector["expect"]["answer"]) {
        match chance(entry) {
            Some(Chance::OneOf(all)) => {
                for (address, probability) in all {
                    let count = chosen.get(address).copied().unwrap_or(0) as f64;
                    let (mean, draws) = (CHANCES as f64 * probability, CHANCES as f64);
                    let deviation = (draws * probability * (1.0 - probability)).sqrt();
                    if (count - mean).abs() > DEVIATIONS_MAX * deviation {
                        return Err(format!("{address} came {count} times of {draws}, expected about {mean}"));
                    }
                }
            }
            Some(Chance::Count(_, health)) if chosen.len() != of_health(vector, health).len() => {
                return Err(format!("only {chosen:?} ever came"));
            }
            Some(Chance::Count(..)) | None => {}
        }
    }
    Ok(())
}

/// What a vector may say besides rcode, source and answer.
fn judge_rest(expect: &Value, message: &Message) -> Result<(), String> {
    if expect["authority"].as_str().is_some_and(|authority| authority.starts_with("SOA")) && !has_soa(message) {
        return Err("no SOA in the authority section".to_owned());
    }
    if expect["authority_second"] == "empty" && !message.authorities.is_empty() {
        return Err("the second negative answer carries an SOA too".to_owned());
    }
    if let Some(octets) = expect["edns"]["udp"].as_u64()
        && message.edns.as_ref().is_none_or(|edns| u64::from(edns.max_payload()) != octets)
    {
        return Err(format!("the OPT does not say {octets} octets"));
    }
    if message.metadata.authentic_data {
        return Err("AD is set".to_owned());
    }
    Ok(())
}

fn has_soa(message: &Message) -> bool {
    message.authorities.iter().any(|record| matches!(record.data, RData::SOA(_)))
}

/// A record as a vector knows it; none: it does not say.
#[derive(Debug)]
struct Line {
    owner: Option<String>,
    ttl: Option<u64>,
    rtype: Option<String>,
    rdata: String,
}

impl Line {
    fn holds(&self, record: &Record) -> bool {
        let words = present(record);
        let rdata = words.splitn(5, ' ').nth(4).unwrap_or_default();
        self.owner.as_ref().is_none_or(|owner| *owner == present_name(&record.name))
            && self.ttl.is_none_or(|ttl| ttl == u64::from(record.ttl))
            && self.rtype.as_ref().is_none_or(|rtype| *rtype == record.record_type().to_string())
            && self.rdata == rdata
    }
}

/// The records that one entry of `answer` means.
fn expected_records(vector: &Value, entry: &Value) -> Result<Vec<Line>, String> {
    let any = |rdata: &str| Line { owner: None, ttl: None, rtype: None, rdata: rdata.to_owned() };
    if let Some(values) = entry["rdata"].as_array() {
        let line = |value: &Value| {
            Ok(Line {
                owner: Some(text(&entry["name"])?.to_owned()),
                ttl: entry["ttl"].as_u64(),
                rtype: Some(text(&entry["type"])?.to_owned()),
                rdata: text(value)?.to_owned(),
            })
        };
        return values.iter().map(line).collect();
    }
    if let Some(strings) = entry["one_rr_with_strings"].as_array() {
        let strings: Result<Vec<_>, _> =
            strings.iter().map(|string| text(string).map(|s| format!("\"{s}\""))).collect();
        return Ok(vec![any(&strings?.join(" "))]);
    }
    if let Some(octets) = entry["bytes"].as_str() {
        let octets = ask::from_hex(&octets.replace(' ', ""));
        let printed: String = octets
            .iter()
            .map(|&octet| if octet < 127 { char::from(octet).to_string() } else { format!("\\{octet:03}") })
            .collect();
        return Ok(vec![any(&format!("\"{printed}\""))]);
    }
    if entry["note"].is_string() {
        // "then what the next source answers".
        let forward = vector["expect"]["source"] == "phz+forward";
        return Ok(vec![any(if forward { TARGET_ANSWER } else { INTERNET_ANSWER })]);
    }
    if entry["prefix"] == "64:ff9b::/96" {
        let ipv4: Ipv4Addr = INTERNET_ANSWER.parse().expect("an IPv4 address");
        let [a, b, c, d] = ipv4.octets().map(u16::from);
        let made = Ipv6Addr::from([0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d]);
        return Ok(vec![any(&made.to_string())]);
    }
    if let Some(address) = entry["ip"].as_str() {
        return Ok(vec![any(address)]);
    }
    if entry["same"].is_string() {
        let ips = vector["config"]["endpoints"][0]["ips"].as_object().ok_or("no addresses")?;
        return ips.values().map(|ip| text(ip).map(any)).collect();
    }
    if entry["private_ips"] == true {
        return Ok(vec![Line { ttl: entry["ttl"].as_u64(), ..any(INTERNET_ANSWER) }]);
    }
    Err(format!("an answer that is not a fixed set of records: {entry}"))
}

/// The vector's configuration as a user writes it.
fn configuration(vector: &Value) -> Result<String, String> {
    let config = vector["config"].as_object().ok_or("no config")?;
    let known = [
        "vpcs",
        "phz",
        "rules",
        "endpoints",
        "inbound",
        "public",
        "peering",
        "enis",
        "instances",
        "resolver_config",
        "profile",
        "subnets",
    ];
    if let Some(strange) = config.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("version 1 has no {strange}"));
    }
    let mut toml = format!("version = 1\nregion = \"us-west-2\"\n[upstream]\ntargets = [\"{INTERNET}\"]\n");
    // Others that are named, and an "internet": a VPC with nothing in it.
    let others = ["vpc-b", "internet"].map(|id| (id, &Value::Null));
    let vpcs = config["vpcs"].as_object().ok_or("no VPCs")?;
    let ipv6 = array(&vector["config"]["instances"]).iter().any(|instance| instance["ipv6"].is_string());
    for (index, (id, vpc)) in vpcs.iter().map(|(id, vpc)| (id.as_str(), vpc)).chain(others).enumerate() {
        push_vpc(&mut toml, index, id, vpc, ipv6);
        // Here a VPC has DNS64; of the vectors' VPCs one has subnets.
        let mut subnets = vector["config"]["subnets"].as_object().into_iter().flat_map(|subnets| subnets.values());
        if id == "vpc-a" && subnets.any(|subnet| subnet["EnableDns64"] == true) {
            let _ = writeln!(toml, "enable_dns64 = true");
        }
    }
    push_ec2(&mut toml, vector)?;
    for (id, inbound) in config.get("inbound").and_then(Value::as_object).into_iter().flatten() {
        let vpc = text(&inbound["vpc"])?;
        let _ = writeln!(toml, "[[inbound_endpoint]]\nid = \"{id}\"\nvpc = \"{vpc}\"");
        let _ = writeln!(toml, "listen = [\"127.0.0.22:5300\", \"127.0.0.23:5300\"]");
    }
    for (index, (name, zone)) in config.get("phz").and_then(Value::as_object).into_iter().flatten().enumerate() {
        let _ = writeln!(toml, "[[hosted_zone]]\nid = \"Z{index}\"\nname = '{name}'\nvpcs = {}", zone["vpcs"]);
        let records: Result<Vec<String>, String> = array(&zone["records"]).iter().enumerate().map(record).collect();
        let _ = writeln!(toml, "records = [{}]", records?.join(", "));
        for health in ["healthy", "unhealthy"] {
            if array(&zone["records"]).iter().any(|record| record["health"] == health) {
                let _ = writeln!(toml, "[[health_check]]\nid = \"{health}\"\ntype = \"manual\"\nstatus = \"{health}\"");
            }
        }
    }
    for (index, rule) in array(config.get("rules").unwrap_or(&Value::Null)).iter().enumerate() {
        let action = text(&rule["type"])?;
        if !["FORWARD", "SYSTEM", "DELEGATE"].contains(&action) {
            return Err(format!("version 1 has no {action} rules"));
        }
        let (key, of_rule) =
            if action == "DELEGATE" { ("delegation_record", "delegationRecord") } else { ("domain", "domain") };
        let domain = text(&rule[of_rule])?;
        let _ = writeln!(toml, "[[resolver_rule]]\nid = \"rslvr-rr-{index}\"\n{key} = '{domain}'");
        let _ = writeln!(toml, "action = \"{action}\"\nvpcs = {}", rule["vpcs"]);
        if action == "FORWARD" {
            let _ = writeln!(toml, "targets = {}", rule["targets"]);
        }
    }
    push_profile(&mut toml, vector)?;
    for (index, endpoint) in array(config.get("endpoints").unwrap_or(&Value::Null)).iter().enumerate() {
        push_endpoint(&mut toml, index, endpoint)?;
    }
    Ok(toml)
}

/// The profile of the VPC that is asked: its zones each hold the very name asked.
fn push_profile(toml: &mut String, vector: &Value) -> Result<(), String> {
    let Some(profile) = vector["config"]["profile"].as_object() else { return Ok(()) };
    if let Some(strange) = profile.keys().find(|key| *key != "phz") {
        return Err(format!("version 1 has no {strange} of a profile"));
    }
    let (vpc, name) = (text(&vector["query"]["vpc"])?, text(&vector["query"]["name"])?);
    let mut zones = Vec::new();
    for (zone, id) in profile["phz"].as_object().ok_or("no zones")? {
        let id = text(id)?;
        let _ = writeln!(toml, "[[hosted_zone]]\nid = \"{id}\"\nname = '{zone}'\nvpcs = []");
        let _ = writeln!(toml, "records = [{{ name = '{name}', type = \"A\", values = [\"{PROFILE_ANSWER}\"] }}]");
        zones.push(format!("\"{id}\""));
    }
    let zones = zones.join(", ");
    let _ = writeln!(toml, "[[profile]]\nid = \"rp-0\"\nvpcs = [\"{vpc}\"]\nhosted_zones = [{zones}]");
    Ok(())
}

/// Network interfaces, instances, peering connections and resolver configurations.
fn push_ec2(toml: &mut String, vector: &Value) -> Result<(), String> {
    let config = &vector["config"];
    // A vector may say with the question whose public address is asked for.
    let asked = vector["query"]["eni_private"].as_str().map(|private| {
        let name = vector["query"]["name"].as_str().unwrap_or_default();
        let label = name.split('.').next().unwrap_or_default();
        serde_json::json!({ "private": private, "public": label.trim_start_matches("ec2-").replace('-', ".") })
    });
    for (index, interface) in array(&config["enis"]).iter().chain(&asked).enumerate() {
        let private = text(&interface["private"])?;
        let _ = writeln!(toml, "[[network_interface]]\nid = \"eni-0{index}\"\nvpc = \"vpc-a\"");
        let _ = writeln!(toml, "private_ip_address = \"{private}\"");
        if let Some(public) = interface["public"].as_str() {
            let _ = writeln!(toml, "association = {{ public_ip = \"{public}\" }}");
        }
    }
    for instance in array(&config["instances"]) {
        let (id, private) = (text(&instance["id"])?, text(&instance["private"])?);
        let _ = writeln!(toml, "[[instance]]\nid = \"{id}\"\nvpc = \"vpc-a\"\nprivate_ip_address = \"{private}\"");
        if let Some(ipv6) = instance["ipv6"].as_str() {
            let _ = writeln!(toml, "ipv6_address = \"{ipv6}\"");
        }
        let (a, aaaa) = (&instance["EnableResourceNameDnsARecord"], &instance["EnableResourceNameDnsAAAARecord"]);
        let _ = writeln!(
            toml,
            "private_dns_name_options = {{ enable_resource_name_dns_a_record = {a}, \
             enable_resource_name_dns_aaaa_record = {aaaa} }}"
        );
    }
    for (index, pair) in array(&config["peering"]).iter().enumerate() {
        let side = |of: usize| Ok::<_, String>(format!("{{ vpc_id = \"{}\" }}", text(&pair[of])?));
        let (requester, accepter) = (side(0)?, side(1)?);
        let _ = writeln!(toml, "[[vpc_peering]]\nid = \"pcx-0{index}\"");
        let _ = writeln!(toml, "requester_vpc_info = {requester}\naccepter_vpc_info = {accepter}");
    }
    for (vpc, resolver) in config["resolver_config"].as_object().into_iter().flatten() {
        let _ = writeln!(toml, "[[resolver_config]]\nresource_id = \"{vpc}\"");
        let _ = writeln!(toml, "autodefined_reverse = {}", resolver["AutodefinedReverse"]);
    }
    Ok(())
}

fn push_vpc(toml: &mut String, index: usize, id: &str, vpc: &Value, has_ipv6: bool) {
    let region = vpc["region"].as_str().unwrap_or("us-west-2");
    let _ = writeln!(toml, "[[vpc]]\nid = \"{id}\"\nregion = \"{region}\"\nlisten = [\"127.0.1.{}:5300\"]", index + 1);
    if let Some(cidrs) = vpc["cidr"].as_array() {
        // Vectors name IPv4 blocks only, also where an instance has an IPv6 address.
        let ipv6 = has_ipv6.then(|| Value::from("2600:db8::/56"));
        let _ = writeln!(toml, "cidrs = {}", Value::from_iter(cidrs.iter().cloned().chain(ipv6)));
    }
    for (key, word) in [("enableDnsSupport", "dns_support"), ("enableDnsHostnames", "dns_hostnames")] {
        if let Some(set) = vpc[key].as_bool() {
            let _ = writeln!(toml, "{word} = {set}");
        }
    }
}

/// One entry of `records`; the number is the identifier of a set that has none.
fn record((number, record): (usize, &Value)) -> Result<String, String> {
    let record = record.as_object().ok_or("not a record")?;
    let known = [
        "name",
        "type",
        "ttl",
        "rdata",
        "alias",
        "setIdentifier",
        "weight",
        "failover",
        "multivalue",
        "region",
        "geo",
        "health",
    ];
    if let Some(strange) = record.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("version 1 has no {strange} of a record"));
    }
    let (name, rtype) = (text(&record["name"])?, text(&record["type"])?);
    let mut routing = String::new();
    for key in ["weight", "multivalue", "region"] {
        if let Some(value) = record.get(key) {
            let _ = write!(routing, ", {key} = {value}");
        }
    }
    if let Some(role) = record.get("failover") {
        let _ = write!(routing, ", failover = \"{}\"", text(role)?.to_lowercase());
    }
    if let Some(area) = record.get("geo").and_then(Value::as_object) {
        let area: Vec<String> = area.iter().map(|(key, code)| format!("{key} = {code}")).collect();
        let _ = write!(routing, ", geolocation = {{ {} }}", area.join(", "));
    }
    if !routing.is_empty() {
        let identifier = record.get("setIdentifier").and_then(Value::as_str);
        let identifier = identifier.map_or_else(|| format!("set-{number}"), str::to_owned);
        let _ = write!(routing, ", set_identifier = \"{identifier}\"");
    }
    if let Some(health) = record.get("health").and_then(Value::as_str) {
        let _ = write!(routing, ", health_check = \"{health}\"");
    }
    if let Some(alias) = record.get("alias") {
        return Ok(format!("{{ name = '{name}', type = \"{rtype}\", alias = '{}'{routing} }}", alias_target(alias)));
    }
    let values: Result<Vec<String>, String> =
        array(&record["rdata"]).iter().map(|value| text(value).map(|value| format!("'{value}'"))).collect();
    let values = values?.join(", ");
    Ok(format!("{{ name = '{name}', type = \"{rtype}\", ttl = {}, values = [{values}]{routing} }}", record["ttl"]))
}

/// Where an alias points; a vector that only says its addresses means a load balancer.
fn alias_target(alias: &Value) -> &str {
    alias["dns"].as_str().unwrap_or("internal-lb-1.us-west-2.elb.amazonaws.com.")
}

fn push_endpoint(toml: &mut String, index: usize, endpoint: &Value) -> Result<(), String> {
    let known = [
        "id",
        "hash",
        "service",
        "vpc",
        "state",
        "ips",
        "ips6",
        "private_dns",
        "private_dns_only_inbound",
        "type",
        "dns_record_ip_type",
        "provider_private_dns",
        "verification",
    ];
    let endpoint = endpoint.as_object().ok_or("not an endpoint")?;
    if let Some(strange) = endpoint.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("version 1 has no {strange} of an endpoint"));
    }
    let word = |key: &str| endpoint.get(key).and_then(Value::as_str);
    let id = word("id").map_or_else(|| format!("vpce-0{index:016}"), str::to_owned);
    let vpc = word("vpc").unwrap_or("vpc-a");
    let _ = writeln!(toml, "[[vpc_endpoint]]\nid = \"{id}\"\nvpc = \"{vpc}\"");
    match word("type") {
        Some("Gateway") => {
            let _ = writeln!(toml, "type = \"Gateway\"\nservice = \"com.amazonaws.us-west-2.s3\"");
            return Ok(());
        }
        Some("GatewayLoadBalancer") => {
            let service = "com.amazonaws.vpce.us-west-2.vpce-svc-0123456789abcdef0";
            let _ = writeln!(toml, "type = \"GatewayLoadBalancer\"\nservice = \"{service}\"");
            return Ok(());
        }
        Some(other) => return Err(format!("version 1 has no endpoints of type {other}")),
        None => {}
    }
    let service = word("service").ok_or("no service")?;
    if let (Some(id), true) = (word("service"), endpoint.contains_key("provider_private_dns")) {
        return push_provider(toml, id, endpoint);
    }
    let reversed: Vec<&str> = service.rsplit('.').collect();
    let name = format!("{id}-{}.{}.us-west-2.vpce.amazonaws.com", word("hash").ok_or("no hash")?, reversed.join("."));
    let wildcard = if service == "s3" { "*." } else { "" };
    let _ = writeln!(toml, "service = \"com.amazonaws.us-west-2.{service}\"\ndns_name = \"{wildcard}{name}\"");
    let _ = writeln!(toml, "private_dns = {}", endpoint["private_dns"]);
    if let Some(only) = endpoint.get("private_dns_only_inbound") {
        let _ = writeln!(toml, "private_dns_only_for_inbound = {only}");
    }
    let _ = writeln!(toml, "state = \"{}\"", word("state").unwrap_or("available"));
    if let Some(record_type) = word("dns_record_ip_type") {
        let _ = writeln!(toml, "dns_record_ip_type = \"{record_type}\"");
    }
    let mut addresses = Vec::new();
    let mut ipv6 = array(endpoint.get("ips6").unwrap_or(&Value::Null)).iter();
    for (zone, address) in endpoint["ips"].as_object().ok_or("no addresses")? {
        let more = ipv6.next().map(|address| format!(", {address}")).unwrap_or_default();
        addresses.push(format!("{zone} = [{address}{more}]"));
    }
    let _ = writeln!(toml, "addresses = {{ {} }}", addresses.join(", "));
    Ok(())
}

/// An endpoint of a provider's service, and the service.
fn push_provider(toml: &mut String, id: &str, endpoint: &serde_json::Map<String, Value>) -> Result<(), String> {
    let (name, state) = (text(&endpoint["provider_private_dns"])?, text(&endpoint["verification"])?);
    let service = format!("com.amazonaws.vpce.us-west-2.{id}");
    let _ = writeln!(toml, "service = \"{service}\"\nprivate_dns = {}", endpoint["private_dns"]);
    let _ = writeln!(toml, "dns_name = \"vpce-00000000000000000-abcd1234.{id}.us-west-2.vpce.amazonaws.com\"");
    let _ = writeln!(toml, "addresses = {{ us-west-2a = [\"10.0.1.4\"] }}");
    let _ = writeln!(toml, "[[endpoint_service]]\nservice_name = \"{service}\"\nprivate_dns_name = \"{name}\"");
    let _ = writeln!(toml, "private_dns_name_configuration = {{ state = \"{state}\" }}");
    Ok(())
}

/// What the upstream and the rules' targets hold: every name that the vector may lead to, with an answer that shows who
/// gave it.
fn upstreams(vector: &Value) -> Result<String, String> {
    let config = &vector["config"];
    let mut names = vec![text(&vector["query"]["name"])?];
    let mut load_balancers = String::new();
    for zone in config["phz"].as_object().into_iter().flat_map(|zones| zones.values()) {
        for record in array(&zone["records"]) {
            if record["type"] == "CNAME" {
                names.extend(array(&record["rdata"]).iter().filter_map(Value::as_str));
            }
            for address in array(&record["alias"]["ips"]) {
                let _ = writeln!(load_balancers, "{} 60 IN A {}", alias_target(&record["alias"]), text(address)?);
            }
        }
    }
    let public = vector["expect"]["answer"][0]["ip"].as_str().unwrap_or(INTERNET_ANSWER);
    let mut upstreams = format!("$UPSTREAM {INTERNET}\n{load_balancers}");
    for name in &names {
        let _ = writeln!(upstreams, "{name} 60 IN A {public}\n{name} 60 IN PTR {INTERNET_POINTER}");
    }
    let unreachable = array(&config["rules"]).iter().any(|rule| rule["targets_state"] == "all unreachable");
    let _ = writeln!(upstreams, "$UPSTREAM {TARGET}{}", if unreachable { " closed" } else { "" });
    for name in &names {
        let _ = writeln!(upstreams, "{name} 60 IN A {TARGET_ANSWER}\n{name} 60 IN PTR {TARGET_POINTER}");
    }
    let _ = writeln!(upstreams, "$UPSTREAM {NAME_SERVER}");
    for name in &names {
        let _ = writeln!(upstreams, "{name} 60 IN A {NAME_SERVER_ANSWER}");
    }
    Ok(upstreams)
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("not a text: {value}"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

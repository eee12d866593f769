//! The real program, asked by the real `dig` (and `kdig`): the scenarios S1 to S6, the commands and their exit codes.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use support::binary::{Program, WorldFile, dig, outcome, plustwo, serve, short};
use support::need_tool;

/// The two loopback addresses.
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// The built-in world has fixed ports: one test at a time.
static BUILT_IN: Mutex<()> = Mutex::new(());

/// One line of a transcript: the door by its place in the world's file, the name, and what `dig +short` says of its A.
type Line = (usize, &'static str, &'static [&'static str]);

/// Asks a transcript over UDP and TCP, on both loopbacks.
fn transcript(world: &str, lines: &[Line]) {
    let Some(tool) = need_tool("dig") else { return };
    for loopback in LOOPBACKS {
        let (program, file) = serve(world, loopback);
        for &(door, name, expected) in lines {
            for transport in ["+notcp", "+tcp"] {
                let answer = short(&tool, file.doors[door], &[transport, name, "A"]);
                let mut expected = expected.to_vec();
                expected.sort_unstable();
                assert_eq!(answer, expected, "{world}: {name} {transport} at {}", file.doors[door]);
            }
        }
        drop(program);
    }
}

#[test]
fn s1_interface_endpoint() {
    transcript(
        "s1-interface-endpoint",
        &[
            (0, "ec2.ap-northeast-2.amazonaws.com", &["10.0.12.153", "10.0.11.233"]),
            (
                0,
                "vpce-0e25f6a2b3c4d5e6f-7kq2m9xa.ec2.ap-northeast-2.vpce.amazonaws.com",
                &["10.0.12.153", "10.0.11.233"],
            ),
            (
                0,
                "vpce-0e25f6a2b3c4d5e6f-7kq2m9xa-ap-northeast-2a.ec2.ap-northeast-2.vpce.amazonaws.com",
                &["10.0.12.153"],
            ),
            (
                0,
                "vpce-0e25f6a2b3c4d5e6f-7kq2m9xa-ap-northeast-2c.ec2.ap-northeast-2.vpce.amazonaws.com",
                &["10.0.11.233"],
            ),
            (0, "www.example.com", &["198.51.100.80"]),
        ],
    );
}

const CLOUDFORMATION: &str = "cloudformation.ap-northeast-2.amazonaws.com";
const CLOUDFORMATION_VPCE: &str = "vpce-007e8146bd4d94c32-3k6b7pvq.cloudformation.ap-northeast-2.vpce.amazonaws.com";

#[test]
fn s2_private_dns_on_and_off() {
    let private = &["10.0.0.65", "10.0.1.237"];
    transcript("s2-private-dns-on", &[(0, CLOUDFORMATION, private), (0, CLOUDFORMATION_VPCE, private)]);
    transcript("s2-private-dns-off", &[(0, CLOUDFORMATION, &["52.95.193.155"]), (0, CLOUDFORMATION_VPCE, private)]);
}

#[test]
fn s2_switched_by_editing_and_sighup() {
    let Some(tool) = need_tool("dig") else { return };
    let (mut program, file) = serve("s2-private-dns-on", LOOPBACKS[0]);
    let ask = || short(&tool, file.doors[0], &[CLOUDFORMATION, "A"]);
    assert_eq!(ask(), ["10.0.0.65", "10.0.1.237"]);
    file.rewrite("s2-private-dns-off");
    program.signal("HUP");
    program.wait_for("generation=2").expect("it goes on");
    assert_eq!(ask(), ["52.95.193.155"]);
    std::fs::write(file.path(), "version = 1\nregio = \"ap-northeast-2\"\n").expect("a file can be written");
    program.signal("HUP");
    let said = program.wait_for("reload failed").expect("a bad file does not end it");
    assert!(said.contains("regio"), "it says what is wrong:\n{said}");
    assert_eq!(ask(), ["52.95.193.155"], "the old file is still served");
    file.rewrite("s2-private-dns-on");
    program.signal("HUP");
    program.wait_for("generation=3").expect("it goes on");
    assert_eq!(ask(), ["10.0.0.65", "10.0.1.237"]);
    program.signal("TERM");
    assert_eq!(program.wait().0.code(), Some(0));
}

#[test]
fn s3_payments() {
    transcript(
        "s3-payments",
        &[
            (0, "secretsmanager.ap-northeast-2.amazonaws.com", &["10.0.21.10", "10.0.22.10"]),
            (0, "kms.ap-northeast-2.amazonaws.com", &["10.0.21.11", "10.0.22.11"]),
            (0, "api.ecr.ap-northeast-2.amazonaws.com", &["10.0.21.12", "10.0.22.12"]),
            (0, "dkr.ecr.ap-northeast-2.amazonaws.com", &["10.0.21.13", "10.0.22.13"]),
            (0, "111122223333.dkr.ecr.ap-northeast-2.amazonaws.com", &["10.0.21.13", "10.0.22.13"]),
            (
                1,
                "vpce-05555555555555555-eeeeeeee.secretsmanager.us-west-2.vpce.amazonaws.com",
                &["10.2.21.10", "10.2.22.10"],
            ),
            (1, "secretsmanager.us-west-2.amazonaws.com", &["52.94.177.10"]),
        ],
    );
}

#[test]
fn s4_many_vpcs() {
    let name = "secretsmanager.ap-northeast-2.amazonaws.com";
    let (public, private): (&[&str], &[&str]) = (&["52.95.194.20"], &["10.0.1.10", "10.0.2.10"]);
    // Doors: hub, A, B, C.
    transcript("s4-many-vpcs-before", &[(1, name, public), (2, name, public), (3, name, public)]);
    transcript("s4-many-vpcs-after", &[(1, name, private), (2, name, private), (3, name, public)]);
    transcript(
        "s4-endpoint-in-each",
        &[(0, name, &["10.1.1.10", "10.1.2.10"]), (1, name, &["10.2.1.10", "10.2.2.10"]), (2, name, public)],
    );
}

#[test]
fn s4_zone_shows_three_records() {
    let Some(tool) = need_tool("dig") else { return };
    let (_program, file) = serve("s4-many-vpcs-after", LOOPBACKS[0]);
    let name = "secretsmanager.ap-northeast-2.amazonaws.com";
    let servers =
        ["ns-0.awsdns-00.com.", "ns-1024.awsdns-00.org.", "ns-1536.awsdns-00.co.uk.", "ns-512.awsdns-00.net."];
    assert_eq!(short(&tool, file.doors[1], &[name, "NS"]), servers);
    let soa = "ns-1536.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400";
    assert_eq!(short(&tool, file.doors[1], &[name, "SOA"]), [soa]);
}

#[test]
fn s5_inbound_endpoint() {
    // Doors: the hub's own, and the endpoint's two.
    let name = "secretsmanager.ap-northeast-2.amazonaws.com";
    let private: &[&str] = &["10.0.1.10", "10.0.2.10"];
    transcript(
        "s5-inbound-endpoint",
        &[(1, name, private), (2, name, private), (1, "www.example.com", &["198.51.100.80"])],
    );
}

#[test]
fn s5_client_outside_is_refused() {
    let Some(tool) = need_tool("dig") else { return };
    let (_program, file) = serve("s5-inbound-endpoint", LOOPBACKS[0]);
    for transport in ["+notcp", "+tcp"] {
        let arguments = ["-b", "127.9.9.9", transport, "secretsmanager.ap-northeast-2.amazonaws.com", "A"];
        let said = dig(&tool, file.doors[1], &arguments);
        assert!(said.contains("status: REFUSED"), "{said}");
        assert!(said.contains("EDE: 18"), "{said}");
        assert!(said.contains("ANSWER: 0, AUTHORITY: 0"), "{said}");
    }
}

#[test]
fn s6_s3_gateway_and_interface() {
    // Doors: the hub's own, and the endpoint's two.
    let (s3, bucket) = ("s3.ap-northeast-2.amazonaws.com", "mybucket.s3.ap-northeast-2.amazonaws.com");
    let own = "bucket.vpce-0916e80803286e2d6-s14qjhy6.s3.ap-northeast-2.vpce.amazonaws.com";
    let (public, private): (&[&str], &[&str]) = (&["52.219.56.117"], &["10.0.12.133", "10.0.11.80"]);
    transcript("s6-s3-gateway", &[(0, s3, public)]);
    transcript("s6-s3-off", &[(0, s3, public), (1, s3, public), (0, own, private), (1, own, private)]);
    let public_bucket: &[&str] = &["52.219.56.120", "s3-r-w.ap-northeast-2.amazonaws.com."];
    transcript(
        "s6-s3-inbound-only",
        &[(0, s3, public), (1, s3, private), (0, bucket, public_bucket), (2, bucket, private), (0, own, private)],
    );
    transcript("s6-s3-all", &[(0, s3, private), (1, s3, private), (0, bucket, private), (1, bucket, private)]);
}

#[test]
fn whole_reply_as_dig_shows_it() {
    let Some(tool) = need_tool("dig") else { return };
    let (_program, file) = serve("s1-interface-endpoint", LOOPBACKS[0]);
    let said = dig(&tool, file.doors[0], &["ec2.ap-northeast-2.amazonaws.com", "A"]);
    assert!(said.contains("status: NOERROR"), "{said}");
    assert!(said.contains("flags: qr rd ra; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1"), "{said}");
    assert!(said.contains("EDNS: version: 0, flags:; udp: 1232"), "{said}");
    assert!(!said.contains("WARNING") && !said.contains("Warning"), "{said}");
    let said = dig(&tool, file.doors[0], &["ec2.ap-northeast-2.amazonaws.com", "AAAA"]);
    assert!(said.contains("status: NOERROR"), "{said}");
    assert!(said.contains("ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 1"), "{said}");
}

#[test]
fn kdig_reads_the_replies_too() {
    let Some(tool) = need_tool("kdig") else { return };
    for loopback in LOOPBACKS {
        let (_program, file) = serve("s1-interface-endpoint", loopback);
        for transport in ["+notcp", "+tcp"] {
            let door = file.doors[0];
            let (code, said, complaints) = outcome(
                Command::new(&tool)
                    .arg(format!("@{}", door.ip()))
                    .args(["-p", &door.port().to_string(), transport])
                    .args(["ec2.ap-northeast-2.amazonaws.com", "A"]),
            );
            assert_eq!((code, complaints.as_str()), (0, ""), "{said}");
            for expected in ["status: NOERROR", "10.0.12.153", "10.0.11.233", "ANSWER: 2"] {
                assert!(said.contains(expected), "{said}");
            }
            assert!(!said.contains("WARNING") && !said.contains("malformed"), "{said}");
        }
    }
}

/// Starts the built-in world; another one on this machine may hold its ports for a moment.
fn built_in(arguments: &[&str]) -> Program {
    let mut last = String::new();
    for _ in 0..20 {
        let program = Program::start(plustwo().args(arguments));
        if program.wait_for("serving generation 1").is_some() {
            return program;
        }
        last = program.said();
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    panic!("the built-in world does not start:\n{last}");
}

#[test]
fn built_in_world_says_what_it_is_and_answers_what_it_offers() {
    let _alone = BUILT_IN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for arguments in [&[][..], &["run"]] {
        let mut program = built_in(arguments);
        let said = program.said();
        let first = said.lines().next().expect("it says something");
        assert!(first.contains("built-in example world") && first.contains("nothing of this machine"), "{first}");
        for noun in ["hub", "vpce-", "secretsmanager.ap-northeast-2.amazonaws.com", "127.0.0."] {
            assert!(said.contains(noun), "it does not say {noun}:\n{said}");
        }
        let offers: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("dig ")).collect();
        assert!(offers.len() >= 3, "three dig lines to try:\n{said}");
        if need_tool("dig").is_some() {
            for offer in &offers {
                // As a user pastes it, comment and all.
                let (code, stdout, stderr) = outcome(Command::new("sh").args(["-c", offer]));
                assert_eq!(code, 0, "{offer}: {stdout}{stderr}");
                assert_eq!(stdout.matches("status: NOERROR").count(), 1, "{offer}: {stdout}");
                assert_eq!(stdout.matches("status: ").count(), 1, "{offer} asks one question: {stdout}");
                assert!(!stdout.contains("ANSWER: 0"), "{offer}: {stdout}");
            }
        }
        program.signal("TERM");
        let (status, said) = program.wait();
        assert_eq!(status.code(), Some(0), "{said}");
    }
}

#[test]
fn sigint_ends_it_with_0() {
    let (mut program, _file) = serve("s1-interface-endpoint", LOOPBACKS[0]);
    program.signal("INT");
    assert_eq!(program.wait().0.code(), Some(0));
}

#[test]
fn second_daemon_on_the_same_door_gets_the_error() {
    for loopback in LOOPBACKS {
        let (_program, file) = serve("s5-inbound-endpoint", loopback);
        let (code, stdout, stderr) = outcome(plustwo().args(["run", "--config"]).arg(file.path()));
        assert_eq!(code, 1, "{stderr}");
        assert_eq!(stdout, "");
        for door in &file.doors {
            assert!(stderr.contains(&door.to_string()), "every door that is taken is named:\n{stderr}");
        }
        assert!(!stderr.contains("serving"), "{stderr}");
    }
}

#[test]
fn a_door_that_is_taken_leaves_the_others_shut() {
    let taken = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let file = WorldFile::new("s5-inbound-endpoint", LOOPBACKS[0]);
    let text = std::fs::read_to_string(file.path()).expect("just written");
    let taken_door = taken.local_addr().expect("bound").to_string();
    std::fs::write(file.path(), text.replace(&file.doors[2].to_string(), &taken_door)).expect("a file can be written");
    let (code, _, stderr) = outcome(plustwo().args(["run", "--config"]).arg(file.path()));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&taken_door), "{stderr}");
    assert!(!stderr.contains("serving"), "{stderr}");
}

#[test]
fn usage_errors_are_2() {
    for arguments in [&["ruin"][..], &["run", "--confg", "x"], &["check", "--config"], &["run", "extra"]] {
        let (code, stdout, stderr) = outcome(plustwo().args(arguments));
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

/// Writes a file and gives its path.
fn file_with(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("plustwo.toml");
    std::fs::write(&path, text).expect("a file can be written");
    path
}

#[test]
fn check_says_0_or_1_and_every_problem() {
    let fine = WorldFile::new("s4-many-vpcs-after", LOOPBACKS[0]);
    let (code, _, stderr) = outcome(plustwo().args(["check", "--config"]).arg(fine.path()));
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = outcome(plustwo().arg("check"));
    assert_eq!(code, 0, "the built-in world is fine: {stderr}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = file_with(folder.path(), BAD);
    for command in ["check", "run"] {
        let (code, stdout, stderr) = outcome(plustwo().args([command, "--config"]).arg(&path));
        assert_eq!(code, 1, "{command}: {stderr}");
        let said = stdout + &stderr;
        for problem in ["vpc-nowhere", "listne", "plustwo.toml"] {
            assert!(said.contains(problem), "{command} names every problem at once, {problem} too:\n{said}");
        }
        assert!(!said.contains("serving"), "{command}: {said}");
    }
    let (code, _, stderr) = outcome(plustwo().args(["check", "--config"]).arg(folder.path().join("absent.toml")));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("absent.toml"), "{stderr}");
}

/// Two mistakes: a key that is not known, and a VPC that is not there.
const BAD: &str = r#"
version = 1
region = "us-west-2"

[[vpc]]
id = "vpc-a"
listne = ["127.0.0.1:5300"]

[[hosted_zone]]
id = "Z1"
name = "corp.example"
vpcs = ["vpc-nowhere"]
"#;

#[test]
fn s5_seven_addresses_are_an_error_and_one_a_warning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let with = |count: usize| {
        let listen: Vec<String> = (1..=count).map(|index| format!("127.0.0.{index}:5399")).collect();
        format!(
            "version = 1\nregion = \"us-west-2\"\n[upstream]\ntargets = []\n[[vpc]]\nid = \"vpc-a\"\n\
             [[inbound_endpoint]]\nid = \"rslvr-in-1\"\nvpc = \"vpc-a\"\nlisten = {listen:?}\n"
        )
    };
    let check = |count: usize| {
        let (code, stdout, stderr) =
            outcome(plustwo().args(["check", "--config"]).arg(file_with(folder.path(), &with(count))));
        (code, stdout + &stderr)
    };
    let (code, said) = check(7);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("rslvr-in-1") || said.contains("listen"), "{said}");
    let (code, said) = check(1);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("warning"), "{said}");
    for count in [2, 6] {
        let (code, said) = check(count);
        assert_eq!(code, 0, "{said}");
        assert!(!said.contains("rslvr-in-1") || !said.contains("warning"), "{said}");
    }
}

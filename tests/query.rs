//! `plustwo query` against the real program: what it shows is what dig shows, and what is wrong is said.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use support::binary::{Program, dig, free_port, outcome, plustwo};
use support::need_tool;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A zone with a name for each kind of record whose presentation could differ.
const ZONE: &str = "www 60 A 10.0.0.1\nwww 60 A 10.0.0.2\nv6 60 AAAA 2001:db8::1\nmail 60 MX 10 www\n\
                    text 60 TXT \"two words\" \"a \\\"quote\\\"\"\nca 60 CAA 0 issue \"ca.example.net\"\n\
                    _sip._tcp 60 SRV 1 2 5060 www\nalias 60 CNAME www\nservice 60 HTTPS 1 . alpn=h2 port=8443\n";

/// Serves the zone at a door; its upstream is nobody.
fn serve() -> (Program, SocketAddr, tempfile::TempDir) {
    let large: String = (0..20).map(|number| format!("large 60 TXT \"{number:0>200}\"\n")).collect();
    for _ in 0..8 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let door = free_port(LOOPBACK);
        let text = format!(
            "version = 1\nregion = \"eu-central-1\"\nupstream = {{ targets = [] }}\n[[vpc]]\nid = \"vpc-0a\"\n\
             listen = [\"{door}\"]\n[[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example.com\"\nvpcs = [\"vpc-0a\"]\nfile = \"zone\"\n"
        );
        std::fs::write(folder.path().join("plustwo.toml"), text).expect("written");
        std::fs::write(folder.path().join("zone"), format!("{ZONE}{large}")).expect("written");
        let program = Program::start(plustwo().args(["run", "--config"]).arg(folder.path().join("plustwo.toml")));
        if program.wait_for("serving generation 1").is_some() {
            return (program, door, folder);
        }
    }
    panic!("no free port");
}

/// What the command says of a question; it must succeed.
#[track_caller]
fn query(door: SocketAddr, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = outcome(plustwo().arg("query").args(arguments).args(["--at", &door.to_string()]));
    assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// The records of the answer, blanks made one, in order.
fn answers(said: &str) -> Vec<String> {
    let section = said.split(";; ANSWER SECTION:\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

#[test]
fn a_reply_is_shown_whole() {
    let (_program, door, _folder) = serve();
    let said = query(door, &["www.corp.example.com"]);
    for words in [
        "opcode: QUERY, status: NOERROR, id: ",
        ";; flags: qr rd ra; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1\n",
        "; EDNS: version: 0, flags:; udp: 1232\n",
        ";www.corp.example.com.\t\tIN\tA\n",
        "www.corp.example.com.\t60\tIN\tA\t10.0.0.1\n",
        &format!(";; SERVER: {door} (UDP)\n"),
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    assert!(query(door, &["www.corp.example.com", "A", "--tcp"]).contains("(TCP)\n"));
    let large = query(door, &["large.corp.example.com", "TXT"]);
    assert!(large.contains("(TCP, for it did not fit a datagram)") && large.contains("ANSWER: 20,"), "{large}");
    let nothing = query(door, &["nothing.corp.example.com", "aaaa"]);
    assert!(
        nothing.contains("status: NXDOMAIN") && nothing.contains(";; AUTHORITY SECTION:\ncorp.example.com."),
        "{nothing}"
    );
    let refused = query(door, &["www.public.example"]);
    assert!(refused.contains("status: REFUSED") && refused.contains("; EDE: "), "{refused}");
    assert!(
        refused.lines().any(|line| line.starts_with("; EDE: ") && line.ends_with(')') && line.contains(": (")),
        "{refused}"
    );
}

#[test]
fn records_are_written_as_dig_writes_them() {
    let (_program, door, _folder) = serve();
    let Some(tool) = need_tool("dig") else { return };
    for (name, rtype) in [
        ("www", "A"),
        ("v6", "AAAA"),
        ("mail", "MX"),
        ("text", "TXT"),
        ("ca", "CAA"),
        ("_sip._tcp", "SRV"),
        ("alias", "A"),
        ("large", "TXT"),
    ] {
        let name = format!("{name}.corp.example.com");
        let (ours, theirs) = (query(door, &[&name, rtype]), dig(&tool, door, &[&name, rtype]));
        assert!(!answers(&ours).is_empty(), "{ours}");
        assert_eq!(answers(&ours), answers(&theirs), "{name} {rtype}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let closed = free_port(LOOPBACK).to_string();
    for (arguments, code, words) in [
        (&["a..b"][..], 1, "is not a domain name"),
        (&["a", "NONE"], 1, "is not a type"),
        (&["a", "A", "--at", "nowhere"], 2, "write an address"),
        (&["a", "A", "--tcp", "--at", &closed], 1, "nobody listens there"),
        (&["a", "A", "--at", &closed], 1, "nobody listens there"),
    ] {
        let (found, stdout, stderr) = outcome(plustwo().arg("query").args(arguments));
        assert!(found == code && stderr.contains(words), "{arguments:?}: {found} {stdout}{stderr}");
    }
}

//! What a reload reads again, and what it leaves alone: the real program with forty zone files, edited one after another;
//! after each edit every name is asked for.

mod support;

use hickory_proto::op::Message;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use support::ask::{self, Question};
use support::binary::{Program, free_port, plustwo};
use support::present::present;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Zones with a file each.
const ZONES: u8 = 40;
/// Names of each file.
const NAMES: u8 = 5;
/// Zones that are read each time: one of which there is a warning, and one with a record beside its file.
const READ_ALWAYS: u32 = 2;
const WARNED: u8 = 2;
const BESIDE: u8 = 3;
/// The zone whose file includes another one.
const INCLUDING: u8 = 1;

/// Zone files, as they should be served.
struct World {
    folder: tempfile::TempDir,
    door: SocketAddr,
    generation: u32,
    /// Zones in the order of the configuration, with the last octet of their addresses.
    zones: Vec<(u8, u8)>,
    /// The last octet of the addresses that are included.
    included: u8,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn write_configuration(&self) {
        let mut text = format!(
            "version = 1\nregion = \"eu-central-1\"\n[upstream]\ntargets = []\n[server]\nwatch = false\n[[vpc]]\n\
             id = \"vpc-0a\"\nlisten = [\"{}\"]\n",
            self.door
        );
        for (zone, _) in &self.zones {
            let _ = write!(
                text,
                "[[hosted_zone]]\nid = \"Z{zone}\"\nname = \"z{zone}.example\"\nvpcs = [\"vpc-0a\"]\nfile = \"zones/{zone}\"\n"
            );
            if *zone == BESIDE {
                text += "records = [{ name = \"beside\", type = \"A\", values = [\"10.0.0.9\"], ttl = 60 }]\n";
            }
        }
        replace(&self.path("plustwo.toml"), &text);
    }

    fn write_zone(&self, zone: u8, last: u8) {
        let mut text: String = (0..NAMES).map(|name| format!("n{name} 60 A 10.{zone}.{name}.{last}\n")).collect();
        match zone {
            INCLUDING => text += "$INCLUDE zones/included\n",
            WARNED => text += "n0 61 A 10.2.9.9\n",
            _ => {}
        }
        replace(&self.path(&format!("zones/{zone}")), &text);
    }

    fn write_included(&self) {
        replace(&self.path("zones/included"), &format!("included 60 A 10.0.1.{}\n", self.included));
    }

    /// Changes what a zone says.
    fn edit(&mut self, zone: u8, last: u8) {
        self.write_zone(zone, last);
        self.zones.iter_mut().filter(|(known, _)| *known == zone).for_each(|(_, known)| *known = last);
    }

    fn start(&mut self, arguments: &[&str]) -> Program {
        for _ in 0..8 {
            self.write_configuration();
            let mut command = plustwo();
            command.args(["run", "--config"]).arg(self.path("plustwo.toml"));
            command.arg("--state-directory").arg(self.state()).args(arguments);
            let program = Program::start(&mut command);
            if program.wait_for("serving generation 1").is_some() {
                self.generation = 1;
                return program;
            }
            assert!(program.said().contains("cannot listen"), "it does not serve:\n{}", program.said());
            self.door = free_port(LOOPBACK);
        }
        panic!("no free port");
    }

    /// Has it all taken up, and says how many zones were read.
    fn reload(&mut self, program: &Program) -> u32 {
        program.signal("HUP");
        self.generation += 1;
        let event = format!("reloaded generation={} ", self.generation);
        let said = program.wait_for(&event).unwrap_or_else(|| panic!("it ended:\n{}", program.said()));
        let line = said.lines().find(|line| line.contains(&event)).expect("it was waited for");
        let (_, count) = line.split_once("zones_read=").expect("how many were read");
        count.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Asks for every name.
    fn check(&self) {
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for (zone, last) in &self.zones {
            expected.extend(
                (0..NAMES).map(|name| (format!("n{name}.z{zone}.example"), format!("10.{zone}.{name}.{last}"))),
            );
            expected.insert(format!("gone.z{zone}.example"), String::new());
        }
        expected.insert("beside.z3.example".to_owned(), "10.0.0.9".to_owned());
        expected.insert("included.z1.example".to_owned(), format!("10.0.1.{}", self.included));
        for (name, address) in expected {
            if name == "n0.z2.example" {
                continue;
            }
            let reply = ask::over_udp(LOOPBACK, self.door, &Question::new(&name, "A").octets(7)).expect("it answers");
            let message = Message::from_vec(&reply).expect("hickory-proto reads it");
            let found: Vec<String> = message.answers.iter().map(present).collect();
            let wanted: Vec<String> = match &*address {
                "" => Vec::new(),
                address => vec![format!("{name}. 60 IN A {address}")],
            };
            assert_eq!(found, wanted, "in generation {}", self.generation);
        }
    }
}

/// Replaces a file as editors do: whole, by a rename.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file can be written");
    std::fs::rename(&new, path).expect("a file can be renamed");
}

#[test]
fn only_zones_whose_files_changed_are_read_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let zones = (0..ZONES).map(|zone| (zone, 1)).collect();
    let mut world = World { folder, door: free_port(LOOPBACK), generation: 0, zones, included: 1 };
    for name in ["zones", "state"] {
        std::fs::create_dir(world.path(name)).expect("a folder can be made");
    }
    world.write_included();
    (0..ZONES).for_each(|zone| world.write_zone(zone, 1));
    let mut program = world.start(&[]);
    world.check();
    assert_eq!(world.reload(&program), READ_ALWAYS, "nothing has changed");
    world.check();
    world.edit(5, 2);
    assert_eq!(world.reload(&program), READ_ALWAYS + 1);
    world.check();
    world.included = 2;
    world.write_included();
    assert_eq!(world.reload(&program), READ_ALWAYS + 1, "the zone that includes it");
    world.check();
    world.write_zone(6, 1);
    assert_eq!(world.reload(&program), READ_ALWAYS, "another file that says the same");
    world.check();
    // Zones that go and come, and stand elsewhere: the last one has to move into the place of one that went.
    world.zones.remove(7);
    world.write_zone(200, 1);
    world.zones.insert(0, (200, 1));
    world.write_configuration();
    assert_eq!(world.reload(&program), READ_ALWAYS + 1);
    world.check();
    world.zones.drain(8..12);
    world.zones.reverse();
    world.write_configuration();
    assert_eq!(world.reload(&program), READ_ALWAYS);
    world.check();
    // While one is broken nothing is taken up; then it is only what is different from what is served.
    world.write_zone(20, 1);
    std::fs::write(world.path("zones/20"), "n0 60 A 10.20.0.1\nn1 60 A 10.20\n").expect("a file can be written");
    program.signal("HUP");
    assert!(program.wait_for("reload failed").is_some());
    world.check();
    world.write_zone(20, 1);
    world.edit(21, 3);
    assert_eq!(world.reload(&program), READ_ALWAYS + 1);
    world.check();
    // A file that lies where it may not is refused, whatever is in it.
    let outside = tempfile::tempdir().expect("a temporary folder");
    let (inside, copy) = (world.path("zones/22"), outside.path().join("22"));
    std::fs::copy(&inside, &copy).expect("a file can be copied");
    std::fs::remove_file(&inside).expect("a file can be removed");
    std::os::unix::fs::symlink(&copy, &inside).expect("a link can be made");
    program.signal("HUP");
    assert!(program.wait_for("lies outside of the configuration's folder").is_some());
    world.write_zone(22, 1);
    assert_eq!(world.reload(&program), READ_ALWAYS);
    world.check();
    // What was kept of it all is all of it.
    program.signal("TERM");
    assert_eq!(program.wait().0.code(), Some(0));
    let index = std::fs::read_to_string(world.state().join("last-good/index")).expect("it was kept");
    assert_eq!(index.lines().count(), 3 + 1 + world.zones.len() + 1, "{index}");
    std::fs::write(world.path("zones/30"), "no zone").expect("a file can be written");
    let _served = world.start(&["--last-good"]);
    world.check();
}

//! What becomes of a running daemon when its files are spoilt and its surroundings fail: it serves on, says what is wrong in
//! the log, in `status` and in a metric, and takes up what is mended. `docs/operating.md` has the table of these faults.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::alone::alone;
use support::binary::{Program, outcome, plustwo};
use support::operated::{Operated, Start, configuration, number_at, remove, replace, wait_until, zone};
use support::{need_tool, skip};

/// Forwards nothing.
const ALONE: &str = "upstream = { targets = [] }\n";

/// Makes something of a file that is there.
type Spoil = fn(&Path);

/// Nobody may read it any more.
fn take_away(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o000)).expect("it is ours");
}

/// As long as this says, though there is nothing in it.
fn stretch(path: &Path, octets: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("it is there");
    file.set_len(octets).expect("the file system has files with holes");
}

fn link(path: &Path, to: &str) {
    remove(path);
    symlink(to, path).expect("a link can be made");
}

fn pipe(path: &Path) {
    remove(path);
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo is there").success());
}

fn folder(path: &Path) {
    remove(path);
    fs::create_dir(path).expect("a folder can be made");
}

/// The text of a file that is good, with something done to it.
fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).expect("it is good until now");
    replace(path, change(text));
}

/// How a configuration can be spoilt, and words that are said of it.
const SPOILT_CONFIGURATIONS: [(&str, Spoil, &str); 17] = [
    ("a syntax error", |path| edit(path, |text| text.replace("version = 1", "version = = 1")), "not TOML"),
    ("an unknown key", |path| edit(path, |text| text.replace("file =", "flie =")), "unknown key `flie`"),
    (
        "a value of another type",
        |path| edit(path, |text| text.replace("\"vpc-0a\"]", "7]")),
        "where a list of texts belongs",
    ),
    (
        "half of it",
        |path| edit(path, |text| text[..text.rfind("vpcs = [\"").expect("written so") + 10].to_owned()),
        "not TOML",
    ),
    ("nothing in it", |path| replace(path, ""), "`version` is missing"),
    ("gone", remove, "No such file"),
    ("nobody may read it", take_away, "Permission denied"),
    ("not UTF-8", |path| replace(path, b"version = 1 # caf\xe9\n"), "valid UTF-8"),
    ("UTF-16", |path| replace(path, b"\xff\xfev\0e\0r\0"), "valid UTF-8"),
    ("zeros, as after a power failure", |path| edit(path, |text| "\0".repeat(text.len())), "not TOML"),
    ("a folder", folder, "it is not a file"),
    ("a pipe", pipe, "it is not a file"),
    ("a device", |path| link(path, "/dev/zero"), "it is not a file"),
    ("a link to nothing", |path| link(path, "nowhere"), "No such file"),
    ("a link to itself", |path| link(path, "plustwo.toml"), "symbolic links"),
    ("far too long", |path| stretch(path, 65 << 20), "the configuration has 68157440 octets"),
    ("without end", |path| stretch(path, 2 << 30), "it is over 1073741824 octets"),
];

/// How a zone file can be spoilt, and words that are said of it.
const SPOILT_ZONES: [(&str, Spoil, &str); 17] = [
    ("a syntax error", |path| replace(path, "www 60 A 10.0.0.300\n"), "10.0.0.300"),
    ("half of it", |path| replace(path, "www 60 A 10.0.0.9\ndb 60 A"), "zone:2:"),
    ("nothing in it", |path| replace(path, ""), "is empty"),
    ("gone", remove, "No such file"),
    ("nobody may read it", take_away, "Permission denied"),
    ("not UTF-8", |path| replace(path, b"www 60 A 10.0.0.9 ; caf\xe9\n"), "valid UTF-8"),
    ("zeros, as after a power failure", |path| edit(path, |text| "\0".repeat(text.len())), "zone:1:"),
    ("a folder", folder, "it is not a file"),
    ("a pipe", pipe, "it is not a file"),
    ("a device", |path| link(path, "/dev/zero"), "lies outside"),
    ("a link to nothing", |path| link(path, "nowhere"), "No such file"),
    ("a link out of the folder", |path| link(path, "/etc/hostname"), "lies outside"),
    ("it includes itself", |path| replace(path, "www 60 A 10.0.0.9\n$INCLUDE zone\n"), "would include itself"),
    ("it includes what is not there", |path| replace(path, "$INCLUDE nowhere\n"), "zone:1:"),
    ("a record of another zone", |path| replace(path, "www.example.net. 60 A 10.0.0.9\n"), "lies outside the zone"),
    ("a CNAME beside other data", |path| replace(path, "www 60 A 10.0.0.9\nwww 60 CNAME db\n"), "beside"),
    ("without end", |path| stretch(path, 2 << 30), "it is over 1073741824 octets"),
];

/// A prefix without root's right to read whatever it likes; nothing where that is not there anyhow.
fn as_others_read() -> &'static [&'static str] {
    let is_root = fs::metadata("/proc/self").expect("proc(5)").uid() == 0;
    if is_root { &["setpriv", "--bounding-set=-dac_override,-dac_read_search"] } else { &[] }
}

/// Spoils a file in every way, one after the other, and mends it after each.
fn spoil_and_mend(file: &str, ways: &[(&str, Spoil, &str)]) {
    let Some(_) = need_tool("setpriv") else { return };
    let served = Operated::start(Start { through: as_others_read(), settings: ALONE, ..Start::default() });
    let good = fs::read_to_string(served.at("plustwo.toml")).expect("it is there");
    let asked = served.under_queries(|| {
        for ((what, spoil, words), number) in ways.iter().zip(1..) {
            spoil(&served.at(file));
            served.program.signal("HUP");
            wait_until(what, || served.status()["reload_failures"] == number);
            let status = served.status();
            let reason = status["last_error"].as_str().unwrap_or_default();
            assert!(reason.contains(words), "{what}: {words:?} is not in {reason}");
            assert_eq!(status["generation"], number, "{what}");
            assert_eq!(served.answer(), Some(number), "{what}: what was good is served on");
            assert_eq!(served.metric("plustwo_last_reload_successful"), 0.0, "{what}");
            assert_eq!(served.metric("plustwo_reloads_total{result=\"broken\"}"), f64::from(number), "{what}");
            let said = served
                .says(&format!("reload failed: the file has errors; the old one is still served generation={number}"));
            assert!(said.contains(words), "{what}: {said}");
            replace(&served.at("plustwo.toml"), &good);
            replace(&served.at("zone"), zone(number + 1));
            served.program.signal("HUP");
            wait_until(what, || served.status()["generation"] == number + 1);
            assert_eq!(served.answer(), Some(number + 1), "{what}, mended");
            assert_eq!(served.metric("plustwo_last_reload_successful"), 1.0, "{what}, mended");
            assert!(served.status()["last_error"].is_null());
        }
    });
    assert!(asked > 10, "{asked}");
}

#[test]
fn a_spoilt_configuration_changes_nothing_until_it_is_mended() {
    spoil_and_mend("plustwo.toml", &SPOILT_CONFIGURATIONS);
}

#[test]
fn a_spoilt_zone_file_changes_nothing_until_it_is_mended() {
    spoil_and_mend("zone", &SPOILT_ZONES);
}

#[test]
fn a_byte_order_mark_is_no_harm() {
    let served = Operated::start(Start { settings: ALONE, ..Start::default() });
    edit(&served.at("plustwo.toml"), |text| format!("\u{feff}{text}"));
    replace(&served.at("zone"), zone(2));
    served.program.signal("HUP");
    served.says("reloaded generation=2 ");
    assert_eq!(served.answer(), Some(2));
    replace(&served.at("zone"), format!("\u{feff}{}", zone(3)));
    served.program.signal("HUP");
    served.says("reloaded generation=3 ");
    assert_eq!(served.answer(), Some(3));
}

#[test]
fn a_file_that_is_refused_for_where_it_lies_is_not_tried_again_and_again() {
    let served = Operated::start(Start { settings: ALONE, watch: true, ..Start::default() });
    let outside = served.folder.path().join("outside");
    fs::write(&outside, zone(9)).expect("written");
    link(&served.at("zone"), "../outside");
    served.says("lies outside");
    // It would be tried four times a second.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let failures = served.status()["reload_failures"].as_u64().expect("a number");
        assert!(failures <= 3, "{failures} reloads failed, for one edit");
        assert_eq!(served.answer(), Some(1));
        std::thread::sleep(Duration::from_millis(50));
    }
    replace(&served.at("zone"), zone(2));
    served.answers(2);
}

#[test]
fn a_thousand_edits_a_second_are_a_few_reloads() {
    let served = Operated::start(Start { settings: ALONE, watch: true, ..Start::default() });
    served.under_queries(|| {
        let began = Instant::now();
        for edit in 0..1000u16 {
            replace(&served.at("zone"), zone((edit % 200) as u8 + 2));
            let due = Duration::from_millis(u64::from(edit));
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        replace(&served.at("zone"), zone(250));
        served.answers(250);
    });
    let status = served.status();
    let attempts = ["reloads", "reload_failures"].map(|key| status[key].as_u64().expect("a number"));
    assert!(attempts.iter().sum::<u64>() < 50, "{attempts:?}");
}

#[test]
fn a_storm_of_signals_and_commands_ends_with_the_newest() {
    let served = Operated::start(Start { settings: ALONE, ..Start::default() });
    served.under_queries(|| {
        let storm = format!("i=0; while [ $i -lt 2000 ]; do kill -HUP {}; i=$((i+1)); done", served.program.id());
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(Command::new("sh").args(["-c", &storm]).status().expect("sh is there").success()));
            for _ in 0..12 {
                scope.spawn(|| assert!(served.ask("POST", "/v1/reload").contains("\"reloaded\":true")));
            }
        });
        replace(&served.at("zone"), zone(2));
        served.program.signal("HUP");
        served.answers(2);
    });
}

/// Sets a limit of a running process: its soft part only, so that it can be lifted again.
fn limit(program: &Program, name: &str, value: &str) {
    let id = program.id().to_string();
    let set = Command::new("prlimit").args(["--pid", &id, &format!("--{name}={value}:")]).status();
    assert!(set.expect("prlimit is there").success());
}

#[test]
fn a_reload_without_descriptors_fails_and_the_next_one_does_not() {
    let Some(_) = need_tool("prlimit") else { return };
    let served = Operated::start(Start { settings: ALONE, ..Start::default() });
    served.under_queries(|| {
        let limits = fs::read_to_string(format!("/proc/{}/limits", served.program.id())).expect("it runs");
        let before = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("proc(5)");
        let before = before.split_whitespace().next().expect("the soft limit").to_owned();
        limit(&served.program, "nofile", "3");
        replace(&served.at("zone"), zone(2));
        served.program.signal("HUP");
        let said = served.says("reload failed");
        assert!(said.contains("Too many open files"), "{said}");
        assert_eq!(served.answer(), Some(1));
        limit(&served.program, "nofile", &before);
        served.program.signal("HUP");
        served.answers(2);
        assert_eq!(served.status()["reload_failures"], 1);
    });
}

#[test]
fn a_reload_that_would_take_more_memory_than_there_is_is_refused() {
    let Some(_) = need_tool("prlimit") else { return };
    let served = Operated::start(Start { settings: ALONE, ..Start::default() });
    let size = || {
        let status = fs::read_to_string(format!("/proc/{}/status", served.program.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("proc(5)");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    };
    let large: String = (0..150_000).map(|name| format!("n{name} 60 A 10.1.0.1\n")).collect();
    assert!(large.len() > 3 << 20);
    served.under_queries(|| {
        limit(&served.program, "as", &(size() + (32 << 20)).to_string());
        replace(&served.at("zone"), zone(2) + &large);
        served.program.signal("HUP");
        let said = served.says("reload failed");
        assert!(said.contains("MiB are left below its limit of address space"), "{said}");
        assert_eq!((served.answer(), served.status()["generation"].as_u64()), (Some(1), Some(1)));
        limit(&served.program, "as", "unlimited");
        served.program.signal("HUP");
        served.answers(2);
    });
}

#[test]
fn names_that_stay_are_not_put_together_anew_where_there_is_no_memory_for_that() {
    let Some(_) = need_tool("prlimit") else { return };
    let served = Operated::start(Start { settings: ALONE, ..Start::default() });
    let string = "x".repeat(250);
    let file = |names: u32| (0..names).map(|name| format!("n{name} 60 TXT {string}\n")).collect::<String>();
    let table = |id: &str| {
        format!("[[hosted_zone]]\nid = \"{id}\"\nname = \"{id}.test\"\nvpcs = [\"vpc-0a\"]\nfile = \"{id}\"\n")
    };
    fs::write(served.at("stays"), file(60_000)).expect("written");
    fs::write(served.at("goes"), file(12_000)).expect("written");
    // The times of files that are younger than this tell nothing: what is in them would be read, and there is no room.
    std::thread::sleep(Duration::from_millis(1500));
    let without = fs::read_to_string(served.at("plustwo.toml")).expect("it is there") + &table("stays");
    replace(&served.at("plustwo.toml"), without.clone() + &table("goes"));
    served.program.signal("HUP");
    served.says("reloaded generation=2 ");
    served.under_queries(|| {
        let room = || fs::read_to_string(format!("/proc/{}/status", served.program.id())).expect("it runs");
        let size = room().lines().find_map(|line| line.strip_prefix("VmSize:").map(str::to_owned)).expect("proc(5)");
        let size = size.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10;
        // Half of what the names that stay take.
        limit(&served.program, "as", &(size + (8 << 20)).to_string());
        replace(&served.at("plustwo.toml"), &without);
        served.program.signal("HUP");
        let said = served.says("reload refused");
        assert!(said.contains("once more") && said.contains("MiB are left below its limit of address space"), "{said}");
        assert_eq!((served.answer(), served.status()["generation"].as_u64()), (Some(1), Some(2)));
        limit(&served.program, "as", "unlimited");
        served.program.signal("HUP");
        assert!(served.says("reloaded generation=3 ").contains("zones_read=0 "));
    });
}

#[test]
fn a_socket_that_another_one_has_made_meanwhile_stays() {
    let mut served = Operated::start(Start { settings: ALONE, ..Start::default() });
    // Somebody tidies up: who answers there cannot be reached any more, and serves on.
    fs::remove_file(served.socket()).expect("it is there");
    let (code, _, said) = outcome(plustwo().arg("status").arg("--socket").arg(served.socket()));
    assert!(code == 1 && said.contains("cannot ask plustwo at"), "{said}");
    assert_eq!(served.answer(), Some(1));
    // Another daemon comes to the same place before the first one leaves.
    let mut other = Operated::start(Start { settings: ALONE, ..Start::default() });
    let text = configuration(served.folder.path(), other.door, Start { settings: ALONE, ..Start::default() });
    replace(&other.at("plustwo.toml"), text);
    assert_eq!(other.end("TERM").0, Some(0));
    let other = other.restart(Start::default());
    assert!(fs::exists(served.socket()).expect("a folder"));
    assert_eq!(served.end("TERM").0, Some(0));
    let (code, said, _) = outcome(plustwo().arg("status").arg("--socket").arg(served.socket()));
    assert!(code == 0 && said.contains(&format!("process {},", other.program.id())), "{said}");
}

#[test]
fn a_daemon_without_stderr_serves() {
    let mut first = Operated::start(Start { settings: ALONE, ..Start::default() });
    assert_eq!(first.end("TERM").0, Some(0));
    let Operated { folder, door, .. } = first;
    let through = ["sh", "-c", "exec \"$0\" \"$@\" 2>&- >&- <&-"];
    let start = Start { through: &through, ..Start::default() };
    let served = Operated { program: Program::start(&mut Operated::command(folder.path(), start)), folder, door };
    wait_until("it serves", || fs::exists(served.socket()).is_ok_and(|there| there) && number_at(door) == Some(1));
    // Words for the log must not go to what has taken the place of a descriptor that was closed.
    for number in 2..6 {
        replace(&served.at("zone"), if number % 2 == 0 { "spoilt".to_owned() } else { zone(number) });
        served.program.signal("HUP");
        let attempts = |status: &serde_json::Value| status["reloads"].as_u64().zip(status["reload_failures"].as_u64());
        wait_until("it is tried", || {
            attempts(&served.status()).is_some_and(|(good, bad)| good + bad == u64::from(number) - 1)
        });
    }
    served.answers(5);
}

/// A command that lets the program behind it have no watch of a file: `fs.inotify.max_user_instances` of a user namespace of
/// its own.
const WITHOUT_WATCHES: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"",
];

#[test]
fn without_watches_files_are_looked_at_now_and_then() {
    let Some(_) = need_tool("unshare") else { return };
    let [unshare, arguments @ ..] = WITHOUT_WATCHES;
    if !Command::new(unshare).args(arguments).arg("true").status().expect("it is there").success() {
        return skip("this machine gives nobody a user namespace");
    }
    let served = Operated::start(Start { through: &WITHOUT_WATCHES, settings: ALONE, watch: true, ..Start::default() });
    served.says("the system does not tell of all changes of files");
    for number in [2, 3] {
        // Files are looked at after each reload too, a quarter of a second later; nothing says when that is over.
        std::thread::sleep(Duration::from_secs(1));
        replace(&served.at("zone"), zone(number));
        served.answers(number);
    }
    // Once there are some again, the next look has them.
    let Some(_) = need_tool("nsenter") else { return };
    let id = served.program.id().to_string();
    let raised = "echo 100 > /proc/sys/user/max_inotify_instances";
    let status = Command::new("nsenter")
        .args(["--target", &id, "--user", "--preserve-credentials", "sh", "-c", raised])
        .status();
    assert!(status.expect("it is there").success());
    let watches = || {
        let descriptors = fs::read_dir(format!("/proc/{id}/fdinfo")).expect("it runs");
        let texts = descriptors.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).sum::<usize>()
    };
    assert_eq!(watches(), 0);
    replace(&served.at("zone"), zone(4));
    served.answers(4);
    wait_until("the kernel tells again", || watches() > 0);
}

#[test]
fn a_resolv_conf_that_is_gone_or_empty_for_a_while_changes_nothing() {
    alone("a_resolv_conf_that_is_gone_or_empty_for_a_while_changes_nothing", || {
        assert!(Command::new("ip").args(["link", "set", "dev", "lo", "up"]).status().expect("ip is there").success());
        let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/etc"]).status();
        assert!(mounted.expect("mount is there").success());
        let resolv_conf = Path::new("/etc/resolv.conf");
        fs::write(resolv_conf, "nameserver 192.0.2.53\n").expect("it is ours");
        let served = Operated::start(Start { watch: true, ..Start::default() });
        let asked = |served: &Operated| {
            let upstreams: serde_json::Value = serde_json::from_str(&served.ask("GET", "/v1/upstreams")).expect("JSON");
            upstreams["contexts"][0]["targets"][0]["target"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(asked(&served), "192.0.2.53:53");
        served.under_queries(|| {
            for (spoilt, mended) in
                [(None, "192.0.2.54"), (Some(""), "192.0.2.55"), (Some("search example\n"), "192.0.2.56")]
            {
                let (before, asked_before) = (served.status(), asked(&served));
                match spoilt {
                    None => remove(resolv_conf),
                    Some(text) => replace(resolv_conf, text),
                }
                wait_until("it is read again", || served.status()["generation"] != before["generation"]);
                assert_eq!(asked(&served), asked_before, "{spoilt:?}");
                assert!(served.says("the name servers of before are asked on").contains("resolv.conf"));
                replace(resolv_conf, format!("nameserver {mended}\n"));
                wait_until("it is taken up", || asked(&served) == format!("{mended}:53"));
            }
        });
    });
}

//! Forwarders as Debian has them, each with its recipe where its first line says that it belongs.

use crate::support::binary::Program;
use crate::support::need_tool;
use crate::world::{World, base, read, run, tool, wait_for_port_53, write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Who forwards to plustwo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarder {
    Unbound,
    Bind,
    Dnsmasq,
    /// Knot Resolver 5, with a configuration in Lua.
    Knot,
    PowerDns,
    Resolved,
    /// With a dnsmasq that it starts itself.
    NetworkManager,
}

impl Forwarder {
    /// Where clients ask it.
    pub(crate) fn address(self) -> IpAddr {
        IpAddr::V4(match self {
            Self::Resolved => Ipv4Addr::new(127, 0, 0, 53),
            _ => Ipv4Addr::LOCALHOST,
        })
    }

    /// Its program, and what it needs beside.
    fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Unbound => &["unbound"],
            Self::Bind => &["named"],
            Self::Dnsmasq => &["dnsmasq"],
            Self::Knot => &["kresd"],
            Self::PowerDns => &["pdns_recursor"],
            Self::Resolved => &["systemd-resolved", "resolvectl", "dbus-daemon"],
            Self::NetworkManager => &["NetworkManager", "dnsmasq", "dbus-daemon"],
        }
    }

    /// How it is started in the foreground.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Unbound => &["-d", "-c", "@FOLDER@/unbound.conf"],
            Self::Bind => &["-4", "-g", "-n", "1", "-c", "@FOLDER@/named.conf"],
            Self::Dnsmasq => &["-k", "--log-facility=-", "-C", "@FOLDER@/dnsmasq.conf"],
            Self::Knot => &["-n", "-c", "@FOLDER@/kresd.conf", "@FOLDER@"],
            Self::PowerDns => &["--config-dir=@FOLDER@"],
            Self::Resolved => &[],
            Self::NetworkManager => &["--no-daemon"],
        }
    }

    /// What stands around the recipe: a file of this folder, and where it goes.
    fn bases(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Unbound => &[("unbound.conf", "@FOLDER@/unbound.conf")],
            Self::Bind => &[("named.conf", "@FOLDER@/named.conf")],
            Self::Dnsmasq => &[("dnsmasq.conf", "@FOLDER@/dnsmasq.conf")],
            Self::Knot => &[("kresd.conf", "@FOLDER@/kresd.conf")],
            Self::PowerDns => &[("recursor.conf", "@FOLDER@/recursor.conf"), ("recursor.lua", "@FOLDER@/recursor.lua")],
            Self::Resolved => &[
                ("resolved.conf", "/etc/systemd/resolved.conf.d/debian.conf"),
                ("root.positive", "/etc/dnssec-trust-anchors.d/root.positive"),
                ("bus.conf", "@FOLDER@/bus.conf"),
            ],
            Self::NetworkManager => &[
                ("NetworkManager.conf", "/etc/NetworkManager/NetworkManager.conf"),
                ("uplink.nmconnection", "/etc/NetworkManager/system-connections/uplink.nmconnection"),
                ("bus.conf", "@FOLDER@/bus.conf"),
            ],
        }
    }

    /// Its recipe: files of packaging/recipes, and where they go.
    pub(crate) fn recipe(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Unbound => &[("unbound.conf", "/etc/unbound/unbound.conf.d/plustwo.conf")],
            Self::Bind => &[
                ("bind-options.conf", "/etc/bind/plustwo.options.conf"),
                ("bind-zones.conf", "/etc/bind/plustwo.conf"),
            ],
            Self::Dnsmasq => &[("dnsmasq.conf", "/etc/dnsmasq.d/plustwo.conf")],
            Self::Knot => &[("knot-resolver.lua", "/etc/knot-resolver/plustwo.lua")],
            Self::PowerDns => &[
                ("powerdns-recursor.conf", "/etc/powerdns/recursor.d/plustwo.conf"),
                ("powerdns-recursor.zones", "/etc/powerdns/plustwo.zones"),
                ("powerdns-recursor.lua", "/etc/powerdns/plustwo.lua"),
            ],
            Self::Resolved => &[("systemd-resolved.conf", "/etc/systemd/resolved.conf.d/plustwo.conf")],
            Self::NetworkManager => &[
                ("networkmanager.conf", "/etc/NetworkManager/conf.d/plustwo.conf"),
                ("dnsmasq.conf", "/etc/NetworkManager/dnsmasq.d/plustwo.conf"),
            ],
        }
    }

    /// The world that it starts in; none, with a loud word, where a program is not on this machine.
    pub(crate) fn world(self) -> Option<World> {
        if self.tools().iter().any(|tool| need_tool(tool).is_none()) {
            return None;
        }
        match self {
            // It brings links up, and leaves alone those that are.
            Self::NetworkManager => World::with_an_uplink_that_is_down(),
            _ => World::start(),
        }
    }

    /// Starts it with its recipe.
    pub(crate) fn start(self, world: &World) -> Running {
        self.start_with(world, |_, recipe| recipe)
    }

    /// The same, with the files of its recipe changed: by name and text.
    pub(crate) fn start_with(self, world: &World, change: impl Fn(&str, String) -> String) -> Running {
        for (file, path) in self.recipe() {
            let text = recipe(file);
            let first = text.lines().next().unwrap_or_default();
            assert!(first.contains(path), "{file} does not say that it goes to {path}: {first}");
            write(Path::new(path), &change(file, text));
        }
        for (file, path) in self.bases() {
            let text = if *file == "root.positive" { read(&world.folder().join("root.key")) } else { base(file) };
            write(Path::new(&world.filled(path)), &world.filled(&text));
        }
        // What Knot Resolver kept the last time.
        let _ = std::fs::remove_file(world.folder().join("data.mdb"));
        let mut beside = Vec::new();
        if matches!(self, Self::Resolved | Self::NetworkManager) {
            beside.push(self.surroundings(world));
        }
        let arguments = self.arguments().iter().map(|argument| world.filled(argument));
        let program = Program::start(tool(self.tools()[0]).args(arguments).current_dir(world.folder()));
        wait_for_port_53(self.address(), &program);
        if self == Self::Resolved {
            // As DHCP or a VPN does it: the link's own resolver is for everything that the recipe does not claim.
            run("resolvectl dns uplink 192.0.2.53");
            run("resolvectl default-route uplink yes");
        }
        Running { address: self.address(), program, _beside: beside }
    }

    /// What an init would have made: a bus, folders, users.
    fn surroundings(self, world: &World) -> Program {
        if self == Self::Resolved {
            // It leaves root for its own user, whom this machine may not have; in these namespaces that is root.
            for (file, line) in
                [("/etc/passwd", "systemd-resolve:x:0:0:::/\n"), ("/etc/group", "systemd-resolve:x:0:\n")]
            {
                let others = read(Path::new(file));
                let others = others.lines().filter(|line| !line.starts_with("systemd-resolve:"));
                write(Path::new(file), &others.fold(line.to_owned(), |text, line| text + line + "\n"));
            }
        } else {
            // Without a writable /sys it does not wait for udev to tell of links.
            run("mount -t sysfs -o ro own /sys");
            run("chmod 600 /etc/NetworkManager/system-connections/uplink.nmconnection");
        }
        for folder in ["/run/dbus", "/run/systemd", "/var/lib/NetworkManager"] {
            std::fs::create_dir_all(folder).expect("a folder can be made");
        }
        let arguments = [world.filled("--config-file=@FOLDER@/bus.conf"), "--nofork".to_owned()];
        let bus = Program::start(tool("dbus-daemon").args(arguments).arg("--print-address"));
        assert!(bus.wait_for("unix:").is_some(), "no bus:\n{}", bus.said());
        bus
    }
}

/// A forwarder that runs. Dropped, it ends.
pub(crate) struct Running {
    /// Where clients ask it.
    pub(crate) address: IpAddr,
    /// The program.
    pub(crate) program: Program,
    _beside: Vec<Program>,
}

/// A file of packaging/recipes.
pub(crate) fn recipe(name: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/recipes").join(name))
}

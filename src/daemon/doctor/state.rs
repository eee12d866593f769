//! Where things are kept from one start to the next: the state directory and the file of the cache. Nothing is written: who
//! owns what, and how the file system is mounted, say whether it could be.

use super::{Finding, Scene};
use crate::daemon::port_holder::user_name;
use crate::daemon::source::folder_of;
use crate::udp::sys::effective_user;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where the packaged unit has the state directory.
pub(super) const PACKAGED: &str = "/var/lib/plustwo";
/// The bit of the mode by which an owner may write.
const OWNER_WRITES: u32 = 0o200;
/// Those by which others may.
const OTHERS_WRITE: u32 = 0o022;

/// Looks at the state directory.
pub(super) fn directory(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "state-directory";
    let folder = &scene.state_directory;
    let subject = folder.display().to_string();
    vec![match writable(folder, user(scene)) {
        Ok(()) => Finding::ok(CHECK, subject, "it is there, and can be written by who runs plustwo"),
        Err(Unwritable::Absent) => {
            Finding::skipped(CHECK, subject, "it is not there: the packaged unit makes it when it starts")
                .means("without one there is no last good configuration for `--last-good`")
                .remedy("`StateDirectory=plustwo` in the unit, or `--state-directory FOLDER`")
        }
        Err(Unwritable::Hidden(error)) => Finding::skipped(CHECK, subject, format!("you may not look at it: {error}")),
        Err(Unwritable::Because(why)) => Finding::warn(CHECK, subject, why)
            .means("the last good configuration is not kept, so `--last-good` has none to serve")
            .remedy("`StateDirectory=plustwo` in the unit makes it with the right owner"),
    }]
}

/// Looks at the file of the cache.
pub(super) fn cache_file(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "cache-file";
    let Some(file) = &scene.configuration.settings.cache.file else {
        return vec![Finding::skipped(CHECK, "", "`[cache] file` is not set, so answers are not kept over a restart")];
    };
    let subject = file.display().to_string();
    let user = user(scene);
    let remedy = "put it into the state directory: `[cache] file = \"/var/lib/plustwo/cache\"`";
    let mut findings = vec![match writable(folder_of(file), user) {
        Ok(()) => Finding::ok(CHECK, &*subject, "its folder can be written by who runs plustwo"),
        Err(Unwritable::Absent) => {
            Finding::warn(CHECK, &*subject, "its folder is not there").means("answers are not saved").remedy(remedy)
        }
        Err(Unwritable::Hidden(error)) => {
            Finding::skipped(CHECK, &*subject, format!("you may not look at it: {error}"))
        }
        Err(Unwritable::Because(why)) => {
            Finding::warn(CHECK, &*subject, why).means("answers are not saved").remedy(remedy)
        }
    }];
    if let Ok(metadata) = fs::metadata(file) {
        let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let age = age.map_or_else(|| "at a time to come".to_owned(), |age| format!("{} s ago", age.as_secs()));
        let is_strange =
            metadata.mode() & OTHERS_WRITE != 0 || user.is_some_and(|user| ![user, 0].contains(&metadata.uid()));
        findings.push(if is_strange {
            let owner = user_name(Path::new("/"), metadata.uid());
            let says = format!("the saved cache is {owner}'s, with the mode {:o}", metadata.mode() & 0o777);
            Finding::warn(CHECK, subject, says)
                .means("others decide what is answered from it, so it is not loaded")
                .remedy("remove it, and it is made anew")
        } else {
            Finding::ok(CHECK, subject, format!("{} octets, saved {age}", metadata.len()))
        });
    }
    findings
}

/// The user who runs plustwo, as far as that is known: that of the running one, else who asks, unless that is root, for
/// whom nothing can be told from owners.
fn user(scene: &Scene) -> Option<u32> {
    let running = scene.running.and_then(|pid| Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid()));
    running.or_else(|| Some(effective_user()).filter(|user| *user != 0))
}

/// Why nothing can be written into a folder.
#[derive(Debug)]
enum Unwritable {
    Absent,
    Hidden(io::Error),
    Because(String),
}

/// Whether a user can write into a folder; where it is not known who, whether its owner can.
fn writable(folder: &Path, user: Option<u32>) -> Result<(), Unwritable> {
    // systemd keeps that of a DynamicUser= below a folder that only root may look into.
    let metadata = fs::metadata(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unwritable::Absent,
        _ => Unwritable::Hidden(error),
    })?;
    if !metadata.is_dir() {
        return Err(Unwritable::Because("it is no folder".to_owned()));
    }
    if is_read_only(folder) {
        return Err(Unwritable::Because("it is on a file system that is mounted read-only".to_owned()));
    }
    let owner = metadata.uid();
    let is_theirs = user.is_none_or(|user| user == owner || user == 0);
    let all_may = metadata.mode() & 0o002 != 0;
    if all_may || (is_theirs && metadata.mode() & OWNER_WRITES != 0) || user == Some(0) {
        return Ok(());
    }
    let who =
        user.map_or_else(|| "its owner".to_owned(), |user| format!("the user {}", user_name(Path::new("/"), user)));
    let owner = user_name(Path::new("/"), owner);
    Err(Unwritable::Because(format!(
        "{who} may not write there: it is {owner}'s, with the mode {:o}",
        metadata.mode() & 0o777
    )))
}

/// Whether a path is on a file system that is mounted read-only, as this process sees it (proc(5), mountinfo).
fn is_read_only(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let of_path = mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let at = PathBuf::from(words.get(4)?);
        path.starts_with(&at).then(|| {
            (
                at.components().count(),
                words.get(5).is_some_and(|options| options.split(',').any(|option| option == "ro")),
            )
        })
    });
    // Of two at one place the later one lies above.
    of_path.max_by_key(|(depth, _)| *depth).is_some_and(|(_, is_read_only)| is_read_only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn owners_and_modes_say_who_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let own = effective_user();
        let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o700);
        assert!(writable(folder.path(), Some(own)).is_ok());
        assert!(writable(folder.path(), None).is_ok());
        let refused = writable(folder.path(), Some(own + 1)).unwrap_err();
        assert!(matches!(&refused, Unwritable::Because(why) if why.contains("with the mode 700")), "{refused:?}");
        mode(0o777);
        assert!(writable(folder.path(), Some(own + 1)).is_ok());
        assert!(matches!(writable(&folder.path().join("x"), None), Err(Unwritable::Absent)));
        assert!(is_read_only(Path::new("/sys")) || !Path::new("/sys").exists() || !is_read_only(folder.path()));
    }
}

//! `[cache] file`: a path that the daemon writes to, so that it may be no file that it reads.

use super::source::{FurtherFiles, Reading};
use super::table::Text;
use crate::config::diagnostic::quoted;
use std::path::{Component, Path, PathBuf};

/// The file of the cache, as written; none where it cannot be one, which is said. `read` is what the configuration names.
pub(super) fn settle<'t>(
    text: &Text<'t>,
    file_name: &str,
    read: &FurtherFiles,
    reading: &mut Reading<'t>,
) -> Option<PathBuf> {
    let path = Path::new(&*text.value);
    let is_file = path.file_name().is_some() && !text.value.ends_with(['/', '\0']) && !text.value.contains('\0');
    if !is_file {
        let problem = format!("`file` {} is not the path of a file", quoted(&text.value));
        let hint = "write a path, absolute or from the configuration's folder: \"/var/lib/plustwo/cache\"";
        reading.report(reading.error(text.at, LABEL, problem).hint(hint));
        return None;
    }
    let folder = Path::new(file_name).parent().unwrap_or_else(|| Path::new(""));
    let at = |path: &str| without_dots(&folder.join(path));
    let read = match read.iter().find(|(file, _)| at(file) == at(&text.value)) {
        Some((_, place)) => place.clone(),
        None if at(&text.value) == without_dots(Path::new(file_name)) => reading.place(0, "the configuration itself"),
        None => return Some(path.to_owned()),
    };
    let problem = format!("the cache would be written over {}", quoted(&text.value));
    let error = reading.error(text.at, LABEL, problem).also(read);
    reading.report(
        error.rule("the file is replaced whenever the cache is saved").hint("give the cache a file of its own"),
    );
    None
}

/// A path without `.`.
fn without_dots(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// How `[cache]` is called in messages.
const LABEL: &str = "[cache]";

//! `[cache] file`: a path that the daemon writes to, so that it may be no file that it reads.

use super::document::Document;
use super::source::Reading;
use crate::config::diagnostic::quoted;
use std::path::{Component, Path, PathBuf};

/// The file of the cache, as written; none where none is written, or where it cannot be one, which is said.
pub(super) fn settle<'t>(document: &Document<'t>, file_name: &str, reading: &mut Reading<'t>) -> Option<PathBuf> {
    let text = document.settings.cache_file.as_ref()?;
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
    let zone_files = document.hosted_zones.iter().filter_map(|zone| Some((zone.file.as_ref()?, zone.label.as_str())));
    let roots = document.upstream.tls_roots.as_ref().map(|file| (file, "[upstream], `tls_roots`"));
    let read = zone_files.chain(roots).find(|(file, _)| at(&file.value) == at(&text.value));
    let read = match read {
        Some((file, label)) => reading.place(file.at, label),
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

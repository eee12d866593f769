//! `[cache] file` and the file of `[query_log] output`: paths that the daemon writes to, so that they may be no files that it reads.

use super::source::{FurtherFiles, Reading};
use super::table::Text;
use crate::config::diagnostic::quoted;
use std::path::{Component, Path, PathBuf};

/// A file that is written to, and what is said where it cannot be one.
pub(super) struct Written {
    /// How its table is called.
    label: &'static str,
    /// And its key.
    key: &'static str,
    /// What would happen to a file that is read.
    problem: &'static str,
    /// Why.
    rule: &'static str,
    /// What to do instead.
    hint: &'static str,
    /// A path for it.
    example: &'static str,
}

/// `[cache] file`.
pub(super) const CACHE: Written = Written {
    label: "[cache]",
    key: "file",
    problem: "the cache would be written over",
    rule: "the file is replaced whenever the cache is saved",
    hint: "give the cache a file of its own",
    example: "/var/lib/plustwo/cache",
};
/// `[query_log] output`.
pub(super) const QUERY_LOG: Written = Written {
    label: "[query_log]",
    key: "output",
    problem: "the query log would be written into",
    rule: "lines are added to the file's end",
    hint: "give the query log a file of its own",
    example: "file:/var/log/plustwo/query.log",
};

/// A file that is written to, as the configuration says it; none where it cannot be one, which is said. `read` is what the
/// configuration names.
pub(super) fn settle<'t>(
    text: &Text<'t>,
    written: &Written,
    file_name: &str,
    read: &FurtherFiles,
    reading: &mut Reading<'t>,
) -> Option<PathBuf> {
    let path = Path::new(&*text.value);
    let is_file = path.file_name().is_some() && !text.value.ends_with(['/', '\0']) && !text.value.contains('\0');
    if !is_file {
        let problem = format!("`{}` {} is not the path of a file", written.key, quoted(&text.value));
        let hint = format!("write a path, absolute or from the configuration's folder: {:?}", written.example);
        reading.report(reading.error(text.at, written.label, problem).hint(hint));
        return None;
    }
    let folder = Path::new(file_name).parent().unwrap_or_else(|| Path::new(""));
    let at = |path: &str| without_dots(&folder.join(path));
    let read = match read.iter().find(|(file, _)| at(file) == at(&text.value)) {
        Some((_, place)) => place.clone(),
        None if at(&text.value) == without_dots(Path::new(file_name)) => reading.place(0, "the configuration itself"),
        None => return Some(path.to_owned()),
    };
    let problem = format!("{} {}", written.problem, quoted(&text.value));
    let error = reading.error(text.at, written.label, problem).also(read);
    reading.report(error.rule(written.rule).hint(written.hint));
    None
}

/// A path without `.`.
fn without_dots(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

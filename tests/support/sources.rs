//! The sources of the daemon, as text, for the tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// Every `src/**/*.rs`, as its path from the project's folder (with `/`) and its text, sorted by path.
pub(crate) fn rust_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    let mut sources: Vec<_> = paths.iter().map(|path| (relative(root, path), read(path))).collect();
    sources.sort();
    assert!(sources.iter().any(|(path, _)| path == "src/lib.rs"), "no src/lib.rs: the walk over src/ is broken");
    sources
}

/// Adds every Rust file below a folder.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src/ can be listed") {
        let path = entry.expect("src/ can be listed").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// A path as the tests print it.
fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).expect("src/ is below the project").to_str().expect("UTF-8 paths").replace('\\', "/")
}

/// A source's text.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

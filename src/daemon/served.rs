//! What is remembered of what is served: what is in it, and which of its zones are to be read again when it is reloaded.
//!
//! The model is gone by then. Of a zone that is what its files say there are the files as they were when they were read,
//! and where these are the same still, the zone is taken over from the snapshot as it is.

use super::changes::Inventory;
use super::files::{FileRead, Look, Named};
use crate::config::{ZoneOfFiles, ZonesOfFiles};
use std::collections::HashMap;

/// What is served.
#[derive(Default)]
pub(super) struct Served {
    pub(super) inventory: Inventory,
    pub(super) zones: ZonesOfFiles,
    files: FilesByName,
}

/// Files that the configuration, or a file that it names, calls so; none: it was read twice, and changed in between, so
/// nobody knows which zone was made of what.
type FilesByName = HashMap<String, Option<FileRead>>;

impl Served {
    /// What is in it, the zones of it that are what their files say, and all files that were read.
    pub(super) fn new(inventory: Inventory, zones: ZonesOfFiles, files: &[FileRead]) -> Self {
        let mut by_name = FilesByName::new();
        for file in files {
            let Named::Configured(name) = &file.named else { continue };
            let known = by_name.entry(name.clone()).or_insert_with(|| Some(file.clone()));
            if known.as_ref().is_none_or(|known| known.digest.is_none() || known.digest != file.digest) {
                *known = None;
            }
        }
        Self { inventory, zones, files: by_name }
    }

    /// The files of a zone, in the order in which they are read, if all of them are as they were.
    pub(super) fn unchanged(&self, zone: &ZoneOfFiles, look: Look) -> Option<Vec<FileRead>> {
        let file = |name: &str| {
            let mut file = self.files.get(name)?.clone()?;
            file.is_the_same(look).then_some(file)
        };
        zone.files().map(file).collect()
    }
}

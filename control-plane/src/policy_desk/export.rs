//! A draft taken away: as files to edit elsewhere, or as the bundle that people seal.

use std::path::Path;

use super::DeskError;
use super::draft::good;
use crate::files::{self, failed};
use crate::fleet::{Fleet, FleetError};

impl Fleet {
    /// Writes a draft's bundle as it would be released: for `outpost seal policy`, or for holders of keys who sign elsewhere.
    ///
    /// # Errors
    /// If it is faulty or not there, or the file cannot be written.
    pub fn write_policy_bundle(&self, name: &str, path: &Path) -> Result<(), FleetError> {
        let (row, kept) = self.kept(name)?;
        good(&self.looked_at(row.clone(), &kept)?)?;
        let bundle = kept.check(row.base_version).bundle.ok_or_else(|| DeskError::Unknown(name.to_owned()))?;
        Ok(files::write(path, &bundle.to_bytes())?)
    }

    /// Writes a draft's files into a directory. Their names were checked when they were saved: none leads out of it.
    ///
    /// # Errors
    /// If it is not there, or a file cannot be written.
    pub fn write_policy_files(&self, name: &str, directory: &Path) -> Result<(), FleetError> {
        let (_, kept) = self.kept(name)?;
        for (file, text) in kept.as_map() {
            let path = directory.join(file);
            let parent = path.parent().unwrap_or(directory);
            std::fs::create_dir_all(parent).map_err(failed("create", parent))?;
            files::write(&path, text.as_bytes())?;
        }
        Ok(())
    }
}

//! Builds of the agent in the catalogue: a program becomes a target, and a version names its targets, one per kind of machine.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use outpost_contract::build::{HEADER_BYTES, check_program};
use outpost_contract::limits::BUILD_BYTES;
use outpost_contract::{AgentFacts, BuildVersion, DeviceId, Manifest, Sha256, TargetKind, TargetName, Triple};
use serde::{Deserialize, Serialize};

use crate::db::StoredTarget;
use crate::fleet::{Fleet, FleetError};

/// One program of the agent, with what whoever built it says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The program.
    pub path: PathBuf,
    /// Its version, as it says itself; devices hold it to that before they run it.
    pub version: BuildVersion,
    /// What it was built for.
    pub target: Triple,
    /// The form of the state directory that it writes.
    pub state_format: u32,
}

/// A build in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildView {
    /// Its name in the catalogue.
    pub name: TargetName,
    /// Its version.
    pub version: BuildVersion,
    /// What it was built for.
    pub target: Triple,
    /// The form of the state directory that it writes.
    pub state_format: u32,
    /// Bytes of the program.
    pub bytes: u64,
    /// SHA-256 of the program.
    pub sha256: Sha256,
    /// How many devices a rollout has told to run this version.
    pub wanted_by: u64,
}

impl Fleet {
    /// Copies a program in, if it is one for the machines that are named; gives its target.
    pub(crate) fn import_build(&self, build: &Build) -> Result<(TargetName, Vec<u8>, TargetKind), FleetError> {
        let what = build.path.display().to_string();
        let refused = |why: String| FleetError::Release { what: what.clone(), why };
        let (header, bytes) = read_header(&build.path).map_err(|error| refused(error.to_string()))?;
        if bytes > BUILD_BYTES {
            return Err(refused(format!("it has {bytes} bytes, {BUILD_BYTES} is the limit for a build of the agent")));
        }
        check_program(&header, &build.target).map_err(|wrong| refused(wrong.to_string()))?;
        let name = format!("agent-{}.{}", build.version, build.target);
        let name: TargetName = name.parse().map_err(|error| refused(format!("{error}")))?;
        let manifest = self.inner.blobs.import(&build.path, &[])?;
        manifest.check().map_err(|error| refused(error.to_string()))?;
        let bytes = serde_json::to_vec(&manifest).map_err(|error| refused(error.to_string()))?;
        tracing::info!(%name, bytes = manifest.bytes, "a build of the agent was imported");
        let facts = AgentFacts {
            release: 0,
            version: build.version.clone(),
            target: build.target.clone(),
            state_format: build.state_format,
        };
        Ok((name, bytes, TargetKind::Agent(facts)))
    }

    /// Builds of the agent in the newest catalogue.
    ///
    /// # Errors
    /// If the database fails or holds a manifest that cannot be read.
    pub fn builds(&self) -> Result<Vec<BuildView>, FleetError> {
        let pinned = self.inner.database.pinned_builds()?;
        let view = |target: StoredTarget| {
            let TargetKind::Agent(facts) = &target.kind else { return None };
            let unreadable = |error: serde_json::Error| FleetError::Release {
                what: target.name.to_string(),
                why: error.to_string(),
            };
            Some(serde_json::from_slice::<Manifest>(&target.bytes).map_err(unreadable).map(|manifest| BuildView {
                name: target.name.clone(),
                version: facts.version.clone(),
                target: facts.target.clone(),
                state_format: facts.state_format,
                bytes: manifest.bytes,
                sha256: manifest.sha256,
                wanted_by: pinned.get(facts.version.as_str()).copied().unwrap_or(0),
            }))
        };
        self.inner.database.targets()?.into_iter().filter_map(view).collect()
    }

    /// Whether a device's agent can be replaced by a rollout: one that has spoken without telling of its build cannot, and would
    /// refuse a desired state that names one.
    pub(crate) fn check_takes_builds(&self, device: &DeviceId) -> Result<(), FleetError> {
        match self.device(device)?.reported {
            Some(reported) if reported.build.is_none() => Err(FleetError::AgentTooOld(device.clone())),
            _ => Ok(()),
        }
    }
}

/// The targets of a version, one for each kind of machine.
pub(crate) fn of_version<'t>(
    targets: &'t [StoredTarget],
    version: &'t BuildVersion,
) -> impl Iterator<Item = &'t StoredTarget> {
    targets.iter().filter(move |target| matches!(&target.kind, TargetKind::Agent(facts) if facts.version == *version))
}

/// The first bytes of a file, and how many it has.
fn read_header(path: &Path) -> std::io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    Ok((header, bytes))
}

#[cfg(test)]
mod tests;

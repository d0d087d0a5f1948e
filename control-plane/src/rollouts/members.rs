//! Whom a rollout is for, and what is known of each at the moment it becomes a member.

use std::collections::BTreeMap;

use outpost_contract::{BuildVersion, DesiredModel, DeviceId, TargetPin};
use outpost_rollout::{Assignment, Facts, Health, Member, Selector, Spec, Take};

use crate::builds::of_version;
use crate::fleet::{Fleet, FleetError};
use crate::signing::pin;

/// The devices that a selector means now and that are let in.
pub(super) fn selected(fleet: &Fleet, selector: &str) -> Result<Vec<DeviceId>, FleetError> {
    // Read alone first: the error names the place in what was written.
    fleet.selector(selector)?;
    fleet.select(&fleet.selector(&format!("({selector}) and not revoked"))?)
}

/// Devices as members, with what they have now: what a roll-back gives back.
pub(super) fn members(fleet: &Fleet, spec: &Spec, devices: Vec<DeviceId>) -> Result<Vec<Member>, FleetError> {
    let mut meant: BTreeMap<&Selector, Vec<DeviceId>> = BTreeMap::new();
    for wave in &spec.waves {
        if let Take::Selector(selector) = &wave.take {
            meant.insert(selector, selected(fleet, &selector.0)?);
        }
    }
    let targets = fleet.inner.database.targets()?;
    let facts = |device: DeviceId| {
        let summary = fleet.device(&device)?;
        // Which variants it may choose among is said anew whenever its desired state is signed: those of the catalogue then.
        let model = summary.assignment.and_then(|assignment| {
            let minimum_context_tokens = assignment.minimum_context_tokens;
            assignment.model.map(|model| DesiredModel { model, variants: Vec::new(), minimum_context_tokens })
        });
        let pinned = fleet.inner.database.pin(&device)?;
        let policy: Option<TargetPin> =
            pinned.policy.and_then(|name| targets.iter().find(|target| target.name == name).map(pin));
        let reported = summary.reported.as_ref();
        // What nobody pinned can be given back if it was released as well; a packaged program that was not stays replaced.
        let running = reported.and_then(|reported| Some(reported.build.as_ref()?.version.clone()));
        let is_listed = |version: &BuildVersion| of_version(&targets, version).next().is_some();
        let build = pinned.build.or_else(|| running.filter(|_| spec.change.build.is_some()).filter(is_listed));
        let health = reported.map(Health::of).unwrap_or_default();
        let utc_offset_minutes = reported.and_then(|reported| reported.activity.utc_offset_minutes).unwrap_or(0);
        Ok((device, Facts { before: Assignment { model, policy, build }, health, utc_offset_minutes }))
    };
    let devices = devices.into_iter().map(facts).collect::<Result<Vec<_>, FleetError>>()?;
    Ok(spec.members(devices, |selector| meant.get(selector).cloned().unwrap_or_default()))
}

//! How complete the audit logs of a device are here: what is mirrored, cosigned, still on the device, and gone.

use outpost_audit::reader::{self, Filter};
use outpost_audit::{Leaf, mirror};
use outpost_contract::DeviceId;
use outpost_selector::Selector;
use serde::Serialize;

use crate::db::DeviceSummary;
use crate::fleet::{Fleet, FleetError};
use crate::inventory::Page;

/// The logs of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceLogs {
    /// The device.
    pub device: DeviceId,
    /// When it was revoked.
    pub revoked_s: Option<i64>,
    /// Whether it is connected.
    pub online: bool,
    /// When it was last heard of.
    pub seen_s: Option<i64>,
    /// Its logs, oldest first; none if nothing has arrived.
    pub logs: Vec<LogState>,
    /// Numbers of what was found against them.
    pub incidents: Vec<i64>,
}

/// One log as it is kept here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogState {
    /// Its number: a log that follows another has the next one.
    pub number: u64,
    /// Its name.
    pub origin: String,
    /// The oldest record here; those before have left the device past their retention.
    pub first: u64,
    /// Records under a head that the device signed.
    pub mirrored: u64,
    /// Records under the last head that was cosigned.
    pub cosigned: u64,
    /// Records that the device last reported to have, if this is its newest log.
    pub reported: Option<u64>,
    /// Records that the device has and this mirror has not.
    pub missing: Option<u64>,
    /// When the oldest and the newest record here were made, by the device's clock, milliseconds since 1970.
    pub made_ms: Option<(i64, i64)>,
}

impl Fleet {
    /// How complete the logs of some devices are, by name.
    ///
    /// # Errors
    /// If what is kept cannot be read.
    pub fn audit_page(&self, after: Option<&DeviceId>, limit: usize) -> Result<Page<DeviceLogs>, FleetError> {
        let Page { devices, next } = self.summaries(&Selector::all(), after, limit)?;
        let devices = devices.iter().map(|device| self.logs_of(device)).collect::<Result<_, _>>()?;
        Ok(Page { devices, next })
    }

    /// How complete the logs of a device are.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`] if there is no such device.
    pub fn audit_of(&self, device: &DeviceId) -> Result<DeviceLogs, FleetError> {
        self.logs_of(&self.device(device)?)
    }

    pub(super) fn logs_of(&self, device: &DeviceSummary) -> Result<DeviceLogs, FleetError> {
        let keeper = &self.inner.audit;
        let mirrors = keeper.mirrors(&device.device)?;
        let newest = mirrors.last().map(|(number, _)| *number);
        let mut logs = Vec::new();
        for (number, directory) in mirrors {
            // Without a head, its first records are still on their way.
            let Some(head) = mirror::head(&directory)? else { continue };
            let end = |newest_first| -> Result<Option<(u64, i64)>, FleetError> {
                let filter = Filter { limit: Some(1), newest_first, ..Filter::default() };
                let entry = reader::list(&directory, &filter)?.pop();
                let made = |bytes: &[u8]| Leaf::parse(bytes).ok().and_then(|leaf| leaf.wall_ms()).unwrap_or_default();
                Ok(entry.map(|entry| (entry.index, made(&entry.bytes))))
            };
            let ends = end(false)?.zip(end(true)?);
            let reported = device.reported.as_ref().filter(|_| newest == Some(number));
            let reported = reported.map(|reported| reported.activity.audit_records);
            logs.push(LogState {
                number,
                first: ends.map_or(head.size, |((first, _), _)| first),
                mirrored: head.size,
                cosigned: keeper.witnessed(&head.origin)?.map_or(0, |witnessed| witnessed.head.size),
                reported,
                missing: reported.map(|reported| reported.saturating_sub(head.size)),
                made_ms: ends.map(|((_, oldest), (_, newest))| (oldest, newest)),
                origin: head.origin,
            });
        }
        let incidents = keeper.evidence_of(&device.audit_key)?.into_iter().map(|(number, _)| number).collect();
        let (online, seen_s, revoked_s) = (device.online, device.seen_s, device.revoked_s);
        Ok(DeviceLogs { device: device.device.clone(), revoked_s, online, seen_s, logs, incidents })
    }
}

//! How much one device may say to everybody: a box that talks all the time does not push the others' news out.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;
use parking_lot::Mutex;

/// Notices of one device that are told in an hour; all of them stand with the device's own events.
pub(super) const PER_HOUR: u32 = 60;

const HOUR_S: i64 = 3600;

/// Counts notices by device, within the hour.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    hour: Mutex<(i64, BTreeMap<DeviceId, u32>)>,
}

impl Throttle {
    /// How many notices of this device there were in this hour, this one included.
    pub(super) fn count(&self, device: &DeviceId, now_s: i64) -> u32 {
        let mut hour = self.hour.lock();
        let now = now_s.div_euclid(HOUR_S);
        if hour.0 != now {
            *hour = (now, BTreeMap::new());
        }
        let count = hour.1.entry(device.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

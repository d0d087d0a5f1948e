//! Whether the control plane is within reach, and since when not.

/// Where the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the next attempt.
    Offline,
    /// Dialling, or waiting for the broker to accept.
    Connecting,
    /// The broker accepted; the control plane has not answered yet.
    Syncing,
    /// The control plane answered on this connection.
    Online,
}

/// What a watcher of the link sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connectivity {
    /// Where the link stands.
    pub phase: Phase,
    /// When the control plane was last heard (before this start of the agent, too), or when the link was started if it never
    /// was; seconds since 1970-01-01 UTC.
    pub last_contact_s: i64,
    /// Why the last attempt or connection ended.
    pub reason: Option<String>,
    /// Attempts in a row that the broker refused for who this device is.
    pub refusals: u32,
}

impl Connectivity {
    /// True while the control plane is within reach.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    /// Seconds without the control plane until `now_s`; 0 while it is within reach.
    #[must_use]
    pub fn offline_s(&self, now_s: i64) -> u64 {
        if self.is_online() { 0 } else { u64::try_from(now_s.saturating_sub(self.last_contact_s)).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_counted_from_the_last_contact_and_never_below_zero() {
        let away = Connectivity { phase: Phase::Syncing, last_contact_s: 1000, reason: None, refusals: 0 };
        assert_eq!(away.offline_s(1600), 600);
        assert_eq!(away.offline_s(10), 0, "the clock jumped back");
        assert_eq!(Connectivity { phase: Phase::Online, ..away }.offline_s(1600), 0);
    }
}

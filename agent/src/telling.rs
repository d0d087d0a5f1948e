//! What an operator hears soon: events of how the device stands, each told once, when it changes.

use outpost_audit::{Space, SpaceLevel};
use outpost_contract::{EventKind, TargetName};

/// What was told last.
#[derive(Debug)]
pub(crate) struct Telling {
    serving: Option<TargetName>,
    room: SpaceLevel,
}

impl Telling {
    /// Nothing is news of how things stand at the start.
    pub(crate) fn from(serving: Option<TargetName>, room: SpaceLevel) -> Self {
        Self { serving, room }
    }

    /// What has changed since the last look, in words.
    pub(crate) fn look(&mut self, serving: Option<TargetName>, space: &Space) -> Vec<(EventKind, String)> {
        let mut news = Vec::new();
        if serving != self.serving {
            let name = |target: &Option<TargetName>| target.as_ref().map_or("none".to_owned(), ToString::to_string);
            let text = format!("the model that serves is now {}, before {}", name(&serving), name(&self.serving));
            news.push((EventKind::ModelSwitched, text));
            self.serving = serving;
        }
        // The level has its own slack, so it does not flap.
        if space.level != self.room {
            let free = space.free_bytes / (1024 * 1024);
            if self.room == SpaceLevel::Enough {
                let text = format!("room for audit records is getting short: {free} MiB are free ({})", space.level);
                news.push((EventKind::DiskLow, text));
            }
            if space.level.keeps_content() != self.room.keeps_content()
                || space.level.max(self.room) >= SpaceLevel::Critical
            {
                let text = format!(
                    "room for audit records was {} and is {} ({free} MiB are free, {} when critical)",
                    self.room,
                    space.level,
                    space.mode.name()
                );
                news.push((EventKind::AuditLevelChanged, text));
            }
            self.room = space.level;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use outpost_audit::CapacityMode;

    use super::*;

    #[test]
    fn each_change_is_told_once_and_how_it_began_is_none() {
        let target = |name: &str| Some(name.parse().unwrap());
        let room = |level| Space {
            level,
            free_bytes: 0,
            whole_bytes: 0,
            quota_bytes: None,
            has_reserve: true,
            mode: CapacityMode::default(),
        };
        let mut telling = Telling::from(target("a.gguf"), SpaceLevel::Enough);
        let mut kinds = |serving: &str, level| -> Vec<EventKind> {
            telling.look(target(serving), &room(level)).into_iter().map(|(kind, _)| kind).collect()
        };
        assert_eq!(kinds("a.gguf", SpaceLevel::Enough), []);
        assert_eq!(kinds("b.gguf", SpaceLevel::Enough), [EventKind::ModelSwitched]);
        assert_eq!(kinds("b.gguf", SpaceLevel::Low), [EventKind::DiskLow]);
        assert_eq!(kinds("b.gguf", SpaceLevel::Low), []);
        assert_eq!(kinds("b.gguf", SpaceLevel::Scarce), [EventKind::AuditLevelChanged]);
        assert_eq!(kinds("b.gguf", SpaceLevel::Critical), [EventKind::AuditLevelChanged]);
        assert_eq!(kinds("b.gguf", SpaceLevel::Low), [EventKind::AuditLevelChanged]);
        assert_eq!(kinds("b.gguf", SpaceLevel::Enough), []);
        assert_eq!(kinds("b.gguf", SpaceLevel::Critical), [EventKind::DiskLow, EventKind::AuditLevelChanged]);
    }
}

//! Events on their way to the agent: bounded without ever making the connection wait for the agent.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::LinkEvent;

/// Events that may wait besides the newest of each kind.
const WAITING: usize = 64;

/// Holds what the agent has not taken yet. Of desired documents, answers and acknowledgements only the newest matters, so
/// an older one gives way; a flood from a hostile broker costs one slot.
#[derive(Debug)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<LinkEvent>,
    waiting: VecDeque<LinkEvent>,
}

impl Mailbox {
    pub(super) fn new(sender: mpsc::Sender<LinkEvent>) -> Self {
        Self { sender, waiting: VecDeque::new() }
    }

    pub(super) fn put(&mut self, event: LinkEvent) {
        if event.is_superseded_by_newer() {
            let kind = std::mem::discriminant(&event);
            self.waiting.retain(|older| std::mem::discriminant(older) != kind);
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(event);
        self.hand_over();
    }

    /// Gives the agent what it has room for.
    pub(super) fn hand_over(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
                // Nobody listens any more; the link still keeps the outbox moving.
                Err(mpsc::error::TrySendError::Closed(_)) => self.waiting.clear(),
            }
        }
    }

    /// Completes when there is something to hand over and the agent has room again.
    pub(super) async fn room(&self) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        // The permit is dropped at once: `hand_over` takes it again.
        let _ = self.sender.reserve().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(version: u8) -> LinkEvent {
        LinkEvent::Desired(vec![version].into())
    }

    #[tokio::test]
    async fn a_slow_agent_gets_the_newest_desired_state_and_every_change_of_the_link() {
        let (sender, mut events) = mpsc::channel(1);
        let mut mailbox = Mailbox::new(sender);
        mailbox.put(LinkEvent::Up { connection: 1 });
        for version in 0..200 {
            mailbox.put(desired(version));
        }
        mailbox.put(LinkEvent::Down { reason: "cut".into() });
        let mut seen = vec![events.recv().await.unwrap()];
        for _ in 0..2 {
            mailbox.room().await;
            mailbox.hand_over();
            seen.push(events.recv().await.unwrap());
        }
        assert_eq!(seen, [LinkEvent::Up { connection: 1 }, desired(199), LinkEvent::Down { reason: "cut".into() }]);
    }

    #[test]
    fn an_agent_that_left_costs_nothing() {
        let (sender, events) = mpsc::channel(1);
        drop(events);
        let mut mailbox = Mailbox::new(sender);
        (0..10).for_each(|version| mailbox.put(desired(version)));
        assert!(mailbox.waiting.is_empty());
    }
}

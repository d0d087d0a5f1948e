//! Commands of the control plane: verified, allowed by the policies in force, recorded, done once, answered.

use std::sync::Arc;

use bytes::Bytes;
use outpost_audit::{AuditError, AuditLog, Entry, EraseOrder, Filter, Kind, Pseudonyms, Record, Who};
use outpost_contract::{Answer, Command, CommandId, CommandState, Operation};
use outpost_policies::InForce;
use outpost_store::Store;
use outpost_sync::{Commands, Verdict};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::backend::LocalBackend;
use crate::collect::{self, Collecting};
use crate::drain::Drain;
use crate::measure::Measured;
use crate::reconcile::Reconciler;

/// Commands that may wait while one is done; one that finds no room comes again.
pub(crate) const WAITING: usize = 64;

/// Does what the control plane asks for, one thing at a time.
pub(crate) struct Commander {
    pub(crate) journal: Commands,
    /// Knows who the director is and for whom its documents are.
    pub(crate) reconciler: Arc<Reconciler>,
    pub(crate) policies: InForce,
    pub(crate) audit: AuditLog,
    pub(crate) pseudonyms: Pseudonyms,
    pub(crate) backend: Arc<LocalBackend>,
    pub(crate) drain: Drain,
    pub(crate) measured: Arc<Measured>,
    pub(crate) store: Store,
    pub(crate) collecting: Collecting,
    /// Set when this process is to start again.
    pub(crate) restart: watch::Sender<bool>,
}

impl Commander {
    /// Finishes what the last start left, then takes what arrives.
    pub(crate) async fn run(self, mut arrived: mpsc::Receiver<Bytes>) {
        let journal = self.journal.clone();
        match aside(move || journal.resume()).await {
            Ok(again) => {
                self.record_ends(None).await;
                for command in again {
                    self.perform(&command).await;
                }
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "what the last start left is not settled"),
        }
        while let Some(envelope) = arrived.recv().await {
            if let Err(error) = self.take(&envelope).await {
                tracing::error!(error = format!("{error:#}"), "a command is not taken; it comes again");
            }
        }
    }

    async fn take(&self, envelope: &[u8]) -> anyhow::Result<()> {
        let command = match self.reconciler.open_command(envelope) {
            Ok(command) => command,
            Err(why) => {
                // Nobody may have asked for it: there is nobody to answer.
                tracing::warn!(why, "a command was ignored");
                return Ok(());
            }
        };
        let name = command.op.name();
        let permission = if self.policies.now().fleet().allows(name) {
            Ok(())
        } else {
            Err(format!("the policy bundle in force does not list `{name}` in `[fleet] commands`"))
        };
        let (journal, taken) = (self.journal.clone(), command.clone());
        match aside(move || journal.take(&taken, permission)).await? {
            Verdict::Begin => self.perform(&command).await,
            Verdict::Settled(Some(state)) => {
                tracing::info!(id = %command.id, op = name, state = state.name(), "a command is settled");
                self.record_ends(Some(&command.id)).await;
            }
            Verdict::Settled(None) => {}
        }
        Ok(())
    }

    /// Records, does and answers; what cannot be recorded is not done.
    async fn perform(&self, command: &Command) {
        let answer = match self.record(command, CommandState::Accepted).await {
            Err(error) => Some(Answer::new(CommandState::Failed, format!("it could not be recorded: {error:#}"))),
            Ok(()) => self
                .act(command)
                .await
                .unwrap_or_else(|error| Some(Answer::new(CommandState::Failed, format!("{error:#}")))),
        };
        // A restart is answered by the start that follows.
        let Some(answer) = answer else { return };
        let state = answer.state;
        tracing::info!(id = %command.id, op = command.op.name(), state = state.name(), "a command was answered");
        let (journal, id) = (self.journal.clone(), command.id.clone());
        if let Err(error) = aside(move || journal.answer(&id, answer)).await {
            tracing::error!(error = format!("{error:#}"), "an answer is not kept; the next start answers");
        }
        self.record_ends(Some(&command.id)).await;
    }

    /// Records the ends that the log does not have, those that a start settled after a crash among them. Only of the command
    /// that was settled just now is it certain that the log has none; for the others it is looked there first.
    async fn record_ends(&self, now: Option<&CommandId>) {
        if let Err(error) = self.try_to_record_ends(now).await {
            tracing::error!(error = format!("{error:#}"), "the end of a command is not on record; it is tried again");
        }
    }

    async fn try_to_record_ends(&self, now: Option<&CommandId>) -> anyhow::Result<()> {
        let journal = self.journal.clone();
        for (command, state) in aside(move || journal.unrecorded()).await? {
            if now == Some(&command.id) || !self.is_recorded(&command.id, state).await? {
                self.record(&command, state).await?;
            }
            let (journal, id) = (self.journal.clone(), command.id);
            aside(move || journal.recorded(&id)).await?;
        }
        Ok(())
    }

    /// Whether the log has this end of a command.
    async fn is_recorded(&self, id: &CommandId, state: CommandState) -> anyhow::Result<bool> {
        let (log, id) = (self.audit.clone(), id.clone());
        aside(move || has_end(&log, &id, state)).await
    }

    async fn act(&self, command: &Command) -> anyhow::Result<Option<Answer>> {
        let done = |text: &str| Answer::new(CommandState::Done, text);
        Ok(Some(match &command.op {
            Operation::Status => done("").with(outpost_serve::Backend::status(&*self.backend)),
            Operation::Restart => {
                self.restart.send_replace(true);
                return Ok(None);
            }
            Operation::Drain { seconds: 0 } => {
                self.drain.end();
                done("questions are taken again")
            }
            Operation::Drain { seconds } => {
                self.drain.begin(*seconds);
                done(&format!("no new questions are taken for {seconds} seconds, or until the agent starts again"))
            }
            Operation::Probe => done("measured").with(serde_json::to_value(self.measured.again().await)?),
            Operation::Rescan => self.rescan().await?,
            Operation::CollectDiagnostics => {
                let status = outpost_serve::Backend::status(&*self.backend);
                let measurements = self.measured.known().await;
                let (collecting, store) = (self.collecting.clone(), self.store.clone());
                let bundle = aside(move || collecting.collect(&store, &status, measurements.as_ref())).await?;
                let parts = collect::parts(&bundle)?;
                let text = format!("{} bytes in {} parts, compressed with zstd", bundle.len(), parts.len());
                for part in parts {
                    let answer = Answer { part: Some(part), ..Answer::new(CommandState::Progress, "") };
                    let (journal, id) = (self.journal.clone(), command.id.clone());
                    aside(move || journal.answer(&id, answer)).await?;
                }
                done(&text)
            }
            Operation::Erase { subject, basis } => {
                let approver = self.who(command);
                let order = EraseOrder { subject: subject.clone(), basis: basis.clone(), approver };
                let log = self.audit.clone();
                let erased = aside(move || log.erase(&order)).await?;
                done("erased").with(json!({
                    "record": erased.index, "keys": erased.keys.len(), "ciphertexts": erased.ciphertexts,
                    "bytes": erased.bytes, "journal_truncated": erased.journal_truncated,
                }))
            }
        }))
    }

    /// Reads every whole file again.
    async fn rescan(&self) -> anyhow::Result<Answer> {
        let store = self.store.clone();
        let (good, bad) = aside(move || {
            let (mut good, mut bad) = (0, Vec::new());
            for file in store.list()? {
                match store.verify_file(file.blake3) {
                    Ok(_) => good += 1,
                    Err(error) => bad.push(format!("{}: {error}", file.sha256.to_hex())),
                }
            }
            Ok::<_, outpost_store::StoreError>((good, bad))
        })
        .await?;
        let state = if bad.is_empty() { CommandState::Done } else { CommandState::Failed };
        let text = format!("{good} files are what they should be, {} are not", bad.len());
        Ok(Answer::new(state, text).with(json!({"good": good, "bad": bad})))
    }

    /// A privileged act by the director, on behalf of whoever asked.
    async fn record(&self, command: &Command, state: CommandState) -> anyhow::Result<()> {
        let record = Record::new(Kind::AdminAct)
            .act(command.op.name())
            .who(self.who(command))
            .detail("command", command.id.as_str())
            .detail("state", state.name());
        self.audit.append(record).await?;
        Ok(())
    }

    /// Whoever asked, on the director's word: by a pseudonym, as everybody in the log.
    fn who(&self, command: &Command) -> Who {
        let id = self.pseudonyms.of(&command.asked_by);
        Who { kind: "user".to_owned(), id, auth: "director".to_owned(), ..Who::default() }
    }
}

fn has_end(log: &AuditLog, id: &CommandId, state: CommandState) -> Result<bool, AuditError> {
    let acts = log.find(&Filter { kinds: vec![Kind::AdminAct], ..Filter::default() })?;
    let is_end = |entry: &Entry| {
        entry.leaf().is_ok_and(|leaf| {
            leaf.text("detail.command") == Some(id.as_str()) && leaf.text("detail.state") == Some(state.name())
        })
    };
    Ok(acts.iter().any(is_end))
}

/// Runs what blocks away from the async threads.
async fn aside<T: Send + 'static, E: Into<anyhow::Error> + Send + 'static>(
    act: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(act).await?.map_err(Into::into)
}

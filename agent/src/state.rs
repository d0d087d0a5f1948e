//! The one directory that holds everything an agent knows, and the one place that knows its layout.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_update::StateFormat;

/// The layout of a state directory. Nothing outside it is ever written.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
    /// Nobody said which: it is the one of whoever asks.
    is_usual: bool,
}

/// Where the agent that this machine's packages brought answers everybody, and whoever may decides what.
const SERVICE_SOCKET: &str = "/run/outpost/outpost.sock";

impl StateDir {
    /// The directory given, or `$OUTPOST_STATE`, or the user's state directory.
    ///
    /// # Errors
    /// If none is given and the user has no home directory.
    pub fn locate(given: Option<&Path>) -> Result<Self> {
        let said = given
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("OUTPOST_STATE").filter(|path| !path.is_empty()).map(PathBuf::from));
        if let Some(root) = said {
            return Ok(Self { root, is_usual: false });
        }
        if let Some(path) = std::env::var_os("XDG_STATE_HOME") {
            return Ok(Self { root: PathBuf::from(path).join("outpost"), is_usual: true });
        }
        let home = std::env::var_os("HOME").context("no state directory: give `--state DIR` or set `OUTPOST_STATE`")?;
        Ok(Self { root: PathBuf::from(home).join(".local/state/outpost"), is_usual: true })
    }

    /// Makes the directory and the rooms in it, readable by its owner only.
    ///
    /// # Errors
    /// If a directory cannot be made, is another account's, whose agent could no longer read what this one writes, or was written
    /// by a newer agent; names it.
    pub fn prepare(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        self.is_own()?;
        StateFormat::check(&self.root)?;
        for path in [
            self.root.clone(),
            self.audit(),
            self.vault(),
            self.store(),
            self.sync(),
            self.ledgers(),
            self.keys(),
            self.logs(),
            self.scratch(),
            self.pulls(),
        ] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("cannot make the state directory `{}`", path.display()))?;
        }
        Ok(())
    }

    /// Holds the directory to this account; one that is not there will be its own.
    ///
    /// # Errors
    /// If it is another account's; names it.
    pub(crate) fn is_own(&self) -> Result<()> {
        let (own, root) = (rustix::process::geteuid().as_raw(), self.root.display());
        // One that is not there is made.
        match std::fs::metadata(&self.root).map(|metadata| metadata.uid()) {
            Ok(owner) if owner != own => bail!(
                "the state directory `{root}` belongs to the user with id {owner}; do this as that user, as in \
                 `sudo -u '#{owner}' outpost --state {root} …`"
            ),
            _ => Ok(()),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `outpost.toml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("outpost.toml")
    }

    /// Certificate, key and what else enrolment gave.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    /// Whether this device belongs to a fleet.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.identity().join("identity.json").exists()
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// Says that the audit log ended, until the next one has begun.
    #[must_use]
    pub fn audit_notice(&self) -> PathBuf {
        self.root.join("audit-ended.json")
    }

    /// Audit logs that ended, by number.
    #[must_use]
    pub fn ended_audit(&self) -> PathBuf {
        self.root.join("audit-ended")
    }

    /// Root keys of content beside logs that ended, by number.
    #[must_use]
    pub fn ended_vault(&self) -> PathBuf {
        self.root.join("vault-ended")
    }

    /// The root key of content that is sealed beside the audit log: apart from it, so that a copy of the log is no copy of
    /// the content.
    #[must_use]
    pub fn vault(&self) -> PathBuf {
        self.root.join("vault")
    }

    /// Model files by content.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Outbox and accepted desired state.
    #[must_use]
    pub fn sync(&self) -> PathBuf {
        self.root.join("sync")
    }

    /// What this device remembers of its neighbours' audit logs.
    #[must_use]
    pub fn site_witness(&self) -> PathBuf {
        self.root.join("site-witness")
    }

    /// Small facts that survive a power cut: the active model, the policy in force, the last measurements.
    #[must_use]
    pub fn ledgers(&self) -> PathBuf {
        self.root.join("ledgers")
    }

    /// Local API keys and the key that signs audit checkpoints.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// What `outpost tune` made and measured.
    #[must_use]
    pub fn tune(&self) -> PathBuf {
        self.root.join("tune")
    }

    /// Operations logs; audit records are elsewhere.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// What came of model files of hubs that are not whole yet.
    #[must_use]
    pub fn pulls(&self) -> PathBuf {
        self.root.join("pulls")
    }

    /// Emptied at every start.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Where local commands reach the running agent.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("outpost.sock")
    }

    /// Where a command finds the running agent: the one of this directory or, if nobody said which directory and no agent runs
    /// in one's own, the one of the machine.
    #[must_use]
    pub fn way_in(&self) -> PathBuf {
        let (own, service) = (self.socket(), Path::new(SERVICE_SOCKET));
        if self.is_usual && !own.exists() && service.exists() { service.to_owned() } else { own }
    }
}

/// The text of a small file, up to a limit; `None` if there is none.
pub(crate) fn read_small(path: &Path, most_bytes: u64) -> Result<Option<String>> {
    use std::io::Read;
    let cannot = || format!("cannot read `{}`", path.display());
    match std::fs::File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            file.take(most_bytes).read_to_string(&mut text).with_context(cannot)?;
            Ok(Some(text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(cannot),
    }
}

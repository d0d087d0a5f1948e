//! The one directory that holds everything an agent knows, and the one place that knows its layout.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The layout of a state directory. Nothing outside it is ever written.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The directory given, or `$OUTPOST_STATE`, or the user's state directory.
    ///
    /// # Errors
    /// If none is given and the user has no home directory.
    pub fn locate(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Ok(Self(path.to_owned()));
        }
        if let Some(path) = std::env::var_os("OUTPOST_STATE") {
            return Ok(Self(path.into()));
        }
        if let Some(path) = std::env::var_os("XDG_STATE_HOME") {
            return Ok(Self(PathBuf::from(path).join("outpost")));
        }
        let home = std::env::var_os("HOME").context("no state directory: give `--state DIR` or set `OUTPOST_STATE`")?;
        Ok(Self(PathBuf::from(home).join(".local/state/outpost")))
    }

    /// Makes the directory and the rooms in it, readable by its owner only.
    ///
    /// # Errors
    /// If a directory cannot be made; names it.
    pub fn prepare(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        for path in [
            self.0.clone(),
            self.audit(),
            self.vault(),
            self.store(),
            self.sync(),
            self.ledgers(),
            self.keys(),
            self.logs(),
            self.scratch(),
        ] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("cannot make the state directory `{}`", path.display()))?;
        }
        Ok(())
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// `outpost.toml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("outpost.toml")
    }

    /// Certificate, key and what else enrolment gave.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// Says that the audit log ended, until the next one has begun.
    #[must_use]
    pub fn audit_notice(&self) -> PathBuf {
        self.0.join("audit-ended.json")
    }

    /// Audit logs that ended, by number.
    #[must_use]
    pub fn ended_audit(&self) -> PathBuf {
        self.0.join("audit-ended")
    }

    /// Root keys of content beside logs that ended, by number.
    #[must_use]
    pub fn ended_vault(&self) -> PathBuf {
        self.0.join("vault-ended")
    }

    /// The root key of content that is sealed beside the audit log: apart from it, so that a copy of the log is no copy of
    /// the content.
    #[must_use]
    pub fn vault(&self) -> PathBuf {
        self.0.join("vault")
    }

    /// Model files by content.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// Outbox and accepted desired state.
    #[must_use]
    pub fn sync(&self) -> PathBuf {
        self.0.join("sync")
    }

    /// What this device remembers of its neighbours' audit logs.
    #[must_use]
    pub fn site_witness(&self) -> PathBuf {
        self.0.join("site-witness")
    }

    /// Small facts that survive a power cut: the active model, the policy in force, the last measurements.
    #[must_use]
    pub fn ledgers(&self) -> PathBuf {
        self.0.join("ledgers")
    }

    /// Local API keys and the key that signs audit checkpoints.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// What `outpost tune` made and measured.
    #[must_use]
    pub fn tune(&self) -> PathBuf {
        self.0.join("tune")
    }

    /// Operations logs; audit records are elsewhere.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Emptied at every start.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    /// Where local commands reach the running agent.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("outpost.sock")
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

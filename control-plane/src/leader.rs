//! Which of several servers on one PostgreSQL leads. Every server answers people and takes in what devices say; the one that leads
//! alone publishes desired states and commands, keeps the mirrors of audit logs and writes the control plane's own log.
//!
//! ```text
//! leader ── every 2 s: hold the lease for 10 s more ──► its row, by the database's clock
//!    └ could not for 8 s: leads no more, before another one may
//! ```
//!
//! A server with a file of its own always leads: nobody else may run on its state directory.

use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::db::{Database, Lease};
use crate::files::{self, FileError};
use crate::fleet::{Fleet, FleetError};
use crate::tokens;

/// How long a leader that has died still has the lease.
const LEASE_S: i64 = 10;

/// When a leader that could not hold it for longer stops: before it ends by any clock that runs about right.
const LEADS: Duration = Duration::from_secs(8);

/// How often it is held for longer.
const HOLD_EVERY: Duration = Duration::from_secs(2);

/// Between attempts of a server that cannot start before the one before it has ended.
const WAIT: Duration = Duration::from_millis(500);

/// Where a server's name is kept.
const NAME_FILE: &str = "replica";

/// This server among others.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Its name, for ever the same in its state directory; none if the database is its own.
    name: Option<String>,
    lease: Lease,
    /// Until when it leads; none while it does not.
    until: Mutex<Option<Instant>>,
}

impl Replica {
    /// This server, with the name that its state directory has.
    pub(crate) fn open(state: &Path, database: &Database) -> Result<Self, FleetError> {
        let random = |_| tokens::random::<8>().map(hex::encode).map_err(FleetError::Random);
        let name = if database.is_shared() { Some(name(&state.join(NAME_FILE), random)?) } else { None };
        let lease = Lease { name: "leader", holder: random(())?, seconds: LEASE_S };
        Ok(Self { name, lease, until: Mutex::new(None) })
    }

    /// What tells this server's files from those of others; none if there are none.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether this server leads.
    pub(crate) fn leads(&self) -> bool {
        self.name.is_none() || self.until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Takes the lead if nobody has it, or keeps it; whether it leads.
    fn hold(&self, database: &Database, now_s: i64) -> Result<bool, FleetError> {
        let asked = Instant::now();
        // Not `keep_lease`: from now on it leads for nearly all of the lease's time.
        let term = database.hold_lease(&self.lease, now_s)?;
        let leads = term.is_some();
        let before = std::mem::replace(&mut *self.until.lock(), leads.then_some(asked + LEADS));
        if leads && before.is_none() {
            tracing::info!(replica = self.name, term, "this server leads");
        }
        Ok(leads)
    }

    /// Gives the lead to whoever wants it.
    pub(crate) fn let_go(&self, database: &Database) -> Result<(), FleetError> {
        *self.until.lock() = None;
        if self.name.is_none() { Ok(()) } else { Ok(database.let_go(&self.lease)?) }
    }
}

/// The name in the file, or a new one.
fn name(path: &Path, random: impl FnOnce(()) -> Result<String, FleetError>) -> Result<String, FleetError> {
    match files::read_text(path, 64) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(FileError { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let name = random(())?;
            files::write(path, name.as_bytes())?;
            Ok(name)
        }
        Err(error) => Err(error.into()),
    }
}

impl Fleet {
    /// Whether this server does what only one of several may do.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.inner.replica.leads()
    }

    /// Leads, or waits until the one before has ended: a broker inside can be the only one.
    pub(crate) async fn lead_alone(&self) -> Result<(), FleetError> {
        let until = Instant::now() + Duration::from_secs(LEASE_S.unsigned_abs() + 2);
        while self.inner.replica.name.is_some() {
            if self.run(|fleet| fleet.inner.replica.hold(&fleet.inner.database, fleet.now_s())).await? {
                break;
            }
            if Instant::now() >= until {
                return Err(FleetError::SecondBroker);
            }
            tokio::time::sleep(WAIT).await;
        }
        Ok(())
    }
}

/// Leads whenever nobody else does, for as long as this server runs.
pub(crate) async fn keep_leading(fleet: Fleet) {
    if fleet.inner.replica.name.is_none() {
        return;
    }
    let mut turn = tokio::time::interval(HOLD_EVERY);
    loop {
        turn.tick().await;
        let did = fleet.leads();
        match fleet.run(|fleet| fleet.inner.replica.hold(&fleet.inner.database, fleet.now_s())).await {
            Ok(leads) if leads != did => fleet.touch(),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, leads = fleet.leads(), "the lead cannot be held for longer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::settings;

    #[test]
    fn one_of_two_leads_and_the_other_once_it_has_let_go() {
        let settings = settings();
        let database = Database::connect(&settings).unwrap();
        let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = [&first, &second].map(|state| Replica::open(state.path(), &database).unwrap());
        assert!(first.name().is_some() && first.name() != second.name());
        assert!(!first.leads(), "not before it has asked");
        assert!(first.hold(&database, 0).unwrap() && first.leads());
        assert!(!second.hold(&database, 0).unwrap() && !second.leads());
        first.let_go(&database).unwrap();
        assert!(!first.leads());
        assert!(second.hold(&database, 0).unwrap() && second.leads());
        assert!(!first.hold(&database, 0).unwrap() && !first.leads());
    }

    #[test]
    fn a_server_keeps_its_name_and_one_with_its_own_file_always_leads() {
        let state = tempfile::tempdir().unwrap();
        let shared = Database::connect(&settings()).unwrap();
        let names = [(); 2].map(|()| Replica::open(state.path(), &shared).unwrap().name().map(str::to_owned));
        assert_eq!(names[0], names[1]);
        let own = Replica::open(state.path(), &Database::open(Path::new(":memory:")).unwrap()).unwrap();
        assert!(own.leads() && own.name().is_none());
    }
}

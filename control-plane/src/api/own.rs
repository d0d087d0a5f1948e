//! `/v1/sessions`: the caller's own browsers; `/v1/own-records`: the control plane's own log.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use outpost_contract::Fingerprint;
use serde_json::{Value, json};

use super::ApiError;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::db::OpenSession;
use crate::fleet::{Fleet, FleetError};
use crate::people::{Act, Actor, Happening, IDLE_S, Means, OwnRecord, SESSION_S};

/// The name under which sessions of a person are kept. Tokens have none, even if they are called like somebody.
fn person(actor: &Actor) -> Result<String, FleetError> {
    if actor.means == Means::Session {
        return Ok(actor.name.clone());
    }
    Err(FleetError::Forbidden("a token has no sessions; sign in at `/login`".to_owned()))
}

pub(crate) async fn sessions(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<OpenSession>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let found = fleet.run(move |fleet| fleet.own_sessions(&actor)).await?;
    Ok(Json(Listed::cut(found, after.as_deref(), limit, |session| session.id.clone())))
}

/// Ends all sessions of the caller, the one that asks included.
pub(crate) async fn end_sessions(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
) -> Result<Json<Value>, ApiError> {
    let person = person(&actor)?;
    let end = move |fleet: &Fleet| {
        fleet.record(&ending(&actor, "all"))?;
        fleet.end_sessions(&person)
    };
    Ok(Json(json!({ "ended": fleet.run(end).await? })))
}

/// Ends one session of the caller.
pub(crate) async fn end_session(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    id: Result<Path<Fingerprint>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    // A session's name has the form of a fingerprint: 32 bytes.
    let Path(Fingerprint(hash)) = id?;
    fleet.run(move |fleet| fleet.end_own_session(&actor, &hash)).await?;
    Ok(Json(json!({ "ended": 1 })))
}

impl Fleet {
    /// The browsers in which a person is signed in.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`] for a token, which has none.
    pub(crate) fn own_sessions(&self, actor: &Actor) -> Result<Vec<OpenSession>, FleetError> {
        let (person, now_s) = (person(actor)?, self.now_s());
        Ok(self.inner.database.sessions_of(&person, now_s - SESSION_S, now_s - IDLE_S)?)
    }

    /// Ends one session of a person, on record.
    ///
    /// # Errors
    /// [`FleetError::NoSession`] if they have none of that name.
    pub(crate) fn end_own_session(&self, actor: &Actor, hash: &[u8; 32]) -> Result<(), FleetError> {
        let (person, id) = (person(actor)?, hex::encode(hash));
        self.record(&ending(actor, &id))?;
        match self.inner.database.end_session_of(&person, hash)? {
            true => Ok(()),
            false => Err(FleetError::NoSession(id)),
        }
    }
}

/// Nobody needs a permission for their own; that it happened is on record.
fn ending(actor: &Actor, which: &str) -> Happening {
    Happening { act: "end_session".to_owned(), ..Happening::of(actor, Act::See, which) }
}

/// A page of the control plane's own log, oldest first; reading it is recorded too.
pub(crate) async fn records(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<u64>,
) -> Result<Json<Listed<OwnRecord>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let from = after.map_or(0, |after| after.saturating_add(1));
    let read = move |fleet: &Fleet| fleet.own_records_from(from, limit as usize + 1);
    let found = fleet.run_as(actor, Act::ReadRecords, "own-records", read).await?;
    Ok(Json(Listed::of(found, limit, |record| record.index.to_string())))
}

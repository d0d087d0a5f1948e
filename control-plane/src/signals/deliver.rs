//! Delivers events to webhooks: at least once, each hook in the order of events, a slow one beside the others.
//!
//! An event is answered with 2xx, or it comes again: after 5 seconds, then after twice as long each time, an hour at most. It
//! is given up if it is refused (4xx) eight times, or if it is three days old and the receiver fails still. `410 Gone` ends
//! the hook.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::hooks::wants;
use super::signature::{Root, Secret};
use crate::db::{DbError, DeadEvent, Delivery, FleetEvent, Webhook};
use crate::fleet::{Fleet, FleetError};
use outpost_hub::outgoing::{Outgoing, cause};

/// How often it is looked for something to deliver.
const LOOK: Duration = Duration::from_secs(1);

/// Events of a hook that are read at once.
const BATCH: u32 = 50;

/// Events that are given up together.
const AGED: u32 = 1000;

/// How long a hook has its turn, from the beginning of one attempt to that of the last.
const TURN: Duration = Duration::from_secs(30);

/// No other server takes a hook for so long, seconds: a turn, and its last attempt.
const CLAIM_S: i64 = 60;

/// The pause after the first failure and the longest, seconds.
const FIRST_PAUSE_S: i64 = 5;
const LONGEST_PAUSE_S: i64 = 60 * 60;

/// Refusals of one event after which it is given up.
const REFUSALS: i64 = 8;

/// Age at which an event is given up, seconds.
const PATIENCE_S: i64 = 3 * 24 * 60 * 60;

/// What a hook is sent.
#[derive(Debug)]
pub(super) struct Message {
    id: String,
    number: i64,
    body: String,
}

impl Message {
    pub(super) fn new(id: &str, kind: &str, at_s: i64, tenant: &str, number: i64, subject: &str, data: &Value) -> Self {
        let time = Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |time| time.to_string());
        let data = json!({ "number": number, "fleet": tenant, "subject": subject, "details": data });
        let body = json!({ "type": kind, "timestamp": time, "data": data }).to_string();
        Self { id: id.to_owned(), number, body }
    }

    fn of(event: &FleetEvent, tenant: &str) -> Self {
        Self::new(&event.id, &event.kind, event.at_s, tenant, event.number, &event.subject, &event.data)
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) delivery: Delivery,
    /// How long the receiver wants to be left alone, seconds.
    retry_after_s: Option<i64>,
}

impl Attempt {
    fn is_ok(&self) -> bool {
        self.delivery.error.is_empty()
    }

    /// The receiver does not want this event, rather than that it could not be asked.
    fn is_refusal(&self) -> bool {
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let status = self.delivery.status.and_then(|status| StatusCode::from_u16(status).ok());
        status.is_some_and(|status| status.is_client_error() && !passing.contains(&status))
    }
}

/// Delivers, for as long as the server runs.
pub(crate) async fn deliver(fleet: Fleet) {
    let mut outgoing: Option<Outgoing> = None;
    let (mut turns, mut busy) = (JoinSet::new(), BTreeSet::new());
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            Some(ended) = turns.join_next() => {
                match ended {
                    Ok(name) => { busy.remove(&name); }
                    // Which one it was is not known: every hook is looked at anew, and claims keep order.
                    Err(error) => {
                        tracing::error!(%error, "a delivery broke off");
                        busy.clear();
                    }
                }
                continue;
            }
        }
        let due = match fleet.run(due).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "webhooks cannot be looked up");
                continue;
            }
        };
        for hook in due {
            if busy.contains(&hook.name) {
                continue;
            }
            let client = match &outgoing {
                Some(client) => client.clone(),
                None => match Outgoing::new(&fleet.inner.config.webhooks) {
                    Ok(client) => outgoing.insert(client).clone(),
                    Err(error) => {
                        tracing::error!(error, "webhooks are sent nothing");
                        break;
                    }
                },
            };
            busy.insert(hook.name.clone());
            let fleet = fleet.clone();
            turns.spawn(async move {
                let name = hook.name.clone();
                if let Err(error) = turn(&fleet, &client, hook).await {
                    tracing::error!(webhook = name, %error, "a webhook is not served");
                }
                name
            });
        }
    }
}

/// Hooks that something can be delivered to now.
fn due(fleet: &Fleet) -> Result<Vec<Webhook>, FleetError> {
    let database = &fleet.inner.database;
    let mut hooks = database.webhooks()?;
    if hooks.is_empty() {
        return Ok(hooks);
    }
    let ((_, newest), now_s) = (database.fleet_event_span()?, fleet.now_s());
    hooks.retain(|hook| hook.disabled.is_none() && hook.delivered < newest && hook.due_s <= now_s);
    Ok(hooks)
}

/// Delivers to one hook until nothing is left, an attempt fails, or its turn is over.
pub(super) async fn turn(fleet: &Fleet, outgoing: &Outgoing, hook: Webhook) -> Result<(), FleetError> {
    let name = hook.name.clone();
    let claimed = name.clone();
    let claim = move |fleet: &Fleet| {
        let now_s = fleet.now_s();
        fleet.inner.database.claim_webhook(&claimed, now_s, now_s + CLAIM_S)
    };
    if !fleet.run(claim).await? {
        return Ok(());
    }
    let served = serve(fleet, outgoing, &hook).await;
    fleet.run(move |fleet| fleet.inner.database.release_webhook(&name)).await?;
    served
}

async fn serve(fleet: &Fleet, outgoing: &Outgoing, hook: &Webhook) -> Result<(), FleetError> {
    let began = Instant::now();
    let (name, salt) = (hook.name.clone(), hook.salt.clone());
    let secret = fleet.run(move |fleet| Root::open(fleet.state())?.secret(&name, &salt)).await?;
    loop {
        let name = hook.name.clone();
        let waiting = fleet.run(move |fleet| waiting(fleet, &name)).await?;
        let Some(last) = waiting.last().map(|event| event.number) else { return Ok(()) };
        for event in waiting.into_iter().filter(|event| wants(&hook.kinds, &event.kind)) {
            if began.elapsed() > TURN {
                return Ok(());
            }
            let message = Message::of(&event, fleet.inner.config.tenant.as_str());
            let attempt = attempt(outgoing, hook, &secret, &message, fleet.now_s()).await;
            let (name, is_ok) = (hook.name.clone(), attempt.is_ok());
            let goes_on = fleet.run(move |fleet| note(fleet, &name, &event, &attempt)).await?;
            if !(is_ok && goes_on) {
                return Ok(());
            }
        }
        let name = hook.name.clone();
        fleet.run(move |fleet| fleet.inner.database.advance_webhook(&name, last)).await?;
    }
}

/// What a hook has not got yet, as it stands now; what is not kept any more is given up.
fn waiting(fleet: &Fleet, name: &str) -> Result<Vec<FleetEvent>, FleetError> {
    let database = &fleet.inner.database;
    let Some(hook) = database.webhook(name)?.filter(|hook| hook.disabled.is_none()) else { return Ok(Vec::new()) };
    let (oldest, _) = database.fleet_event_span()?;
    let mut delivered = hook.delivered;
    if delivered + 1 < oldest {
        let why = format!(
            "events {} to {} came while none could be delivered, and are not kept any more",
            delivered + 1,
            oldest - 1
        );
        delivered = oldest - 1;
        database.together(|| {
            database.bury(name, &DeadEvent { number: delivered, at_s: fleet.now_s(), why })?;
            database.advance_webhook(name, delivered)
        })?;
    }
    Ok(database.fleet_events(delivered, "", BATCH)?)
}

/// Keeps what came of an attempt; false if the hook was removed or paused meanwhile.
fn note(fleet: &Fleet, name: &str, event: &FleetEvent, attempt: &Attempt) -> Result<bool, FleetError> {
    let database = &fleet.inner.database;
    database.together(|| {
        let Some(hook) = database.webhook(name)? else { return Ok(false) };
        database.note_delivery(name, &attempt.delivery)?;
        match attempt.is_ok() {
            true => database.advance_webhook(name, event.number)?,
            false => failed(fleet, &hook, event, attempt)?,
        }
        Ok(hook.disabled.is_none())
    })
}

/// Decides what is next after an attempt that failed.
fn failed(fleet: &Fleet, hook: &Webhook, event: &FleetEvent, attempt: &Attempt) -> Result<(), DbError> {
    let (database, name, now_s) = (&fleet.inner.database, hook.name.as_str(), fleet.now_s());
    let error = &attempt.delivery.error;
    let gone = (attempt.delivery.status == Some(410)).then_some("the receiver answered 410 Gone");
    let is_refused = gone.is_none() && attempt.is_refusal() && hook.failures + 1 >= REFUSALS;
    if gone.is_none() && (is_refused || now_s - event.at_s >= PATIENCE_S) {
        tracing::warn!(webhook = name, number = event.number, error, "an event is given up");
        let dead = |number| DeadEvent { number, at_s: now_s, why: error.clone() };
        database.bury(name, &dead(event.number))?;
        database.advance_webhook(name, event.number)?;
        if is_refused {
            return Ok(());
        }
        // The receiver is not there: what is as old need not be tried one by one.
        let next = database.fleet_events(event.number, "", AGED)?;
        for aged in next.into_iter().take_while(|next| now_s - next.at_s >= PATIENCE_S) {
            if wants(&hook.kinds, &aged.kind) {
                database.bury(name, &dead(aged.number))?;
            }
            database.advance_webhook(name, aged.number)?;
        }
        return database.webhook_failed(name, now_s + LONGEST_PAUSE_S, None);
    }
    let doubled = u32::try_from(hook.failures).unwrap_or(u32::MAX);
    let pause_s = FIRST_PAUSE_S.saturating_mul(2_i64.saturating_pow(doubled)).min(LONGEST_PAUSE_S);
    let pause_s = pause_s.max(attempt.retry_after_s.unwrap_or(0).min(LONGEST_PAUSE_S));
    database.webhook_failed(name, now_s + pause_s, gone)
}

/// Sends a message once. What the receiver says beside its status is not looked at.
pub(super) async fn attempt(
    outgoing: &Outgoing,
    hook: &Webhook,
    secret: &Secret,
    message: &Message,
    now_s: i64,
) -> Attempt {
    let began = Instant::now();
    let answer = match outgoing.request(Method::POST, &hook.url) {
        Err(error) => Err(error.to_string()),
        Ok(request) => {
            let request = request
                .header(CONTENT_TYPE, "application/json")
                .header("webhook-id", &message.id)
                .header("webhook-timestamp", now_s.to_string())
                .header("webhook-signature", secret.sign(&message.id, now_s, &message.body))
                .body(message.body.clone());
            request.send().await.map_err(|error| cause(&error))
        }
    };
    let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    let delivery = |status, error| Delivery { attempt: 0, number: message.number, at_s: now_s, status, took_ms, error };
    match answer {
        Err(error) => Attempt { delivery: delivery(None, error), retry_after_s: None },
        Ok(answer) => {
            let status = answer.status();
            let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let error = if status.is_success() { String::new() } else { format!("the receiver answered {status}") };
            Attempt { delivery: delivery(Some(status.as_u16()), error), retry_after_s: retry_after }
        }
    }
}

//! Webhooks as operators keep them: made, listed, tried, paused, let go.

use std::path::Path;

use outpost_contract::DeviceId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::deliver::{self, Message};
use super::signature::{Root, Secret};
use crate::db::{DeadEvent, Delivery, Webhook};
use crate::fleet::{Fleet, FleetError};
use crate::tokens::random;
use outpost_hub::outgoing::Outgoing;

/// Webhooks of a fleet at most: each is a connection that can be slow.
const MOST_HOOKS: usize = 32;

/// Kinds that one asks for at most.
const MOST_KINDS: usize = 32;

/// Attempts and dead letters that are shown.
const SHOWN: u32 = 100;

/// A webhook to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Its name.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// Which: kinds as `device.lost`, areas as `device.*`; none for all.
    #[serde(default)]
    pub kinds: Vec<String>,
}

/// What a hook got, and what was given up for it; the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deliveries {
    /// Attempts.
    pub attempts: Vec<Delivery>,
    /// Events that it will not get any more.
    pub dead: Vec<DeadEvent>,
}

/// A webhook, and how it does.
#[derive(Debug, Clone)]
pub(crate) struct HookStanding {
    pub(crate) hook: Webhook,
    /// The last attempt.
    pub(crate) last: Option<Delivery>,
    /// Events that were given up for it and are remembered.
    pub(crate) given_up: i64,
}

/// All webhooks, and how far events have come.
#[derive(Debug, Clone)]
pub(crate) struct HookBoard {
    pub(crate) hooks: Vec<HookStanding>,
    /// Number of the newest event.
    pub(crate) newest: i64,
}

impl Fleet {
    /// How each webhook does.
    ///
    /// # Errors
    /// If the database fails.
    pub(crate) fn webhook_board(&self) -> Result<HookBoard, FleetError> {
        let database = &self.inner.database;
        let mut given_up = database.dead_events_by_hook()?;
        let standing = |hook: Webhook| {
            let last = database.deliveries(&hook.name, 1)?.pop();
            let given_up = given_up.remove(&hook.name).unwrap_or(0);
            Ok(HookStanding { hook, last, given_up })
        };
        let hooks = database.webhooks()?.into_iter().map(standing).collect::<Result<_, FleetError>>()?;
        Ok(HookBoard { hooks, newest: database.fleet_event_span()?.1 })
    }

    /// One webhook.
    ///
    /// # Errors
    /// [`FleetError::UnknownWebhook`] if there is none.
    pub(crate) fn webhook(&self, name: &str) -> Result<Webhook, FleetError> {
        self.inner.database.webhook(name)?.ok_or_else(|| FleetError::UnknownWebhook(name.to_owned()))
    }

    /// Makes a webhook, which is sent what happens from now on. Returns the secret that signs: it can be read this once.
    ///
    /// # Errors
    /// If the name is none or taken, the address is refused, or there are too many.
    pub fn add_webhook(&self, new: &NewWebhook) -> Result<String, FleetError> {
        check_name(&new.name)?;
        if new.kinds.len() > MOST_KINDS || !new.kinds.iter().all(|kind| is_kind(kind)) {
            let why =
                "kinds are written as `device.lost`, areas as `device.*`, 32 at most; see `outpost-control events`";
            return wrong("kinds", why.to_owned());
        }
        self.inner.config.webhooks.check(&new.url)?;
        if self.inner.database.webhooks()?.len() >= MOST_HOOKS {
            return Err(FleetError::Webhook(format!(
                "there are {MOST_HOOKS} webhooks, and no more can be; remove one"
            )));
        }
        let root = Root::open(self.state())?;
        let salt = root.salt()?;
        let secret = root.secret(&new.name, &salt)?;
        let hook = Webhook {
            name: new.name.clone(),
            url: new.url.clone(),
            kinds: new.kinds.clone(),
            created_s: self.now_s(),
            disabled: None,
            delivered: 0,
            failures: 0,
            due_s: 0,
            salt,
        };
        match self.inner.database.add_webhook(&hook)? {
            true => Ok(secret.shown()),
            false => wrong("name", format!("there is a webhook `{}` already; remove it first", new.name)),
        }
    }

    /// All webhooks, without their secrets.
    ///
    /// # Errors
    /// If the database fails.
    pub fn webhooks(&self) -> Result<Vec<Webhook>, FleetError> {
        Ok(self.inner.database.webhooks()?)
    }

    /// Forgets a webhook.
    ///
    /// # Errors
    /// [`FleetError::UnknownWebhook`] if there is none.
    pub fn remove_webhook(&self, name: &str) -> Result<(), FleetError> {
        known(name, self.inner.database.remove_webhook(name)?)
    }

    /// Sends a webhook nothing more until it is tried again; what happens meanwhile waits for it.
    ///
    /// # Errors
    /// [`FleetError::UnknownWebhook`] if there is none.
    pub fn pause_webhook(&self, name: &str, person: &str) -> Result<(), FleetError> {
        known(name, self.inner.database.disable_webhook(name, &format!("{person} paused it"))?)
    }

    /// Tries a webhook again at once, also one that was paused or disabled.
    ///
    /// # Errors
    /// [`FleetError::UnknownWebhook`] if there is none.
    pub fn retry_webhook(&self, name: &str) -> Result<(), FleetError> {
        known(name, self.inner.database.enable_webhook(name)?)
    }

    /// What a webhook got of late, and what was given up for it.
    ///
    /// # Errors
    /// [`FleetError::UnknownWebhook`] if there is none.
    pub fn webhook_deliveries(&self, name: &str) -> Result<Deliveries, FleetError> {
        let database = &self.inner.database;
        self.webhook(name)?;
        Ok(Deliveries { attempts: database.deliveries(name, SHOWN)?, dead: database.dead_events(name, SHOWN)? })
    }

    /// Sends a webhook an event `webhook.test`, once, out of turn; what came of it.
    ///
    /// # Errors
    /// [`FleetError::UnknownWebhook`] if there is none; a receiver that fails is no error.
    pub async fn test_webhook(&self, name: &str) -> Result<Delivery, FleetError> {
        let asked = name.to_owned();
        let (hook, secret, outgoing) = self.run(move |fleet| fleet.to_be_tested(&asked)).await?;
        let id = format!("test_{}", hex::encode(random::<16>().map_err(FleetError::Random)?));
        let data = json!({ "webhook": hook.name });
        let tenant = self.inner.config.tenant.as_str();
        let message = Message::new(&id, "webhook.test", self.now_s(), tenant, 0, &hook.name, &data);
        Ok(deliver::attempt(&outgoing, &hook, &secret, &message, self.now_s()).await.delivery)
    }

    fn to_be_tested(&self, name: &str) -> Result<(Webhook, Secret, Outgoing), FleetError> {
        let hook = self.webhook(name)?;
        let secret = Root::open(self.state())?.secret(name, &hook.salt)?;
        let outgoing = Outgoing::new(&self.inner.config.webhooks).map_err(FleetError::Webhook)?;
        Ok((hook, secret, outgoing))
    }

    pub(super) fn state(&self) -> &Path {
        &self.inner.config.state_dir
    }
}

fn known(name: &str, found: bool) -> Result<(), FleetError> {
    if found { Ok(()) } else { Err(FleetError::UnknownWebhook(name.to_owned())) }
}

/// A webhook is named as a device is.
fn check_name(name: &str) -> Result<(), FleetError> {
    if name.parse::<DeviceId>().is_ok() {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let shown = shown.escape_debug();
    wrong("name", format!("`{shown}` is no name for a webhook: write 1 to 64 of a-z, 0-9 and `-`"))
}

fn wrong<T>(field: &'static str, why: String) -> Result<T, FleetError> {
    Err(FleetError::WebhookField { field, why })
}

/// `device.lost`, `device.*`.
fn is_kind(kind: &str) -> bool {
    let word = |word: &str| (1..=32).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    kind.split_once('.').is_some_and(|(area, what)| word(area) && (what == "*" || word(what)))
}

/// Whether a hook that asks for `kinds` wants one.
pub(super) fn wants(kinds: &[String], kind: &str) -> bool {
    let means = |wanted: &String| match wanted.strip_suffix('*') {
        Some(area) => kind.starts_with(area),
        None => wanted == kind,
    };
    kinds.is_empty() || kinds.iter().any(means)
}

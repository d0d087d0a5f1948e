//! `outpost-control events` and `outpost-control webhook …`: what happened, and who is sent it.

use anyhow::{Result, bail};
use outpost_control::{Config, Delivery, NewWebhook, clean};
use serde_json::json;

use super::{on_record, open, say, say_json};
use crate::args::{Events, Webhook};

/// Longest words of an event on one line, characters.
const WORDS: usize = 400;

/// Runs `events`.
pub(super) fn events(config: Config, command: &Events, as_json: bool) -> Result<()> {
    // As webhooks write an area.
    let kind = command.kind.strip_suffix(".*").unwrap_or(&command.kind);
    let page = open(config)?.fleet_events(command.after, kind, command.limit)?;
    if as_json {
        return say_json(&page);
    }
    page.events.iter().try_for_each(|event| {
        let (number, subject) = (event.number, clean(&event.subject, 80));
        let words = clean(&event.data.to_string(), WORDS);
        say(format!("{number:>8}  {}  {:<20} {subject:<24} {words}", time(event.at_s), event.kind))
    })
}

/// Runs `webhook …`.
pub(super) async fn webhook(config: Config, command: Webhook, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    match command {
        Webhook::Add { name, url, kinds } => {
            let secret = fleet.add_webhook(&NewWebhook { name: name.clone(), url, kinds })?;
            if as_json { say_json(&json!({"name": name, "secret": secret})) } else { say(secret) }
        }
        Webhook::Ls if as_json => say_json(&fleet.webhooks()?),
        Webhook::Ls => fleet.webhooks()?.iter().try_for_each(|hook| {
            let kinds = if hook.kinds.is_empty() { "everything".to_owned() } else { hook.kinds.join(", ") };
            let state = match (&hook.disabled, hook.failures) {
                (Some(why), _) => format!("DISABLED: {why}"),
                (None, 0) => "well".to_owned(),
                (None, failures) => format!("FAILS since {failures} attempts, next at {}", time(hook.due_s)),
            };
            let (name, url) = (&hook.name, clean(&hook.url, 200));
            say(format!("{name:<20} {url:<48} {kinds:<24} up to event {:>8}  {state}", hook.delivered))
        }),
        Webhook::Rm { name } => {
            fleet.remove_webhook(&name)?;
            if as_json {
                say_json(&json!({"removed": name}))
            } else {
                say(format!("`{name}` is sent nothing any more"))
            }
        }
        Webhook::Pause { name } => {
            fleet.pause_webhook(&name, &on_record::who())?;
            if as_json {
                say_json(&json!({"paused": name}))
            } else {
                say(format!("`{name}` is sent nothing until `outpost-control webhook retry {name}`"))
            }
        }
        Webhook::Retry { name } => {
            fleet.retry_webhook(&name)?;
            if as_json { say_json(&json!({"retried": name})) } else { say(format!("`{name}` is tried again now")) }
        }
        Webhook::Test { name } => {
            let delivery = fleet.test_webhook(&name).await?;
            if as_json {
                say_json(&delivery)?;
            } else {
                say(line(&delivery))?;
            }
            if delivery.error.is_empty() { Ok(()) } else { bail!("`{name}` did not take the event") }
        }
        Webhook::Deliveries { name } => {
            let deliveries = fleet.webhook_deliveries(&name)?;
            if as_json {
                return say_json(&deliveries);
            }
            deliveries.attempts.iter().try_for_each(|delivery| say(line(delivery)))?;
            deliveries.dead.iter().try_for_each(|dead| {
                say(format!("{}  event {:>8}  GIVEN UP: {}", time(dead.at_s), dead.number, clean(&dead.why, WORDS)))
            })
        }
    }
}

fn line(delivery: &Delivery) -> String {
    let Delivery { attempt: _, number, at_s, status, took_ms, error } = delivery;
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    format!("{}  event {number:>8}  {status:>3}  {took_ms:>6} ms  {}", time(*at_s), clean(error, WORDS))
}

fn time(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |time| time.to_string())
}

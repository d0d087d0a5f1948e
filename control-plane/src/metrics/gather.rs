//! What is gathered from the database, and what is read from the mirrors of audit logs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use outpost_metrics::Page;

use super::names;
use crate::db::{Backlog, Webhook};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::Overview;

/// Every state of a device: a state without devices is told as 0, so that a rule can rely on it.
const STATES: &[&str] = outpost_selector::STATES;

/// What the database says at one moment.
#[derive(Debug)]
pub(super) struct Gathered {
    overview: Overview,
    backlog: Backlog,
    hooks: Vec<Webhook>,
    newest_event: i64,
    incidents: u64,
    is_linked: bool,
    database_bytes: u64,
    probe: Duration,
    took: Duration,
}

impl Gathered {
    pub(super) fn of(fleet: &Fleet) -> Result<Self, FleetError> {
        let began = Instant::now();
        let database = &fleet.inner.database;
        // The smallest question there is: how long the database lets one wait.
        let (_, newest_event) = database.fleet_event_span()?;
        let probe = began.elapsed();
        let file = fleet.config().state_dir.join("control.db");
        Ok(Self {
            overview: fleet.overview()?,
            backlog: database.backlog(fleet.now_s())?,
            hooks: database.webhooks()?,
            newest_event,
            incidents: fleet.inner.audit.incident_count()?,
            is_linked: fleet.inner.linked.load(Ordering::Relaxed),
            database_bytes: std::fs::metadata(file).map_or(0, |metadata| metadata.len()),
            probe,
            took: began.elapsed(),
        })
    }

    pub(super) fn write(&self, page: &mut Page) {
        self.write_devices(page);
        let one = |name: &'static str, help: &'static str, value: f64| (name, help, value);
        let backlog = &self.backlog;
        for (name, help, value) in [
            one(names::BROKER, "1 while this server is connected to its broker.", f64::from(u8::from(self.is_linked))),
            one(names::COMMANDS, "Commands that count and that no device has answered.", count(backlog.commands)),
            one(names::OWN_RECORDS, "Records that wait for the control plane's own log.", count(backlog.own_records)),
            one(
                names::HOOK_DEAD,
                "Events that were given up for a webhook, and are listed.",
                count(backlog.dead_events),
            ),
            one(names::INCIDENTS, "Incidents found against audit logs.", count(self.incidents)),
            one(
                names::DATABASE_PROBE,
                "How long the smallest question to the database took.",
                self.probe.as_secs_f64(),
            ),
            one(
                names::DATABASE_BYTES,
                "Size of the database's file; 0 if it is on a server.",
                count(self.database_bytes),
            ),
            one(names::GATHER, "How long gathering these numbers took.", self.took.as_secs_f64()),
        ] {
            page.gauge(name, help, value);
        }
        page.counter(names::EVENTS, "Events told of the fleet.", self.newest_event.unsigned_abs());
        let hooks = |value: fn(&Webhook, i64) -> i64| -> Vec<(String, f64)> {
            let value = |hook: &Webhook| count(value(hook, self.newest_event).unsigned_abs());
            self.hooks.iter().map(|hook| (hook.name.clone(), value(hook))).collect()
        };
        let behind = hooks(|hook, newest| (newest - hook.delivered).max(0));
        page.gauges(names::HOOKS, "Events that a webhook has not got yet.", "webhook", &behind);
        let failures = hooks(|hook, _| hook.failures + i64::from(hook.disabled.is_some()));
        let help = "Attempts of a webhook that failed since the last one that did not.";
        page.gauges(names::HOOK_FAILURES, help, "webhook", &failures);
        page.gauges(names::ROLLOUTS, "Rollouts, by their state.", "state", &labelled(&backlog.rollouts));
    }

    fn write_devices(&self, page: &mut Page) {
        let overview = &self.overview;
        page.gauges(names::BUILD, "The version of this server.", "version", &[(env!("CARGO_PKG_VERSION").into(), 1.0)]);
        let mut states = overview.states.clone();
        for state in STATES.iter().filter(|state| **state != "revoked") {
            states.entry((*state).to_owned()).or_default();
        }
        page.gauges(names::DEVICES, "Devices that are let in, by state.", "state", &labelled(&states));
        page.gauge(names::REVOKED, "Devices that are let in no longer.", count(overview.revoked));
        page.gauge(names::ONLINE, "Devices that are connected.", count(overview.online));
        page.gauge(names::DRIFTING, "Devices not in step with what they should run.", count(overview.drifting));
        for (name, help, label, values) in [
            (names::REASONS, "Devices, by reasons why something wanted is not in force.", "reason", &overview.reasons),
            (names::MODELS, "Devices, by the model that serves.", "model", &overview.models),
            (names::AGENTS, "Devices, by the agent's version.", "agent", &overview.agents),
            (names::POLICIES, "Devices, by the policy in force.", "version", &self.backlog.policies),
            (
                names::BEHIND,
                "Devices, by versions from what was signed to what is in force.",
                "versions",
                &self.backlog.behind,
            ),
        ] {
            page.gauges(name, help, label, &labelled(values));
        }
        // The classes of the overview are ranges; a rule asks for everything up to a day.
        let within = |days: i64| {
            let classes = overview.certificates.iter().filter(|class| class.below.is_some_and(|below| below <= days));
            count(classes.map(|class| class.devices).sum())
        };
        let certificates: Vec<(String, f64)> =
            [("expired", 0), ("7d", 7), ("30d", 30)].map(|(name, days)| (name.to_owned(), within(days))).into();
        page.gauges(names::CERTIFICATES, "Certificates that end within so long.", "within", &certificates);
        page.gauge(
            names::RENEWALS,
            "Certificates that the device should have renewed.",
            count(overview.renewal_overdue),
        );
        page.gauge(names::DEAD_LETTERS, "Messages that devices gave up for good.", count(overview.dead_letters));
    }
}

/// What the mirrors of all devices say: dear to read.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    logs: u64,
    behind: u64,
    missing: u64,
    uncosigned: u64,
}

impl Mirrors {
    pub(super) fn of(fleet: &Fleet) -> Result<Self, FleetError> {
        let mut seen = Self::default();
        for mirror in fleet.audit_mirrors()? {
            let missing = mirror.reported.unwrap_or(0).saturating_sub(mirror.mirrored);
            seen.logs += 1;
            seen.behind += u64::from(missing > 0);
            seen.missing += missing;
            seen.uncosigned += mirror.mirrored.saturating_sub(mirror.cosigned);
        }
        Ok(seen)
    }

    pub(super) fn write(&self, page: &mut Page, age: Duration) {
        page.gauge(names::LOGS, "Audit logs that are mirrored.", count(self.logs));
        page.gauge(names::LOGS_BEHIND, "Audit logs of which the device has more records.", count(self.behind));
        page.gauge(names::MISSING, "Records that devices have and the mirrors have not.", count(self.missing));
        page.gauge(names::UNCOSIGNED, "Records that are mirrored and not cosigned.", count(self.uncosigned));
        page.gauge(names::MIRRORS_AGE, "How long ago the mirrors were measured.", age.as_secs_f64());
    }
}

fn labelled(values: &BTreeMap<String, u64>) -> Vec<(String, f64)> {
    values.iter().map(|(name, value)| (name.clone(), count(*value))).collect()
}

/// Prometheus knows no other numbers.
fn count(number: u64) -> f64 {
    number as f64
}

//! Rollouts: which change reaches the fleet, wave by wave, and why one stands still.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use maud::{Markup, html};

use super::format;
use super::layout::{self, Section, badge};
use super::picture::{self, Part};
use super::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// A rollout as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutView {
    /// Its name; it stands in the address.
    pub(crate) name: String,
    /// What it brings, in words: `qwen2.5-1.5b instead of qwen2.5-0.5b`.
    pub(crate) change: String,
    /// The state in one word.
    pub(crate) state: String,
    /// Colour of the state: `good`, `accent`, `warn`, `bad`, `dim`.
    pub(crate) tone: &'static str,
    /// Why it stands still or went back, if it did.
    pub(crate) reason: Option<String>,
    /// When it began, seconds since 1970.
    pub(crate) began_s: i64,
    /// The waves in their order.
    pub(crate) waves: Vec<WaveView>,
}

/// A wave of a rollout: how many devices stand where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaveView {
    /// Its name or number.
    pub(crate) name: String,
    /// What its gate says, or for how long it soaks.
    pub(crate) gate: String,
    /// Devices that run the change.
    pub(crate) done: u64,
    /// Devices under way.
    pub(crate) under_way: u64,
    /// Devices that failed.
    pub(crate) failed: u64,
    /// Devices that wait.
    pub(crate) waiting: u64,
}

/// The rollouts, newest first. The one place that asks the fleet for them.
fn view(_fleet: &Fleet) -> Result<Vec<RolloutView>, FleetError> {
    Ok(Vec::new())
}

pub(super) async fn show(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Html<String>, PageError> {
    let rollouts = fleet.run_as(viewer.actor.clone(), Act::See, "rollouts", view).await?;
    Ok(layout::page(&viewer, "Rollouts", Section::Rollouts, render_list(&rollouts)))
}

pub(super) async fn show_one(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path(name) = name?;
    let rollouts = fleet.run_as(viewer.actor.clone(), Act::See, &name, view).await?;
    let found = rollouts.iter().find(|rollout| rollout.name == name);
    let rollout = found.ok_or_else(|| PageError::Unreadable {
        status: StatusCode::NOT_FOUND,
        message: format!("there is no rollout `{}`", format::shown(&name, 80)),
    })?;
    Ok(layout::page(&viewer, &format::shown(&rollout.name, 80), Section::Rollouts, render(rollout)))
}

pub(super) fn render_list(rollouts: &[RolloutView]) -> Markup {
    html! {
        div #live-rollouts data-live {
            @if rollouts.is_empty() {
                section.card.empty-state { h2 { "No rollout" } p { "A change that reaches the fleet in waves is seen here." } }
            }
            @for rollout in rollouts {
                section.card {
                    h2 {
                        a href={"/console/rollouts/" (segment(&rollout.name))} { (format::shown(&rollout.name, 80)) } " "
                        (badge(rollout.tone, &rollout.state))
                    }
                    p { (format::shown(&rollout.change, 200)) ", began " (format::time(rollout.began_s)) }
                    (picture::stacked("Devices of all waves", &all_waves(rollout)))
                }
            }
        }
    }
}

pub(super) fn render(rollout: &RolloutView) -> Markup {
    html! {
        p.crumb { a href="/console/rollouts" { "All rollouts" } }
        div #live-rollout data-live {
            p.state { (badge(rollout.tone, &rollout.state)) " " (format::shown(&rollout.change, 200)) }
            @if let Some(reason) = &rollout.reason { p.notice.warn role="status" { (format::shown(reason, 400)) } }
            ol.waves {
                @for wave in &rollout.waves {
                    li.card {
                        h2 { (format::shown(&wave.name, 80)) }
                        p.small { (format::shown(&wave.gate, 200)) }
                        (picture::stacked("Devices of the wave", &parts(wave)))
                    }
                }
            }
        }
    }
}

fn parts(wave: &WaveView) -> Vec<Part> {
    let counts = [
        ("done", wave.done, "good"),
        ("under way", wave.under_way, "accent"),
        ("failed", wave.failed, "bad"),
        ("waiting", wave.waiting, "faint"),
    ];
    counts.map(|(label, count, tone)| Part { label: label.to_owned(), count, tone, link: None }).into()
}

fn all_waves(rollout: &RolloutView) -> Vec<Part> {
    let sum = |count: fn(&WaveView) -> u64| rollout.waves.iter().map(count).sum();
    parts(&WaveView {
        name: String::new(),
        gate: String::new(),
        done: sum(|wave| wave.done),
        under_way: sum(|wave| wave.under_way),
        failed: sum(|wave| wave.failed),
        waiting: sum(|wave| wave.waiting),
    })
}

/// A name as one part of a path.
fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

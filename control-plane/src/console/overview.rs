//! The fleet at a glance: states, versions, models, speeds and certificates as pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Html;
use maud::{Markup, html};

use super::cached::Boards;
use super::layout::{self, Section};
use super::picture::{self, Part};
use super::viewer::{PageError, Viewer};
use crate::db::DeviceSummary;
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// Rows of a picture; what is rarer is put together.
const MOST_BARS: usize = 8;

/// Lower ends of the columns of speeds, tokens per second.
const SPEEDS: [u64; 8] = [0, 2, 5, 10, 20, 40, 80, 160];

/// Ends of the columns of certificates, days.
const DAYS: [i64; 5] = [0, 7, 30, 90, 365];

/// How a device stands, by what is most worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    InForce,
    Changing,
    Attention,
    Offline,
    Silent,
    Revoked,
}

impl Standing {
    const ALL: [Self; 6] = [Self::InForce, Self::Changing, Self::Attention, Self::Offline, Self::Silent, Self::Revoked];

    pub(super) fn of(device: &DeviceSummary) -> Self {
        match &device.reported {
            _ if device.revoked_s.is_some() => Self::Revoked,
            None => Self::Silent,
            Some(_) if !device.online => Self::Offline,
            Some(reported) if !reported.reasons.is_empty() => Self::Attention,
            Some(reported) if reported.applied_version < device.desired_version => Self::Changing,
            Some(_) => Self::InForce,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Changing => "changing",
            Self::Attention => "needs attention",
            Self::Offline => "offline",
            Self::Silent => "never reported",
            Self::Revoked => "revoked",
        }
    }

    pub(super) fn tone(self) -> &'static str {
        match self {
            Self::InForce => "good",
            Self::Changing => "accent",
            Self::Attention => "warn",
            Self::Offline => "dim",
            Self::Silent => "faint",
            Self::Revoked => "bad",
        }
    }
}

/// What the page shows.
#[derive(Debug, Default)]
pub(super) struct Overview {
    pub(super) devices: u64,
    pub(super) standings: BTreeMap<Standing, u64>,
    pub(super) versions: BTreeMap<String, u64>,
    pub(super) models: BTreeMap<String, u64>,
    pub(super) speeds: [u64; SPEEDS.len()],
    /// Expired, then until each end, then later.
    pub(super) certificates: [u64; DAYS.len() + 1],
    pub(super) broker_connected: bool,
    /// The first devices that need somebody, with the first reason.
    pub(super) attention: Vec<(String, String)>,
}

impl Overview {
    fn count(&mut self, device: &DeviceSummary) {
        let standing = Standing::of(device);
        self.devices += 1;
        *self.standings.entry(standing).or_default() += 1;
        if standing == Standing::Revoked {
            return;
        }
        *self.versions.entry(super::format::shown(&device.agent, 40)).or_default() += 1;
        let Some(reported) = &device.reported else { return };
        let model = reported.model.as_ref();
        let name = model.map_or_else(|| "none".to_owned(), |installed| installed.model.to_string());
        *self.models.entry(name).or_default() += 1;
        if let Some(installed) = model {
            let speed = installed.self_test_tokens_per_second_milli / 1000;
            self.speeds[SPEEDS.iter().rposition(|from| *from <= speed).unwrap_or(0)] += 1;
        }
        if let Some(reason) = reported.reasons.first().filter(|_| self.attention.len() < MOST_BARS) {
            self.attention.push((device.device.to_string(), super::format::shown(&reason.detail, 160)));
        }
    }

    fn count_certificate(&mut self, end_s: i64, now_s: i64) {
        let days = end_s.saturating_sub(now_s).div_euclid(86_400);
        self.certificates[DAYS.iter().position(|end| days < *end).unwrap_or(DAYS.len())] += 1;
    }
}

/// Fills the view.
pub(super) fn view(fleet: &Fleet) -> Result<Overview, FleetError> {
    let mut overview = Overview {
        broker_connected: fleet.inner.linked.load(std::sync::atomic::Ordering::Relaxed),
        ..Overview::default()
    };
    for device in fleet.devices()? {
        overview.count(&device);
    }
    for end_s in fleet.inner.database.certificate_ends()? {
        overview.count_certificate(end_s, fleet.now_s());
    }
    Ok(overview)
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(boards): Extension<Arc<Boards>>,
) -> Result<Html<String>, PageError> {
    fleet.run_as(viewer.actor.clone(), Act::See, "overview", |_| Ok(())).await?;
    let overview = boards.overview.get(&fleet, view).await?;
    Ok(layout::page(&viewer, "Fleet overview", Section::Overview, render(&overview)))
}

fn render(overview: &Overview) -> Markup {
    let count = |standing| overview.standings.get(&standing).copied().unwrap_or(0);
    let connected = overview.devices - count(Standing::Offline) - count(Standing::Silent) - count(Standing::Revoked);
    html! {
        div #live-overview data-live {
            @if overview.devices == 0 {
                section.card.empty-state {
                    h2 { "No device has enrolled yet" }
                    p { "Make a code, give it to a box, and watch it appear here." }
                    p { a.button href="/console/enrol" { "Enrol a device" } }
                }
            }
            ul.tiles {
                li { strong { (overview.devices) } span { "devices" } }
                li { strong { (connected) } span { "connected" } }
                li.warn[count(Standing::Attention) > 0] {
                    strong { (count(Standing::Attention)) } span { "need attention" }
                }
                li.bad[!overview.broker_connected] {
                    strong { @if overview.broker_connected { "up" } @else { "down" } } span { "broker" }
                }
            }
            div.grid {
                section.card.wide {
                    h2 { "States" }
                    (picture::stacked("Devices by state", &standings(overview)))
                }
                section.card { h2 { "Agent versions" } (picture::bars(&commonest(&overview.versions))) }
                section.card { h2 { "Models in force" } (picture::bars(&commonest(&overview.models))) }
                section.card {
                    h2 { "Speed " span.unit { "tokens per second, self-test" } }
                    (picture::columns("Devices by speed", &speeds(overview)))
                }
                section.card {
                    h2 { "Certificates " span.unit { "days left" } }
                    (picture::columns("Devices by days left of their certificate", &certificates(overview)))
                }
                @if !overview.attention.is_empty() {
                    section.card.wide {
                        h2 { "Needs attention" }
                        ul.reasons {
                            @for (device, why) in &overview.attention {
                                li { a href={"/console/devices/" (device)} { (device) } span { (why) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn standings(overview: &Overview) -> Vec<Part> {
    let part = |standing: Standing| Part {
        label: standing.words().to_owned(),
        count: overview.standings.get(&standing).copied().unwrap_or(0),
        tone: standing.tone(),
        link: None,
    };
    Standing::ALL.into_iter().map(part).collect()
}

/// The most frequent, and all others together.
fn commonest(counts: &BTreeMap<String, u64>) -> Vec<Part> {
    let part = |label: &str, count, tone| Part { label: label.to_owned(), count, tone, link: None };
    let mut parts: Vec<Part> = counts.iter().map(|(label, count)| part(label, *count, "accent")).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.count));
    let others: u64 = parts.iter().skip(MOST_BARS).map(|part| part.count).sum();
    parts.truncate(MOST_BARS);
    parts.extend((others > 0).then(|| part("others", others, "dim")));
    parts
}

fn speeds(overview: &Overview) -> Vec<Part> {
    let label = |at: usize| match SPEEDS.get(at + 1) {
        Some(to) => format!("{}–{to}", SPEEDS[at]),
        None => format!("≥ {}", SPEEDS[at]),
    };
    let columns = overview.speeds.iter().enumerate();
    columns.map(|(at, count)| Part { label: label(at), count: *count, tone: "accent", link: None }).collect()
}

fn certificates(overview: &Overview) -> Vec<Part> {
    let labels = ["expired", "< 7", "< 30", "< 90", "< 365", "more"];
    let tones = ["bad", "warn", "accent", "good", "good", "good"];
    let columns = labels.into_iter().zip(tones).zip(overview.certificates);
    columns.map(|((label, tone), count)| Part { label: label.to_owned(), count, tone, link: None }).collect()
}

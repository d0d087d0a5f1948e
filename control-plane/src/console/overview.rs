//! The fleet at a glance: states, versions, models, speeds, certificates and sites as pictures that lead to their devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Html;
use maud::{Markup, html};

use super::cached::Boards;
use super::format;
use super::layout::{self, Section, badge};
use super::picture::{self, Part};
use super::standing::{self, STATES, devices_where, plain, quoted};
use super::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::{Bucket, DeviceView, Overview, SiteCount};
use crate::people::Act;

/// Rows of a picture; what is rarer is put together.
const MOST_BARS: usize = 8;

/// Devices that need somebody.
const ATTENTION: &str = "state in (refused, ahead, differs) or dead-letters>0";

/// What the page shows.
#[derive(Debug)]
pub(super) struct OverviewPage {
    pub(super) fleet: Overview,
    /// The first that need somebody.
    pub(super) attention: Vec<DeviceView>,
}

/// Fills the view.
pub(super) fn view(fleet: &Fleet) -> Result<OverviewPage, FleetError> {
    let attention = fleet.views(&fleet.selector(ATTENTION)?, None, MOST_BARS)?.devices;
    Ok(OverviewPage { fleet: fleet.overview()?, attention })
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(boards): Extension<Arc<Boards>>,
) -> Result<Html<String>, PageError> {
    fleet.run_as(viewer.actor.clone(), Act::See, "overview", |_| Ok(())).await?;
    let view = boards.overview.get(&fleet, view).await?;
    Ok(layout::page(&viewer, "Fleet overview", Section::Overview, render(&view, &viewer)))
}

fn render(view: &OverviewPage, viewer: &Viewer) -> Markup {
    let fleet = &view.fleet;
    html! {
        div #live-overview data-live {
            @if fleet.devices == 0 {
                section.card.empty-state {
                    h2 { "No device has enrolled yet" }
                    p { "Make a code, give it to a box, and watch it appear here." }
                    @if viewer.may(Act::Enrol) { p { a.button href="/console/enrol" { "Enrol a device" } } }
                }
            }
            ul.tiles {
                (tile(fleet.devices, "devices", "", devices_where("not revoked")))
                (tile(fleet.online, "online", "", devices_where("online")))
                (tile(fleet.drifting, "not in step", if fleet.drifting > 0 { "warn" } else { "" }, devices_where("drift")))
                (tile(fleet.renewal_overdue, "certificates overdue", if fleet.renewal_overdue > 0 { "bad" } else { "" },
                    devices_where("certificate<30d and not revoked")))
                (tile(fleet.dead_letters, "messages given up", if fleet.dead_letters > 0 { "bad" } else { "" },
                    devices_where("dead-letters>0")))
                li.bad[!fleet.is_linked] {
                    strong { @if fleet.is_linked { "up" } @else { "down" } } span { "broker" }
                }
            }
            @if fleet.devices > 0 { (pictures(view)) }
        }
    }
}

fn tile(count: u64, words: &str, tone: &str, link: Option<String>) -> Markup {
    html! {
        li class=[(!tone.is_empty()).then_some(tone)] {
            strong { (count) }
            span { @if let Some(link) = link.filter(|_| count > 0) { a href=(link) { (words) } } @else { (words) } }
        }
    }
}

fn pictures(view: &OverviewPage) -> Markup {
    let fleet = &view.fleet;
    html! {
        div.grid {
            section.card.wide {
                h2 { "States" }
                (picture::stacked("Devices by state", &states(fleet)))
            }
            @if !view.attention.is_empty() { (attention(&view.attention)) }
            section.card {
                h2 { "Models in force" }
                (picture::bars(&commonest(&fleet.models, |model| match model {
                    "nothing" => devices_where("not model=* and not revoked"),
                    model => devices_where(&format!("model={}", quoted(model))),
                })))
            }
            section.card {
                h2 { "Agent versions" }
                (picture::bars(&commonest(&fleet.agents, |agent| devices_where(&format!("agent={agent}")))))
            }
            section.card {
                h2 { "Speed " span.unit { "tokens per second, from" } }
                (picture::columns("Devices by tokens per second", &speeds(&fleet.speeds)))
                @if fleet.never_measured > 0 { p.small { (fleet.never_measured) " never said what their machine can give." } }
            }
            section.card {
                h2 { "Certificates " span.unit { "days left" } }
                (picture::columns("Devices by days left of their certificate", &certificates(&fleet.certificates)))
            }
            @if !fleet.reasons.is_empty() {
                section.card {
                    h2 { "Why things are not in force" }
                    (picture::bars(&commonest(&fleet.reasons, |reason| devices_where(&format!("reason={reason}")))))
                }
            }
            section.card { h2 { "Sites" } (sites(fleet)) }
        }
    }
}

fn attention(devices: &[DeviceView]) -> Markup {
    html! {
        section.card.wide {
            h2 {
                "Needs somebody "
                @if let Some(link) = devices_where(ATTENTION) { a.more href=(link) { "all of them" } }
            }
            ul.reasons {
                @for device in devices {
                    @let (words, tone) = standing::shown(device.drift.state());
                    li {
                        a href={"/console/devices/" (device.device)} { (device.device) }
                        (badge(tone, words))
                        span {
                            @if device.dead_letters > 0 { (device.dead_letters) " messages were given up. " }
                            (format::shown(&device.words, 240))
                        }
                    }
                }
            }
        }
    }
}

fn states(fleet: &Overview) -> Vec<Part> {
    let part = |(name, words, tone): (&str, &str, &'static str)| Part {
        label: words.to_owned(),
        count: if name == "revoked" { fleet.revoked } else { fleet.states.get(name).copied().unwrap_or(0) },
        tone,
        link: devices_where(&format!("state={name}")),
    };
    STATES.into_iter().map(part).filter(|part| part.count > 0).collect()
}

/// The most frequent, and all others together.
fn commonest(counts: &BTreeMap<String, u64>, link: impl Fn(&str) -> Option<String>) -> Vec<Part> {
    let part = |label: &str, count, tone, link| Part { label: plain(label), count, tone, link };
    let mut parts: Vec<Part> = counts.iter().map(|(label, count)| part(label, *count, "accent", link(label))).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.count));
    let others: u64 = parts.iter().skip(MOST_BARS).map(|part| part.count).sum();
    parts.truncate(MOST_BARS);
    parts.extend((others > 0).then(|| part("others", others, "dim", None)));
    parts
}

/// Classes between their ends, each labelled by `label` with its lower and its upper end.
fn classes(
    buckets: &[Bucket],
    tone: impl Fn(usize) -> &'static str,
    label: impl Fn(i64, Option<i64>) -> String,
) -> Vec<Part> {
    let mut lower = 0;
    let part = |(at, bucket): (usize, &Bucket)| {
        let label = label(lower, bucket.below);
        lower = bucket.below.unwrap_or(lower);
        Part { label, count: bucket.devices, tone: tone(at), link: None }
    };
    buckets.iter().enumerate().map(part).collect()
}

fn speeds(buckets: &[Bucket]) -> Vec<Part> {
    // Short enough to stand under nine narrow columns.
    let label = |lower: i64, upper: Option<i64>| format!("{}{}", lower / 1000, if upper.is_none() { "+" } else { "" });
    classes(buckets, |_| "accent", label)
}

fn certificates(buckets: &[Bucket]) -> Vec<Part> {
    let tone = |at| ["bad", "warn", "accent"].get(at).copied().unwrap_or("good");
    classes(buckets, tone, |lower, upper| match upper {
        Some(0) => "expired".to_owned(),
        Some(upper) => format!("< {upper}"),
        None => format!("{lower}+"),
    })
}

fn sites(fleet: &Overview) -> Markup {
    let percent = |site: &SiteCount| u8::try_from(site.online * 100 / site.devices.max(1)).unwrap_or(100);
    html! {
        div.scroll tabindex="0" role="group" aria-label="Table of sites" { table.compact {
            thead { tr { @for name in ["Site", "Online", "Not in step"] { th scope="col" { (name) } } } }
            tbody {
                @for site in fleet.sites.iter().take(MOST_BARS) {
                    @let selector = match site.site.as_str() {
                        "" => "not site=* and not revoked".to_owned(),
                        name => format!("site={}", quoted(name)),
                    };
                    tr {
                        th scope="row" {
                            @match devices_where(&selector) {
                                Some(link) => a href=(link) { (if site.site.is_empty() { "at no site".to_owned() } else { format::shown(&site.site, 64) }) },
                                None => (format::shown(&site.site, 64)),
                            }
                        }
                        td {
                            (picture::progress("Online", percent(site), "good"))
                            span.small { (site.online) " of " (site.devices) }
                        }
                        td.number { (site.drifting) }
                    }
                }
            }
        } }
        @let hidden = fleet.sites.len().saturating_sub(MOST_BARS) as u64 + fleet.other_sites;
        @if hidden > 0 { p.small { "and " (hidden) " smaller sites" } }
    }
}

//! The list of devices: a box that filters as one types, pages made in the database, keys to move with.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use super::format;
use super::layout::{self, Section, badge};
use super::overview::Standing;
use super::viewer::{PageError, Viewer};
use crate::db::DeviceSummary;
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// Rows of a page.
const ROWS: u32 = 50;

/// Longest filter, characters.
const MOST_FILTER: usize = 200;

/// Which page is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    filter: String,
    /// The last name of the page before.
    #[serde(default)]
    after: String,
}

/// What the page shows.
#[derive(Debug)]
pub(super) struct DevicesView {
    pub(super) filter: String,
    pub(super) matching: u64,
    pub(super) rows: Vec<DeviceSummary>,
    /// The name after which the next page begins, if there is one.
    pub(super) next: Option<String>,
    pub(super) is_first: bool,
    pub(super) now_s: i64,
}

/// Fills the view.
fn view(fleet: &Fleet, asked: &Asked) -> Result<DevicesView, FleetError> {
    let filter: String = asked.filter.trim().chars().take(MOST_FILTER).collect();
    let database = &fleet.inner.database;
    let mut rows = database.devices_after(&asked.after, &filter, ROWS + 1)?;
    let is_more = rows.len() > ROWS as usize;
    rows.truncate(ROWS as usize);
    let next = rows.last().filter(|_| is_more).map(|last| last.device.to_string());
    let matching = database.count_devices(&filter)?;
    Ok(DevicesView { filter, matching, rows, next, is_first: asked.after.is_empty(), now_s: fleet.now_s() })
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, PageError> {
    let Query(asked) = asked?;
    let view = fleet.run_as(viewer.actor.clone(), Act::See, "devices", move |fleet| view(fleet, &asked)).await?;
    Ok(layout::page(&viewer, "Devices", Section::Devices, render(&view)))
}

pub(super) fn render(view: &DevicesView) -> Markup {
    html! {
        form.filter method="get" action="/console/devices" role="search" data-preview="live-devices" {
            label for="filter" { "Filter by name or site" }
            input id="filter" name="filter" type="search" value=(view.filter) maxlength=(MOST_FILTER)
                autocomplete="off" spellcheck="false" data-key="/";
            button type="submit" { "Filter" }
            p.hint { kbd { "/" } " filters, " kbd { "j" } " and " kbd { "k" } " move, " kbd { "Enter" } " opens" }
        }
        section #live-devices.card.flush data-live aria-label="List of devices" {
            p.count role="status" { (view.matching) @if view.matching == 1 { " device" } @else { " devices" } }
            @if view.rows.is_empty() {
                p.empty-state { "No device matches." }
            } @else {
                div.scroll tabindex="0" role="group" aria-label="Table of devices" { (table(view)) }
            }
            nav.pages aria-label="Pages of the list" {
                @if !view.is_first { a.button href={"/console/devices?" (query(&view.filter, ""))} { "First page" } }
                @if let Some(next) = &view.next {
                    a.button rel="next" href={"/console/devices?" (query(&view.filter, next))} { "Next page" }
                }
            }
        }
    }
}

fn table(view: &DevicesView) -> Markup {
    html! {
        table {
            thead {
                tr {
                    @for name in ["Device", "State", "Site", "Model", "Speed", "Policy", "Agent", "Last heard of"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody { @for device in &view.rows { (row(device, view.now_s)) } }
        }
    }
}

fn row(device: &DeviceSummary, now_s: i64) -> Markup {
    let standing = Standing::of(device);
    let reported = device.reported.as_ref();
    let model = reported.and_then(|reported| reported.model.as_ref());
    let dash = || "–".to_owned();
    html! {
        tr {
            th scope="row" { a href={"/console/devices/" (device.device)} data-row { (device.device) } }
            td { (badge(standing.tone(), standing.words())) }
            td { (device.site.as_deref().map_or_else(dash, |site| format::shown(site, 64))) }
            td { (model.map_or_else(dash, |installed| installed.model.to_string())) }
            td.number {
                (model.map_or_else(dash, |installed| format::milli(installed.self_test_tokens_per_second_milli)))
            }
            td.number { (reported.map_or_else(dash, |reported| reported.policy_version.to_string())) }
            td { (format::shown(&device.agent, 40)) }
            td { (device.seen_s.map_or_else(|| "never".to_owned(), |seen_s| format::from_now(seen_s, now_s))) }
        }
    }
}

fn query(filter: &str, after: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).append_pair("after", after).finish()
}

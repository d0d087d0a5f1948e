//! The list of devices: a box that finds as one types, by a word or a selector; keys to move with.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};
use outpost_contract::DeviceId;
use outpost_selector::{Field, Kind};
use serde::Deserialize;
use url::form_urlencoded;

use super::layout::{self, Section};
use super::standing::{self, devices_where};
use super::viewer::{PageError, Viewer};
use super::{format, groups};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::{CertificateState, DeviceView, Page};
use crate::people::Act;

/// Rows of a page.
const ROWS: usize = 50;

/// Longest filter, characters; a selector is no longer.
const MOST_FILTER: usize = 1000;

/// Questions that one click asks.
const OFFERED: [(&str, &str); 6] = [
    ("not in step", "drift"),
    ("online", "online"),
    ("out of reach for a day", "seen>1d"),
    ("nothing assigned", "not assigned and not revoked"),
    ("certificate ends soon", "certificate<30d and not revoked"),
    ("small memory", "memory<4GiB"),
];

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
pub(super) struct DevicesPage {
    /// As it was typed.
    pub(super) filter: String,
    /// As it was understood; why not, otherwise.
    pub(super) understood: Result<String, String>,
    pub(super) matching: u64,
    pub(super) of: u64,
    pub(super) rows: Page<DeviceView>,
    pub(super) is_first: bool,
    /// Groups by name.
    pub(super) groups: Vec<String>,
    pub(super) now_s: i64,
}

/// A selector is what it says; one word that is none is part of a name or of a site.
fn selector_of(filter: &str) -> String {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '*' | '.' | '_'));
    match filter {
        "" => "all".to_owned(),
        word if is_word(word) && word.parse::<outpost_selector::Selector>().is_err() => {
            format!("name=*{word}* or site=*{word}*")
        }
        selector => selector.to_owned(),
    }
}

/// Fills the view. What cannot be understood finds nothing and says why.
fn view(fleet: &Fleet, asked: &Asked) -> Result<DevicesPage, FleetError> {
    let filter: String = asked.filter.trim().chars().take(MOST_FILTER).collect();
    let text = selector_of(&filter);
    let groups = fleet.groups()?.into_iter().map(|group| group.name).collect();
    let nothing = Page { devices: Vec::new(), next: None };
    let page = DevicesPage {
        filter,
        understood: Ok(String::new()),
        matching: 0,
        of: 0,
        rows: nothing,
        is_first: asked.after.is_empty(),
        groups,
        now_s: fleet.now_s(),
    };
    let selector = match fleet.selector(&text) {
        Ok(selector) => selector,
        Err(error @ (FleetError::Selector(_) | FleetError::UnknownGroup(_) | FleetError::Groups(_))) => {
            return Ok(DevicesPage { understood: Err(error.to_string()), ..page });
        }
        Err(error) => return Err(error),
    };
    let preview = fleet.preview(&text)?;
    let after: Option<DeviceId> = asked.after.parse().ok();
    let rows = fleet.views(&selector, after.as_ref(), ROWS)?;
    Ok(DevicesPage { understood: Ok(preview.selector), matching: preview.count, of: preview.of, rows, ..page })
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

pub(super) fn render(view: &DevicesPage) -> Markup {
    html! {
        form.filter method="get" action="/console/devices" role="search" data-preview="live-devices" {
            label for="filter" { "Find by name, site or selector" }
            input id="filter" name="filter" type="search" value=(view.filter) maxlength=(MOST_FILTER)
                autocomplete="off" autocapitalize="none" spellcheck="false" data-key="/" aria-describedby="filter-help"
                placeholder="till   or   memory>=8GiB and not online";
            button type="submit" { "Find" }
        }
        div.offers {
            @for (words, selector) in OFFERED {
                @if let Some(link) = devices_where(selector) {
                    a.chip href=(link) aria-current=[(view.filter == selector).then_some("true")] { (words) }
                }
            }
            @for group in &view.groups {
                @let selector = format!("group={group}");
                @if let Some(link) = devices_where(&selector) {
                    a.chip.group href=(link) aria-current=[(view.filter == selector).then_some("true")] { (format::shown(group, 64)) }
                }
            }
            a.chip.plain href="/console/groups" { "Groups…" }
        }
        p.hint #filter-help {
            kbd { "/" } " finds, " kbd { "j" } " and " kbd { "k" } " move, " kbd { "Enter" } " opens"
        }
        (words())
        section #live-devices.card.flush data-live aria-label="List of devices" { (list(view)) }
    }
}

fn list(view: &DevicesPage) -> Markup {
    html! {
        @match &view.understood {
            Err(why) => pre.misread role="alert" { (format::shown(why, 800)) },
            Ok(selector) => p.count role="status" {
                strong { (view.matching) } " of " (view.of) @if view.of == 1 { " device" } @else { " devices" }
                @if selector != "all" { span.understood { " · " code { (format::shown(selector, MOST_FILTER)) } } }
            },
        }
        @if view.rows.devices.is_empty() {
            @if view.understood.is_ok() {
                p.empty-state { @if view.of == 0 { "No device has enrolled yet." } @else { "No device matches." } }
            }
        } @else {
            div.scroll tabindex="0" role="group" aria-label="Table of devices" { (table(view)) }
        }
        nav.pages aria-label="Pages of the list" {
            @if !view.is_first { a.button href={"/console/devices?" (query(&view.filter, ""))} { "First page" } }
            @if let Some(next) = &view.rows.next {
                a.button rel="next" href={"/console/devices?" (query(&view.filter, next.as_str()))} { "Next page" }
            }
        }
    }
}

/// What can be asked, as a table that one opens.
fn words() -> Markup {
    html! {
        details.help {
            summary { "What can be asked" }
            p {
                "Tests with " code { "and" } ", " code { "or" } ", " code { "not" } " and parentheses, as in "
                code { "site=store-* and memory>=8GiB and not online" } ". A label is asked as " code { "label.role=till" }
                ", several values as " code { "state in (refused, behind)" } "."
            }
            dl.fields {
                @for field in Field::EVERY { dt { code { (field.name()) } } dd { (ticked(field.words())) " " span.small { (form(field.kind())) } } }
            }
        }
    }
}

fn form(kind: Kind) -> &'static str {
    match kind {
        Kind::Bytes => "as 8GiB or 500MB",
        Kind::Duration => "as 30d, 12h or 5m",
        Kind::Version => "as 0.3",
        Kind::Flag => "alone",
        Kind::Text | Kind::Set => "* for anything",
        Kind::Name | Kind::Count | Kind::Decimal => "",
    }
}

/// Words of which some stand in backticks.
fn ticked(words: &str) -> Markup {
    html! {
        @for (at, part) in words.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn table(view: &DevicesPage) -> Markup {
    html! {
        table.devices {
            thead {
                tr {
                    @for name in ["Device", "State", "Presence", "Site", "Runs", "Speed"] { th scope="col" { (name) } }
                    @for name in ["Policy", "Agent"] { th.extra scope="col" { (name) } }
                    th scope="col" { "Certificate" }
                }
            }
            tbody { @for device in &view.rows.devices { (row(device, view.now_s)) } }
        }
    }
}

fn row(device: &DeviceView, now_s: i64) -> Markup {
    let dash = || "–".to_owned();
    let is_fine = matches!(device.drift.state(), "in-step" | "revoked" | "not-assigned" | "never-seen");
    html! {
        tr {
            th scope="row" {
                a href={"/console/devices/" (device.device)} data-row { (device.device) }
                @if !device.labels.is_empty() { div.labels { (groups::labels(device)) } }
            }
            td { (standing::state(device)) @if !is_fine { p.why { (format::shown(&device.words, 120)) } } }
            td { (standing::presence(device, now_s)) }
            td { (device.site.as_deref().map_or_else(dash, |site| format::shown(site, 64))) }
            td { (device.runs.as_ref().map_or_else(dash, |runs| runs.model.to_string())) }
            td.number { (device.runs.as_ref().map_or_else(dash, |runs| format::milli(runs.tokens_per_second_milli))) }
            td.number.extra { @if device.policy_version > 0 { (device.policy_version) } @else { "–" } }
            td.extra { (format::shown(&device.agent, 40)) }
            td { (certificate(device)) }
        }
    }
}

fn certificate(device: &DeviceView) -> Markup {
    let days = device.certificate.days_left.unwrap_or(0);
    html! {
        @match device.certificate.state {
            CertificateState::Unknown => "–",
            CertificateState::Expired => (layout::badge("bad", "expired")),
            CertificateState::RenewalOverdue => (layout::badge("warn", &format!("{days} days"))),
            CertificateState::Good | CertificateState::RenewalDue => { (days) " days" },
        }
    }
}

fn query(filter: &str, after: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).append_pair("after", after).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_part_of_a_name_and_everything_else_is_a_selector() {
        assert_eq!(selector_of(""), "all");
        assert_eq!(selector_of("till"), "name=*till* or site=*till*");
        assert_eq!(selector_of("online"), "online");
        assert_eq!(selector_of("memory>=8GiB"), "memory>=8GiB");
        assert_eq!(selector_of("memry>1"), "memry>1", "it is told what is wrong with it");
        for (_, selector) in OFFERED {
            selector.parse::<outpost_selector::Selector>().unwrap();
        }
    }
}

//! What a draft would have decided otherwise, as a page.

use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;

use super::path;
use crate::console::format;
use crate::console::layout::{self, Section, badge};
use crate::console::viewer::{PageError, Viewer};
use crate::fleet::Fleet;
use crate::inventory::words::clean;
use crate::people::Act;
use crate::policy_desk::{Changed, Reach, Simulation};

#[derive(Debug, Deserialize)]
pub(in crate::console) struct ReachForm {
    days: u32,
}

/// Reading records is on record, so it is asked for by a form.
pub(in crate::console) async fn run(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    form: Result<Form<ReachForm>, FormRejection>,
) -> Result<Html<String>, PageError> {
    let (Path(name), Form(form)) = (name?, form?);
    let reach = Reach { days: form.days, ..Reach::default() };
    let simulate = move |fleet: &Fleet| fleet.simulate_policy(&name, &reach);
    let told = fleet.run_as(viewer.actor.clone(), Act::ReadRecords, "policy simulation", simulate).await?;
    let title = format!("Simulation of {}", told.draft);
    Ok(layout::page(&viewer, &title, Section::Policies, render(&told)))
}

pub(in crate::console) fn render(told: &Simulation) -> Markup {
    let unknown: u64 = told.unknown.iter().map(|unknown| unknown.count).sum();
    html! {
        p.crumb { a href=(path(&told.draft)) { "The draft " (told.draft) } }
        p {
            (told.decisions) " decisions of " (told.devices) " devices, " (format::time(told.since_s)) " to "
            (format::time(told.until_s)) ", from " (told.records) " records."
        }
        ul.tiles {
            li.warn[told.refused > 0] { strong { (told.refused) } span { "would be refused" } }
            li.warn[told.allowed > 0] { strong { (told.allowed) } span { "newly allowed" } }
            li { strong { (told.same) } span { "the same" } }
            li { strong { (unknown) } span { "cannot be known" } }
        }
        @if !told.changed.is_empty() {
            section.card.flush {
                div.scroll tabindex="0" role="group" aria-label="Table of what would be otherwise" { (table(&told.changed)) }
                @if told.changed_left_out > 0 { p.count { "and " (told.changed_left_out) " more rows" } }
            }
        }
        @if unknown > 0 {
            section.card {
                h2 { "What cannot be known" }
                ul { @for one in &told.unknown { li { (one.count) ": " (clean(&one.because, 300)) } } }
            }
        }
        (left_out(told))
    }
}

fn table(changed: &[Changed]) -> Markup {
    html! {
        table {
            thead {
                tr { @for name in ["Now", "Times", "Act", "Roles", "Who", "Device", "By", "For example"] { th scope="col" { (name) } } }
            }
            tbody {
                @for row in changed {
                    tr {
                        td { @if row.allowed { (badge("accent", "allowed")) } @else { (badge("warn", "refused")) } }
                        td.number { (row.count) }
                        th scope="row" { (clean(&row.act, 64)) }
                        td { (clean(&row.roles.join(", "), 200)) }
                        td.code { (clean(&row.who, 64)) }
                        td { a href={"/console/devices/" (row.device)} { (row.device) } }
                        td { @if row.rules.is_empty() { "no rule permits it" } @else { (clean(&row.rules.join(", "), 200)) } }
                        td {
                            @for example in &row.examples {
                                "record " (example.record) ", " (format::time(example.at_s)) ", " (clean(&example.about, 64)) " "
                            }
                        }
                    }
                }
            }
        }
    }
}

fn left_out(told: &Simulation) -> Markup {
    let lines = [
        (told.devices_cut, "devices have older records of these days that were not looked at"),
        (told.devices_left_out, "devices were not looked at, for want of time"),
        (told.devices_without_records, "devices have sent no record yet"),
    ];
    html! {
        @if lines.iter().any(|(count, _)| *count > 0) {
            section.card {
                h2 { "What was not looked at" }
                ul { @for (count, what) in lines.iter().filter(|(count, _)| *count > 0) { li { (count) " " (what) } } }
                p.small { code { "outpost-control policy simulate " (told.draft) " --records N" } " reads more." }
            }
        }
    }
}

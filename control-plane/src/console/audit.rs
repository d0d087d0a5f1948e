//! The devices' audit logs as they are kept here: how complete each mirror is, and what is held against a log.

pub(super) mod logs;
pub(super) mod search;

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Html;
use maud::{Markup, html};

use super::cached::Boards;
use super::layout::{self, Section, badge};
use super::viewer::{PageError, Viewer};
use super::{format, picture};
use crate::audit::MirrorSummary;
use crate::fleet::Fleet;
use crate::people::Act;

/// Logs in the table; those with incidents and gaps come first.
const MOST_ROWS: usize = 200;

/// What the page shows.
#[derive(Debug)]
pub(super) struct AuditView {
    /// The worst first.
    pub(super) mirrors: Vec<MirrorSummary>,
    pub(super) witness_key: String,
    pub(super) mirror_key: String,
}

/// Records that the device has and the mirror has not.
fn gap(mirror: &MirrorSummary) -> u64 {
    mirror.reported.unwrap_or(0).saturating_sub(mirror.mirrored)
}

/// Puts the view together.
pub(super) fn view(mirrors: &[MirrorSummary], (witness_key, mirror_key): (String, String)) -> AuditView {
    let mut mirrors = mirrors.to_vec();
    mirrors.sort_by_key(|mirror| std::cmp::Reverse((mirror.incidents.len(), gap(mirror))));
    AuditView { mirrors, witness_key, mirror_key }
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(boards): Extension<Arc<Boards>>,
) -> Result<Html<String>, PageError> {
    fleet.run_as(viewer.actor.clone(), Act::See, "audit", |_| Ok(())).await?;
    let mirrors = boards.mirrors.get(&fleet, Fleet::audit_mirrors).await?;
    let view = view(&mirrors, fleet.audit_keys());
    let body = html! { (render(&view)) @if viewer.may(Act::ReadRecords) { (desk()) } };
    Ok(layout::page(&viewer, "Audit", Section::Audit, body))
}

pub(super) fn render(view: &AuditView) -> Markup {
    let incidents: usize = view.mirrors.iter().map(|mirror| mirror.incidents.len()).sum();
    let behind = view.mirrors.iter().filter(|mirror| gap(mirror) > 0).count();
    html! {
        div #live-audit data-live {
            ul.tiles {
                li { strong { (view.mirrors.len()) } span { "logs mirrored" } }
                li.warn[behind > 0] { strong { (behind) } span { "behind their device" } }
                li.bad[incidents > 0] { strong { (incidents) } span { "incidents" } }
            }
            @if incidents > 0 { (held_against(view)) }
            section.card.flush {
                @if view.mirrors.is_empty() {
                    p.empty-state { "No device has sent a record yet." }
                } @else {
                    @if view.mirrors.len() > MOST_ROWS {
                        p.count { "The " (MOST_ROWS) " that most need a look; all with " code { "outpost-control audit ls" } }
                    }
                    div.scroll tabindex="0" role="group" aria-label="Table of logs" { (table(view)) }
                }
            }
        }
        section.card {
            h2 { "Who vouches" }
            dl {
                dt { "Witness" } dd.code { (format::shown(&view.witness_key, 400)) }
                dt { "Mirror" } dd.code { (format::shown(&view.mirror_key, 400)) }
            }
        }
    }
}

/// For whoever may read records.
fn desk() -> Markup {
    html! {
        section.card {
            h2 { "Search records" }
            (search::form(&search::Asked::default()))
        }
        section.card {
            h2 { "Report on the fleet" }
            p { "One page to keep and to print: how complete each log is, incidents, refusals, policies, what administrators did." }
            p { a.button href="/console/report" download { "Make the report" } }
            p.small { "A long one, with every mirror verified: " code { "outpost-control audit report --fleet --verify --out FILE" } }
        }
    }
}

fn held_against(view: &AuditView) -> Markup {
    html! {
        section.card.danger {
            h2 { "Held against logs" }
            ul.reasons {
                @for mirror in view.mirrors.iter().take(MOST_ROWS) {
                    @for incident in &mirror.incidents {
                        li {
                            (badge("bad", incident.kind))
                            a href={"/console/audit/" (mirror.device)} { (mirror.device) }
                            span {
                                "found " (format::time(i64::try_from(incident.found_s).unwrap_or(i64::MAX)))
                                ", log " (format::shown(&mirror.origin, 120))
                            }
                            details {
                                summary { "Both heads" }
                                pre { (format::shown(&incident.held, 2000)) }
                                pre { (format::shown(&incident.offered, 2000)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn table(view: &AuditView) -> Markup {
    html! {
        table {
            thead {
                tr { @for name in ["Device", "Log", "Complete", "Mirrored", "Missing", "Cosigned"] { th scope="col" { (name) } } }
            }
            tbody {
                @for mirror in view.mirrors.iter().take(MOST_ROWS) {
                    @let reported = mirror.reported.unwrap_or(mirror.mirrored).max(mirror.mirrored);
                    @let percent = u128::from(mirror.mirrored) * 100 / u128::from(reported.max(1));
                    @let percent = u8::try_from(percent).unwrap_or(100);
                    tr {
                        th scope="row" { a href={"/console/audit/" (mirror.device)} data-row { (mirror.device) } }
                        td.code { (format::shown(&mirror.origin, 120)) }
                        td { (picture::progress("Mirrored", percent, if gap(mirror) > 0 { "warn" } else { "good" })) }
                        td.number { (mirror.mirrored) }
                        td.number { @if mirror.reported.is_some() { (gap(mirror)) } @else { "–" } }
                        td.number { (mirror.cosigned) }
                    }
                }
            }
        }
    }
}

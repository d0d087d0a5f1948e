//! The policy bundles of the catalogue.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};
use outpost_contract::TargetKind;

use super::format;
use super::layout::{self, Section};
use super::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// A bundle of the catalogue.
#[derive(Debug)]
pub(super) struct BundleView {
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) release: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// What the page shows.
#[derive(Debug)]
pub(super) struct PoliciesView {
    pub(super) bundles: Vec<BundleView>,
}

/// Fills the view.
fn view(fleet: &Fleet) -> Result<PoliciesView, FleetError> {
    let targets = fleet.targets()?.into_iter();
    let bundles = targets.filter_map(|target| match target.facts {
        TargetKind::Policy(facts) => Some(BundleView {
            name: target.name.to_string(),
            version: facts.version,
            release: facts.release,
            bytes: target.length,
            sha256: target.sha256.to_string(),
        }),
        _ => None,
    });
    Ok(PoliciesView { bundles: bundles.collect() })
}

pub(super) async fn show(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Html<String>, PageError> {
    let view = fleet.run_as(viewer.actor.clone(), Act::See, "policies", view).await?;
    Ok(layout::page(&viewer, "Policies", Section::Policies, render(&view)))
}

pub(super) fn render(view: &PoliciesView) -> Markup {
    html! {
        @if view.bundles.is_empty() {
            section.card.empty-state {
                h2 { "No policy bundle was released yet" }
                p { "Without one a device answers nobody. Release one with " code { "outpost-control catalogue release" } "." }
            }
        } @else {
            section.card.flush {
                div.scroll tabindex="0" role="group" aria-label="Table of policy bundles" {
                    table {
                        thead {
                            tr { @for name in ["Bundle", "Version", "Release", "Length", "SHA-256"] { th scope="col" { (name) } } }
                        }
                        tbody {
                            @for bundle in &view.bundles {
                                tr {
                                    th scope="row" { (bundle.name) }
                                    td.number { (bundle.version) }
                                    td.number { (bundle.release) }
                                    td.number { (format::bytes(bundle.bytes)) }
                                    td.code { (bundle.sha256) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

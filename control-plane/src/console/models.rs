//! The catalogue: every variant of every model, and two of them side by side.

use std::collections::BTreeSet;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};
use outpost_contract::{TargetKind, VariantFacts};
use serde::Deserialize;

use super::format;
use super::layout::{self, Section, badge};
use super::viewer::{PageError, Viewer};
use crate::catalogue::TargetSummary;
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// Which two are compared.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    a: String,
    #[serde(default)]
    b: String,
}

/// What the page shows: variants by name.
#[derive(Debug)]
pub(super) struct ModelsView {
    pub(super) variants: Vec<(String, VariantFacts)>,
}

/// Fills the view; the largest models last.
fn view(fleet: &Fleet) -> Result<ModelsView, FleetError> {
    let targets = fleet.targets()?.into_iter();
    let mut variants: Vec<_> = targets
        .filter_map(|target| match target.facts {
            TargetKind::Variant(facts) => Some((target.name.to_string(), facts)),
            _ => None,
        })
        .collect();
    variants.sort_by_key(|(name, facts)| (facts.model.parameters, facts.quality_milli, name.clone()));
    Ok(ModelsView { variants })
}

/// The models that there are variants of.
pub(super) fn names(targets: &[TargetSummary]) -> Vec<String> {
    let models = targets.iter().filter_map(|target| match &target.facts {
        TargetKind::Variant(facts) => Some(facts.model.model.to_string()),
        _ => None,
    });
    models.collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, PageError> {
    let Query(asked) = asked?;
    let view = fleet.run_as(viewer.actor.clone(), Act::See, "catalogue", view).await?;
    Ok(layout::page(&viewer, "Models", Section::Models, render(&view, &asked)))
}

fn class(parameters: u64) -> &'static str {
    match parameters {
        0..1_000_000_000 => "Micro",
        1_000_000_000..4_000_000_000 => "Small",
        _ => "Medium",
    }
}

pub(super) fn render(view: &ModelsView, asked: &Asked) -> Markup {
    let named = |name: &str| view.variants.iter().find(|(of, _)| of == name);
    html! {
        @if view.variants.is_empty() {
            section.card.empty-state {
                h2 { "No model was released yet" }
                p { "Release one with " code { "outpost-control catalogue release" } "." }
            }
        } @else {
            form method="get" action="/console/models" {
                section.card.flush {
                    div.scroll tabindex="0" role="group" aria-label="Table of variants" { (table(view, asked)) }
                }
                button type="submit" { "Compare A with B" }
            }
        }
        @if let (Some(a), Some(b)) = (named(&asked.a), named(&asked.b)) { (comparison(a, b)) }
    }
}

fn table(view: &ModelsView, asked: &Asked) -> Markup {
    let heads =
        ["Model", "Class", "Weights", "Licence", "Quantisation", "Bits per weight", "File", "Context", "Variant"];
    let compared = [("a", "A", &asked.a), ("b", "B", &asked.b)];
    html! {
        table {
            thead {
                tr {
                    @for head in heads { th scope="col" { (head) } }
                    th scope="col" { "A" }
                    th scope="col" { "B" }
                }
            }
            tbody {
                @for (name, facts) in &view.variants {
                    tr {
                        th scope="row" { (facts.model.model) }
                        td { (badge("dim", class(facts.model.parameters))) }
                        td.number { (format::weights(facts.model.parameters)) }
                        td { (format::shown(&facts.model.licence, 60)) }
                        td { (format::shown(&facts.quantisation, 40)) }
                        td.number { (format::milli(facts.quality_milli.into())) }
                        td.number { (format::bytes(facts.file_bytes)) }
                        td.number { (facts.model.context_tokens) }
                        td.code { (name) }
                        @for (field, letter, chosen) in compared {
                            td {
                                input type="radio" name=(field) value=(name) checked[chosen == name]
                                    aria-label={"Compare " (name) " as " (letter)};
                            }
                        }
                    }
                }
            }
        }
    }
}

fn comparison(a: &(String, VariantFacts), b: &(String, VariantFacts)) -> Markup {
    let facts = |of: &VariantFacts| {
        [
            ("Class", class(of.model.parameters).to_owned()),
            ("Weights", format::weights(of.model.parameters)),
            ("Architecture", format::shown(&of.model.architecture, 60)),
            ("Licence", format::shown(&of.model.licence, 60)),
            ("Quantisation", format::shown(&of.quantisation, 40)),
            ("Bits per weight", format::milli(of.quality_milli.into())),
            ("File", format::bytes(of.file_bytes)),
            ("Weights in memory", format::bytes(of.weight_bytes)),
            ("Context", of.model.context_tokens.to_string()),
            ("Layers", of.model.layers.to_string()),
            ("Release", of.release.to_string()),
        ]
    };
    html! {
        section.card {
            h2 { "Side by side" }
            div.scroll tabindex="0" role="group" aria-label="Comparison" {
                table.compare {
                    thead { tr { th scope="col" { "Fact" } th scope="col" { (a.0) } th scope="col" { (b.0) } } }
                    tbody {
                        @for ((name, of_a), (_, of_b)) in facts(&a.1).into_iter().zip(facts(&b.1)) {
                            tr.differs[of_a != of_b] {
                                th scope="row" { (name) }
                                td { (of_a) }
                                td { (of_b) @if of_a != of_b { span.hidden { " (differs)" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

//! The catalogue: the variants that a filter means, with what the fleet measured of them, and two or three side by side; what
//! people decided about models. Each model has a page of its own.

mod act;
mod decisions;
mod one;

use std::collections::BTreeSet;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};
use outpost_contract::TargetKind;
use serde::Deserialize;

use super::format;
use super::layout::{self, Section, badge};
use super::viewer::{PageError, Viewer};
use crate::catalogue::TargetSummary;
use crate::config::ModelRules;
use crate::db::StoredWithdrawal;
use crate::fleet::{Fleet, FleetError};
use crate::models::{ApprovalState, ApprovalView, CatalogueEntry, Comparison, Filter};
use crate::people::Act;
pub(super) use act::{approve, restore, revoke, withdraw};
pub(super) use one::show as show_one;

/// Approvals that the page shows.
const MOST_APPROVALS: usize = 100;

/// The filter's fields as the form sends them, and which variants are compared.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    model: String,
    class: String,
    licence: String,
    family: String,
    parameters: String,
    bits: String,
    context: String,
    speed: String,
    a: String,
    b: String,
    c: String,
}

impl Asked {
    /// What the fields mean; an empty one means nothing.
    fn filter(&self) -> Result<Filter, FleetError> {
        let model = if self.model.is_empty() { String::new() } else { format!("*{}*", self.model) };
        let fields = [
            ("model", "=", &model),
            ("class", "=", &self.class),
            ("licence", "=", &self.licence),
            ("family", "=", &self.family),
            ("parameters", "<=", &self.parameters),
            ("bits", "<=", &self.bits),
            ("context", ">=", &self.context),
            ("speed", ">=", &self.speed),
        ];
        let mut said = fields.into_iter().filter(|(.., value)| !value.trim().is_empty());
        Ok(said.try_fold(Filter::default(), |filter, (field, operator, value)| filter.and(field, operator, value))?)
    }
}

/// What the page shows.
#[derive(Debug, Default)]
pub(super) struct ModelsView {
    /// The variants that are meant.
    pub(super) entries: Vec<CatalogueEntry>,
    /// How many there are in all.
    pub(super) of: usize,
    /// What there is to choose from: classes, licences, families.
    classes: BTreeSet<String>,
    licences: BTreeSet<String>,
    families: BTreeSet<String>,
    comparison: Option<Comparison>,
    rules: ModelRules,
    approvals: Vec<ApprovalView>,
    withdrawals: Vec<StoredWithdrawal>,
    now_s: i64,
}

/// Fills the view.
fn view(fleet: &Fleet, asked: &Asked) -> Result<ModelsView, FleetError> {
    let filter = asked.filter()?;
    let mut all = fleet.entries(&Filter::default())?;
    let chosen = [&asked.a, &asked.b, &asked.c].into_iter().filter(|name| !name.is_empty());
    let known = chosen.filter(|name| all.iter().any(|entry| entry.target.as_str() == *name));
    let names: Vec<String> = known.cloned().collect();
    let comparison = if names.len() > 1 { Some(fleet.compare(&names)?) } else { None };
    let words =
        |of: fn(&CatalogueEntry) -> &String| all.iter().map(of).filter(|word| !word.is_empty()).cloned().collect();
    let classes = words(|entry| &entry.class);
    let (licences, families) = (words(|entry| &entry.licence), words(|entry| &entry.family));
    let of = all.len();
    all.retain(|entry| filter.means(entry));
    let mut approvals = fleet.model_approvals(None)?;
    // The newest first; what was revoked is told on the model's page.
    approvals.retain(|view| view.state != ApprovalState::Revoked);
    approvals.reverse();
    approvals.truncate(MOST_APPROVALS);
    Ok(ModelsView {
        entries: all,
        of,
        classes,
        licences,
        families,
        comparison,
        rules: fleet.config().models.clone(),
        approvals,
        withdrawals: fleet.withdrawals()?,
        now_s: fleet.now_s(),
    })
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
    let wanted = asked.clone();
    let view = fleet.run_as(viewer.actor.clone(), Act::See, "catalogue", move |fleet| view(fleet, &wanted)).await?;
    Ok(layout::page(&viewer, "Models", Section::Models, render(&view, &asked)))
}

pub(super) fn render(view: &ModelsView, asked: &Asked) -> Markup {
    html! {
        @if view.of == 0 {
            section.card.empty-state {
                h2 { "No model was released yet" }
                p { "Release one with " code { "outpost-control catalogue release" } "." }
            }
        } @else {
            form method="get" action="/console/models" {
                section.card { h2 { "Filter" } (filters(view, asked)) }
                section.card.flush {
                    p.count role="status" { (view.entries.len()) " of " (view.of) " variants" }
                    @if view.entries.is_empty() {
                        p.empty-state { "No variant is so." }
                    } @else {
                        div.scroll tabindex="0" role="group" aria-label="Table of variants" { (table(view, asked)) }
                    }
                }
                button type="submit" { "Put A, B and C side by side" }
            }
        }
        @if let Some(comparison) = &view.comparison { (side_by_side(comparison)) }
        @if !view.withdrawals.is_empty() { (decisions::withdrawals(&view.withdrawals, view.now_s)) }
        @if !view.approvals.is_empty() { (decisions::approvals(&view.approvals, view.now_s, false)) }
        @if view.of > 0 { (decisions::rules(&view.rules)) }
    }
}

fn filters(view: &ModelsView, asked: &Asked) -> Markup {
    let lists = [
        ("class", "Class", &view.classes, &asked.class),
        ("licence", "Licence", &view.licences, &asked.licence),
        ("family", "Family", &view.families, &asked.family),
    ];
    let fields = [
        ("model", "Name", &asked.model, "qwen"),
        ("parameters", "Weights at most", &asked.parameters, "4B"),
        ("bits", "Bits per weight at most", &asked.bits, "5"),
        ("context", "Context at least", &asked.context, "32k"),
        ("speed", "Tokens/s at least", &asked.speed, "8"),
    ];
    html! {
        @for (name, label, choices, chosen) in lists {
            span.inline {
                label for={"by-" (name)} { (label) }
                select id={"by-" (name)} name=(name) {
                    option value="" { "any" }
                    @for choice in choices {
                        option value=(choice) selected[choice == chosen] { (format::shown(choice, 60)) }
                    }
                }
            }
        }
        @for (name, label, value, example) in fields {
            span.inline {
                label for={"by-" (name)} { (label) }
                input id={"by-" (name)} name=(name) value=(value) placeholder=(example) maxlength="40" autocomplete="off";
            }
        }
        button.primary type="submit" { "Filter" }
        " "
        a.button href="/console/models" { "All" }
    }
}

fn table(view: &ModelsView, asked: &Asked) -> Markup {
    let heads = [
        "Model",
        "Class",
        "Weights",
        "Licence",
        "Quantisation",
        "Bits per weight",
        "File",
        "Context",
        "Tokens/s",
        "Variant",
    ];
    let compared = [("a", "A", &asked.a), ("b", "B", &asked.b), ("c", "C", &asked.c)];
    html! {
        table {
            thead {
                tr {
                    @for head in heads { th scope="col" { (head) } }
                    @for (_, letter, _) in compared { th scope="col" { (letter) } }
                }
            }
            tbody {
                @for entry in &view.entries {
                    tr {
                        th scope="row" {
                            a href={"/console/models/" (entry.model)} data-row { (entry.model) }
                            @if let Some(reason) = &entry.withdrawn {
                                " " span title=(format::shown(reason, 200)) { (badge("bad", "withdrawn")) }
                            }
                        }
                        td { (badge("dim", &entry.class)) }
                        td.number { (format::weights(entry.parameters)) }
                        td { (decisions::licence(&view.rules, &entry.licence)) }
                        td { (format::shown(&entry.quantisation, 40)) }
                        td.number { (format::milli(entry.bits_per_weight_milli.into())) }
                        td.number { (format::bytes(entry.file_bytes)) }
                        td.number { (entry.context_tokens) }
                        td.number { (entry.speed_milli.map_or_else(|| "–".to_owned(), format::milli)) }
                        td.code { (entry.target) }
                        @for (field, letter, chosen) in compared {
                            td {
                                input type="radio" name=(field) value=(entry.target) checked[chosen == entry.target.as_str()]
                                    aria-label={"Compare " (entry.target) " as " (letter)};
                            }
                        }
                    }
                }
            }
        }
    }
}

fn side_by_side(comparison: &Comparison) -> Markup {
    html! {
        section.card {
            h2 { "Side by side" }
            div.scroll tabindex="0" role="group" aria-label="Comparison" {
                table.compare {
                    thead {
                        tr {
                            th scope="col" { "Fact" }
                            @for entry in &comparison.entries { th scope="col" { (entry.target) } }
                        }
                    }
                    tbody {
                        @for fact in &comparison.facts {
                            tr.differs[fact.differs] {
                                th scope="row" { (fact.name) @if fact.differs { span.hidden { " (differs)" } } }
                                @for value in &fact.values { td { (format::shown(value, 200)) } }
                            }
                        }
                    }
                }
            }
            @for entry in comparison.entries.iter().filter(|entry| !entry.speeds.is_empty()) {
                h3 { "Measured: " (entry.target) }
                ul {
                    @for speed in &entry.speeds {
                        li {
                            (format::shown(&speed.cpu, 60)) ", " (speed.cores) " cores: " (format::milli(speed.median_milli))
                            " tokens/s (median of " (speed.devices) ")"
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt as _;

    use crate::models::ApprovalRequest;
    use crate::models::tests::{House, rules};
    use crate::shares::Shares;

    async fn page(house: &House, query: &str) -> (StatusCode, String) {
        let shares = Shares::new(house.fleet.config().rates, |_| None);
        let request = Request::builder().uri(format!("/console/models{query}"));
        let request = request.header("authorization", format!("Bearer {}", house.token)).body(Body::empty()).unwrap();
        let response = crate::api::router(house.fleet.clone(), shares).oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_page_shows_what_is_meant_side_by_side_and_who_approved_it() {
        let house = House::new(rules(true, &[], &[]));
        let (status, all) = page(&house, "").await;
        assert!(status == StatusCode::OK && all.contains("6 of 6 variants") && !all.contains("Side by side"), "{all}");
        let (_, some) = page(&house, "?model=alpha&bits=5&licence=apache-2.0&class=Micro").await;
        assert!(
            some.contains("1 of 6 variants") && some.contains("alpha.Q4_0") && !some.contains("alpha.Q8_0"),
            "{some}"
        );
        assert!(page(&house, "?parameters=1").await.1.contains("No variant is so."));
        let (_, three) = page(&house, "?a=alpha.Q4_0&b=alpha.Q8_0&c=beta.Q4_0").await;
        assert!(three.contains("Side by side") && three.matches("(differs)").count() >= 3, "{three}");
        // What is not there is not compared, and what is no number is said.
        assert!(!page(&house, "?a=alpha.Q4_0&b=nothing").await.1.contains("Side by side"));
        let (status, refusal) = page(&house, "?bits=many").await;
        assert!(status == StatusCode::BAD_REQUEST && refusal.contains("is no number"), "{refusal}");
        let note = "<script>alert(1)</script>".to_owned();
        let request = ApprovalRequest { until_s: house.fleet.now_s() + 86_400, selector: None, note };
        house.fleet.approve_model(&"alpha".parse().unwrap(), &request, "ada").unwrap();
        let (_, approved) = page(&house, "").await;
        assert!(approved.contains("Approvals") && approved.contains("counts") && !approved.contains("<script>alert"));
    }
}

//! Search over the mirrored records, and the fleet's report.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{Html, Response};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use crate::api::report_file;
use crate::audit::{Found, ReportRequest, SearchRequest};
use crate::console::format;
use crate::console::layout::{self, Section};
use crate::console::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// Hits of a page.
const ROWS: usize = 50;

/// Longest line and longest record that are shown, characters.
const LINE: usize = 400;
const RECORD: usize = 8000;

/// The form as a browser sends it: what is empty asks for nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    device: String,
    who: String,
    act: String,
    effect: String,
    since: String,
    before: String,
    after: String,
}

impl Asked {
    fn is_empty(&self) -> bool {
        let all = [&self.device, &self.who, &self.act, &self.effect, &self.since, &self.before];
        all.iter().all(|text| text.trim().is_empty())
    }

    fn request(&self) -> Result<SearchRequest, FleetError> {
        let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let device = said(&self.device).map(|device| device.parse());
        let device =
            device.transpose().map_err(|_| FleetError::Search("there is no device of that name".to_owned()))?;
        let day = |text: &str| {
            let day = said(text).map(|text| text.parse::<Date>().and_then(|day| day.to_zoned(TimeZone::UTC)));
            let day =
                day.transpose().map_err(|_| FleetError::Search("a day is written as in 2026-11-27".to_owned()))?;
            Ok::<_, FleetError>(day.map(|day| day.timestamp().as_millisecond()))
        };
        Ok(SearchRequest {
            device,
            who: said(&self.who),
            act: said(&self.act),
            effect: said(&self.effect),
            since_ms: day(&self.since)?,
            before_ms: day(&self.before)?,
            limit: Some(ROWS),
            after: said(&self.after),
        })
    }

    fn query(&self, after: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("device", self.device.as_str()),
            ("who", &self.who),
            ("act", &self.act),
            ("effect", &self.effect),
            ("since", &self.since),
            ("before", &self.before),
            ("after", after),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

pub(crate) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, PageError> {
    let Query(asked) = asked?;
    // Nothing is read before something is asked for.
    let found = if asked.is_empty() {
        fleet.run_as(viewer.actor.clone(), Act::See, "records", |_| Ok(())).await?;
        None
    } else {
        let request = asked.request()?;
        let read = move |fleet: &Fleet| fleet.search_records(&request);
        Some(fleet.run_as(viewer.actor.clone(), Act::ReadRecords, "records", read).await?)
    };
    Ok(layout::page(&viewer, "Search records", Section::Audit, render(&asked, found.as_ref())))
}

/// The form, as it was filled.
pub(in crate::console) fn form(asked: &Asked) -> Markup {
    let field = |id: &'static str, label: &str, kind: &str, value: &str| {
        html! {
            label for=(id) { (label) }
            input id=(id) name=(id) type=(kind) value=(format::shown(value, 200)) maxlength="200" autocomplete="off"
                spellcheck="false";
        }
    };
    html! {
        form method="get" action="/console/records" role="search" aria-label="Search records" {
            (field("device", "Device", "text", &asked.device))
            (field("who", "Person, by pseudonym", "text", &asked.who))
            (field("act", "Act or type of record", "text", &asked.act))
            label for="effect" { "Decision" }
            select id="effect" name="effect" {
                option value="" { "any" }
                @for effect in ["allow", "deny"] { option value=(effect) selected[asked.effect == effect] { (effect) } }
            }
            (field("since", "From this day on", "date", &asked.since))
            (field("before", "Before this day", "date", &asked.before))
            button.primary type="submit" { "Search" }
        }
    }
}

pub(in crate::console) fn render(asked: &Asked, found: Option<&Found>) -> Markup {
    html! {
        section.card { (form(asked)) }
        @if let Some(found) = found {
            section.card aria-label="Records found" {
                p.count role="status" {
                    (found.hits.len()) " found among " (found.looked) " records, of each device the newest first"
                }
                @if !found.not_looked.is_empty() {
                    h2 { "Not looked at" }
                    ul.reasons { @for what in &found.not_looked { li { (format::shown(what, LINE)) } } }
                }
                @for hit in &found.hits {
                    details {
                        summary { (hit.device) " log " (hit.log) ": " (format::shown(&hit.line, LINE)) }
                        pre { (format::shown(&format!("{:#}", hit.record), RECORD)) }
                    }
                }
                nav.pages aria-label="Pages of what was found" {
                    @if let Some(next) = &found.next {
                        a.button rel="next" href={"/console/records?" (asked.query(next))} { "Go on" }
                    }
                }
            }
        }
    }
}

/// The fleet's report, to be kept: it brings its own style.
pub(crate) async fn report(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Response, PageError> {
    let read = |fleet: &Fleet| fleet.fleet_report(&ReportRequest::quick());
    Ok(report_file(fleet.run_as(viewer.actor.clone(), Act::ReadRecords, "audit report", read).await?))
}

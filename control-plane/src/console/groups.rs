//! Groups of devices: who is meant by each name; made, changed and removed by those who may assign.

use std::collections::BTreeMap;

use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{Html, Response};
use maud::{Markup, html};
use outpost_contract::DeviceId;
use serde::Deserialize;

use super::format;
use super::layout::{self, Notice, Section, done};
use super::standing::devices_where;
use super::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::{DeviceView, Group, Preview};
use crate::people::Act;

/// Names of devices that are shown of a group.
const MOST_NAMES: usize = 8;

/// Groups that are counted on the page; each count goes through all devices.
const MOST_COUNTED: usize = 50;

/// A selector that is tried before it becomes a group.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Tried {
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    selector: String,
}

/// What the page shows.
#[derive(Debug)]
pub(super) struct GroupsPage {
    /// Each with whom it means, as far as they are counted.
    pub(super) groups: Vec<(Group, Option<Preview>)>,
    pub(super) tried: Tried,
    /// Whom the tried selector means, or why nobody.
    pub(super) preview: Option<Result<Preview, String>>,
}

fn view(fleet: &Fleet, tried: Tried) -> Result<GroupsPage, FleetError> {
    let mut groups = Vec::new();
    for (at, group) in fleet.groups()?.into_iter().enumerate() {
        // A name that no selector can hold came here by no command; it is shown, and nobody is counted.
        let preview = (at < MOST_COUNTED).then(|| fleet.preview(&format!("group={}", group.name)));
        let preview = match preview {
            Some(Err(FleetError::Selector(_) | FleetError::UnknownGroup(_))) => None,
            counted => counted.transpose()?,
        };
        groups.push((group, preview));
    }
    let preview = match tried.selector.trim() {
        "" => None,
        text => Some(fleet.preview(text).map_err(|error| error.to_string())),
    };
    Ok(GroupsPage { groups, tried, preview })
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    tried: Result<Query<Tried>, QueryRejection>,
) -> Result<Html<String>, PageError> {
    let Query(tried) = tried?;
    let view = fleet.run_as(viewer.actor.clone(), Act::See, "groups", move |fleet| view(fleet, tried)).await?;
    Ok(layout::page(&viewer, "Groups", Section::Devices, render(&view, &viewer)))
}

pub(super) fn render(view: &GroupsPage, viewer: &Viewer) -> Markup {
    let may = viewer.may(Act::Assign);
    html! {
        p.crumb { a href="/console/devices" { "All devices" } }
        section #live-groups.card.flush data-live {
            @if view.groups.is_empty() {
                p.empty-state { "No group yet. A group is a name for a selector, or for devices that are named one by one." }
            } @else {
                div.scroll tabindex="0" role="group" aria-label="Table of groups" {
                    table {
                        thead {
                            tr {
                                @for name in ["Group", "Means", "Devices", "For"] { th scope="col" { (name) } }
                                @if may { th scope="col" { span.hidden { "Remove" } } }
                            }
                        }
                        tbody { @for (group, preview) in &view.groups { (row(group, preview.as_ref(), may)) } }
                    }
                }
            }
        }
        @if may { (editor(view)) }
    }
}

fn row(group: &Group, preview: Option<&Preview>, may: bool) -> Markup {
    let selector = format!("group={}", group.name);
    html! {
        tr {
            th scope="row" {
                @match devices_where(&selector) {
                    Some(link) => a href=(link) data-row { (format::shown(&group.name, 64)) },
                    None => (format::shown(&group.name, 64)),
                }
            }
            td {
                @match &group.selector {
                    Some(selector) => code { (format::shown(selector, 200)) },
                    None => (names(&group.members)),
                }
            }
            td.number { @match preview { Some(preview) => (preview.count), None => "not counted" } }
            td { (format::shown(&group.description, 200)) }
            @if may {
                td {
                    form.inline method="post" action="/console/groups/remove" {
                        input type="hidden" name="name" value=(group.name);
                        button.quiet type="submit" aria-label={"Remove the group " (format::shown(&group.name, 64))} { "Remove" }
                    }
                }
            }
        }
    }
}

fn names(devices: &[DeviceId]) -> Markup {
    html! {
        @for (at, device) in devices.iter().take(MOST_NAMES).enumerate() {
            @if at > 0 { ", " }
            a href={"/console/devices/" (device)} { (device) }
        }
        @if devices.len() > MOST_NAMES { " and " (devices.len() - MOST_NAMES) " more" }
    }
}

fn editor(view: &GroupsPage) -> Markup {
    html! {
        section.card {
            h2 { "Make or change a group" }
            form.narrow method="post" action="/console/groups" data-preview="live-preview" {
                label for="name" { "Name" }
                input id="name" name="name" required maxlength="64" autocomplete="off" spellcheck="false" value=(view.tried.name);
                label for="selector" { "Devices that it means, as a selector" }
                input id="selector" name="selector" required maxlength="1000" autocomplete="off" autocapitalize="none" spellcheck="false"
                    value=(view.tried.selector) placeholder="label.stage=canary and memory>=2GiB" aria-describedby="live-preview";
                div #live-preview data-live role="status" {
                    @match &view.preview {
                        None => p.small { "Whom it means is shown here as you type." },
                        Some(Ok(preview)) => p.small {
                            strong { (preview.count) } " of " (preview.of) " devices"
                            @if !preview.first.is_empty() { ": " (names(&preview.first)) }
                            @if preview.count > preview.first.len() as u64 { " …" }
                        },
                        Some(Err(why)) => pre.misread { (format::shown(why, 800)) },
                    }
                }
                label for="description" { "What it is for" }
                input id="description" name="description" maxlength="200" autocomplete="off" value=(view.tried.description);
                button.primary type="submit" { "Keep the group" }
            }
        }
    }
}

/// The labels of a device as small words.
pub(super) fn labels(device: &DeviceView) -> Markup {
    html! { @for (key, value) in &device.labels { (label_word(key, value)) " " } }
}

/// One label.
pub(super) fn label_word(key: &str, value: &str) -> Markup {
    html! { span.label-word { (format::shown(key, 63)) "=" (format::shown(value, 63)) } }
}

pub(super) async fn keep(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    form: Result<Form<Tried>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(form) = form?;
    let group = Group {
        name: form.name.trim().to_owned(),
        description: form.description.trim().to_owned(),
        selector: Some(form.selector.trim().to_owned()),
        members: Vec::new(),
    };
    let subject = group.name.clone();
    fleet.run_as(viewer.actor, Act::Assign, subject, move |fleet| fleet.keep_group(&group)).await?;
    Ok(done("/console/groups", Notice::GroupKept))
}

#[derive(Debug, Deserialize)]
pub(super) struct RemoveForm {
    name: String,
}

pub(super) async fn remove(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    form: Result<Form<RemoveForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(RemoveForm { name }) = form?;
    let subject = name.clone();
    fleet.run_as(viewer.actor, Act::Assign, subject, move |fleet| fleet.remove_group(&name)).await?;
    Ok(done("/console/groups", Notice::GroupRemoved))
}

#[derive(Debug, Deserialize)]
pub(super) struct LabelForm {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    /// The key of a label that goes.
    #[serde(default)]
    remove: String,
}

/// Sets one label of a device, or removes one.
pub(super) async fn label(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    form: Result<Form<LabelForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(device), Form(form)) = (device?, form?);
    let name = device.clone();
    let act = move |fleet: &Fleet| match form.remove.is_empty() {
        true => {
            let set = BTreeMap::from([(form.key.trim().to_owned(), form.value.trim().to_owned())]);
            fleet.set_labels(&name, &set, &[])
        }
        false => fleet.set_labels(&name, &BTreeMap::new(), &[form.remove]),
    };
    fleet.run_as(viewer.actor, Act::Assign, &device, act).await?;
    Ok(done(&format!("/console/devices/{device}"), Notice::Labelled))
}

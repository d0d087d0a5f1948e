//! One file of a draft, to read and to edit.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;

use super::draft::finding;
use super::path;
use crate::console::layout::{self, Section};
use crate::console::viewer::{PageError, Viewer};
use crate::fleet::Fleet;
use crate::inventory::words::clean;
use crate::people::Act;
use crate::policy_desk::PolicyDraft;

#[derive(Debug, Deserialize)]
pub(in crate::console) struct Wanted {
    file: String,
}

pub(in crate::console) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Html<String>, PageError> {
    let (Path(name), Query(Wanted { file })) = (name?, wanted?);
    let draft = fleet.run_as(viewer.actor.clone(), Act::See, "a draft", move |fleet| fleet.policy_draft(&name)).await?;
    let file = file.trim().to_owned();
    let title = format!("{} of {}", clean(&file, 100), draft.summary.name);
    Ok(layout::page(&viewer, &title, Section::Policies, render(&draft, &file, &viewer)))
}

fn render(draft: &PolicyDraft, file: &str, viewer: &Viewer) -> Markup {
    let name = &draft.summary.name;
    let text = draft.files.get(file);
    let found: Vec<_> = draft.found.iter().filter(|found| found.file == file).collect();
    html! {
        p.crumb { a href=(path(name)) { "The draft " (name) } }
        @if !found.is_empty() {
            section.card { h2 { "Found here" } ul.reasons { @for found in found { (finding(name, found, text)) } } }
        }
        section.card {
            @if viewer.may(Act::DraftPolicy) {
                form method="post" action={(path(name)) "/file"} {
                    input type="hidden" name="revision" value=(draft.summary.revision);
                    input type="hidden" name="file" value=(visible(file));
                    label for="text" { @if text.is_some() { "Text" } @else { "Text of the new file" } }
                    // A browser leaves out the first line end.
                    textarea id="text" name="text" rows="28" spellcheck="false" { "\n" (visible(text.unwrap_or_default())) }
                    button.primary type="submit" { "Save and look at it" }
                }
                p.small { "An empty text takes the file away. What cannot be seen is shown as \u{fffd}." }
            } @else {
                pre tabindex="0" role="group" aria-label="Text of the file" { (visible(text.unwrap_or_default())) }
            }
        }
    }
}

/// A text with everything that cannot be seen made visible; lines and tabs stay.
fn visible(text: &str) -> String {
    let line = |line: &str| line.split('\t').map(|part| clean(part, usize::MAX)).collect::<Vec<_>>().join("\t");
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

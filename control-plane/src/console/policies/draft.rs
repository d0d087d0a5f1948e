//! One draft: what was found in it, what it changes, who approves it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};
use outpost_policies::{Fate, FileDiff, Found};

use super::{path, people, state};
use crate::console::format;
use crate::console::layout::{self, Section, badge};
use crate::console::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::words::clean;
use crate::people::{Act, is_same_person};
use crate::policy_desk::{DraftState, PolicyDiff, PolicyDraft};

/// Findings and changes on the page; `outpost-control policy` shows all.
const MOST_FOUND: usize = 200;

/// Characters of a line.
const LINE: usize = 300;

pub(in crate::console) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path(name) = name?;
    let look = move |fleet: &Fleet| Ok::<_, FleetError>((fleet.policy_draft(&name)?, fleet.policy_diff(&name)?));
    let (draft, diff) = fleet.run_as(viewer.actor.clone(), Act::See, "a draft", look).await?;
    let title = format!("Draft {}", draft.summary.name);
    Ok(layout::page(&viewer, &title, Section::Policies, render(&draft, &diff, &viewer)))
}

pub(in crate::console) fn render(draft: &PolicyDraft, diff: &PolicyDiff, viewer: &Viewer) -> Markup {
    let summary = &draft.summary;
    html! {
        p.crumb { a href="/console/policies" { "All policies" } }
        p.state { (state(summary.state)) " saved " (format::time(summary.saved_s)) " by " (clean(&summary.author, 80)) }
        div.grid {
            (standing(draft))
            (approval(draft, viewer))
        }
        (findings(draft))
        (words(diff))
        (lines(&diff.lines))
        (cases(draft))
        (files(draft, viewer))
        @if viewer.may(Act::ReadRecords) { (try_it(&summary.name)) }
        @if viewer.may(Act::DraftPolicy) { (drop_it(&summary.name)) }
    }
}

fn standing(draft: &PolicyDraft) -> Markup {
    let summary = &draft.summary;
    html! {
        section.card {
            h2 { "What it is" }
            dl {
                dt { "Digest" } dd.code { (summary.digest.as_deref().unwrap_or("none: its files cannot be read")) }
                dt { "Version" } dd { @if let Some(version) = summary.version { (version) } @else { "–" } }
                dt { "Written by" } dd { (people(summary.authors.iter())) }
                dt { "Approved by" } dd { (people(summary.approvals.iter().map(|approval| &approval.person))) }
            }
            @if summary.state == DraftState::Ready {
                p.small { "Released with the offline keys: " code { "outpost-control policy publish " (summary.name) " --keys DIR" } }
            }
        }
    }
}

fn approval(draft: &PolicyDraft, viewer: &Viewer) -> Markup {
    let summary = &draft.summary;
    let wrote = summary.authors.iter().any(|author| is_same_person(author, &viewer.actor.name));
    let (may, digest) = (viewer.may(Act::ApprovePolicy), summary.digest.as_deref());
    html! {
        section.card {
            h2 { "The second person" }
            @match (summary.state, digest) {
                (DraftState::Faulty, _) | (_, None) => p { "A draft with errors is not approved." },
                (DraftState::Waiting | DraftState::Ready, Some(_)) if wrote => p { "You wrote it: a second person approves it." },
                (DraftState::Waiting | DraftState::Ready, Some(digest)) if may => {
                    p { "You approve exactly what is on this page. Another word in it is another digest, and asks anew." }
                    form method="post" action={(path(&summary.name)) "/approve"} {
                        input type="hidden" name="digest" value=(digest);
                        button.primary type="submit" { "Approve " (digest.get(..12).unwrap_or(digest)) }
                    }
                },
                (DraftState::Waiting | DraftState::Ready, Some(_)) => p { "Somebody with the role approver approves it." },
                (DraftState::Staged | DraftState::Released, Some(_)) => p { "It is in the catalogue." },
            }
            @if !draft.two_persons { p.small { "One person is enough here, so it can be released without." } }
        }
    }
}

fn findings(draft: &PolicyDraft) -> Markup {
    let errors = draft.found.iter().filter(|found| found.is_error).count();
    html! {
        section.card.danger[errors > 0] {
            h2 {
                @match (errors, draft.found.len()) {
                    (0, 0) => "Nothing was found",
                    (0, _) => "Hints",
                    _ => { (errors) " errors" },
                }
            }
            ul.reasons {
                @for found in draft.found.iter().take(MOST_FOUND) { (finding(&draft.summary.name, found, draft.files.get(&found.file))) }
            }
            @if draft.found.len() > MOST_FOUND { p.small { "and " (draft.found.len() - MOST_FOUND) " more" } }
        }
    }
}

/// One finding, with the line that it is about.
pub(super) fn finding(draft: &str, found: &Found, text: Option<&str>) -> Markup {
    let line = found.line.and_then(|line| text?.lines().nth(line.checked_sub(1)?));
    html! {
        li {
            @if found.is_error { (badge("bad", "error")) } @else { (badge("dim", "hint")) }
            a href={(path(draft)) "/file?file=" (query(&found.file))} {
                (clean(&found.file, 128)) @if let Some(line) = found.line { ":" (line) }
            }
            span {
                @if let Some(rule) = &found.rule { "rule " code { (clean(rule, 64)) } ": " }
                (clean(&found.what, 1000))
                @if let Some(way_out) = &found.way_out { " Write: " (clean(way_out, 400)) }
                @if let Some(line) = line { " In the line " code { (clean(line.trim(), LINE)) } }
            }
        }
    }
}

pub(super) fn query(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn words(diff: &PolicyDiff) -> Markup {
    html! {
        section.card {
            h2 {
                "What changes "
                @match diff.widens {
                    Some(true) => (badge("warn", "somebody may do more, or could")),
                    Some(false) => (badge("good", "nobody may do more")),
                    None => "",
                }
            }
            @match (&diff.words, diff.from) {
                (None, _) => p { "A draft with errors can be compared line by line only." },
                (Some(words), _) if words.is_empty() => p { "Nothing of what anybody may do." },
                (Some(words), from) => {
                    p.small { @if let Some(from) = from { "From version " (from) ", which is in force." } @else { "Nothing is in force yet." } }
                    ul { @for words in words.iter().take(MOST_FOUND) { li { (clean(words, 500)) } } }
                    @if words.len() > MOST_FOUND { p.small { "and " (words.len() - MOST_FOUND) " more" } }
                }
            }
        }
    }
}

/// Every line: two bundles have 1 MiB each at most.
fn lines(files: &[FileDiff]) -> Markup {
    html! {
        @for file in files {
            section.card {
                h2 { "Lines of " (clean(&file.file, 128)) }
                pre.diff tabindex="0" role="group" aria-label={"Lines of " (clean(&file.file, 128)) " that change"} {
                    @for hunk in &file.hunks {
                        span.place { "line " (hunk.newer_line) "\n" }
                        @for line in &hunk.lines {
                            span.(fate(line.fate)) { (line.fate.sign()) (clean(&line.text.replace('\t', "    "), LINE)) "\n" }
                        }
                    }
                }
            }
        }
    }
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Same => "same",
        Fate::Removed => "removed",
        Fate::Added => "added",
    }
}

fn cases(draft: &PolicyDraft) -> Markup {
    let failed = draft.cases.iter().filter(|case| case.problem.is_some()).count();
    html! {
        section.card {
            h2 {
                (draft.cases.len()) " cases "
                @if draft.cases.is_empty() { (badge("dim", "not run")) }
                @else if failed > 0 { (badge("bad", &format!("{failed} do not hold"))) }
                @else { (badge("good", "all hold")) }
            }
            @if !draft.cases.is_empty() {
                details {
                    summary { "Every case" }
                    ul.reasons {
                        @for case in &draft.cases {
                            li {
                                @if case.problem.is_some() { (badge("bad", "fails")) } @else { (badge("good", "holds")) }
                                span { (clean(&case.title, 200)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn files(draft: &PolicyDraft, viewer: &Viewer) -> Markup {
    let name = &draft.summary.name;
    html! {
        section.card {
            h2 { "Files" }
            ul.reasons {
                @for (file, text) in draft.files.as_map() {
                    li {
                        a href={(path(name)) "/file?file=" (query(file))} { (clean(file, 128)) }
                        span.small { (text.lines().count()) " lines" }
                    }
                }
            }
            @if viewer.may(Act::DraftPolicy) {
                form.inline method="get" action={(path(name)) "/file"} {
                    label for="new-file" { "Another file" }
                    input id="new-file" name="file" required maxlength="128" placeholder="night.cedar" autocomplete="off" spellcheck="false";
                    button type="submit" { "Write it" }
                }
            }
        }
    }
}

fn try_it(name: &str) -> Markup {
    html! {
        section.card {
            h2 { "What it would have decided" }
            p { "The decisions that devices recorded are put to this draft: who would have been refused, who newly allowed." }
            form.inline method="post" action={(path(name)) "/simulate"} {
                label for="days" { "Days back" }
                input id="days" name="days" type="number" min="1" max="90" value="7" required;
                button type="submit" { "Simulate" }
            }
        }
    }
}

fn drop_it(name: &str) -> Markup {
    html! {
        section.card.danger {
            h2 { "Drop the draft" }
            form.inline method="post" action={(path(name)) "/drop"} {
                label for="confirm" { "Type " (name) " to drop it" }
                input id="confirm" name="confirm" required maxlength="48" autocomplete="off" spellcheck="false";
                button.danger type="submit" { "Drop" }
            }
        }
    }
}

//! What people decided about models, as tables; and what the settings ask for before one is assigned.

use maud::{Markup, html};
use outpost_contract::ModelId;

use crate::config::{LicenceStanding, ModelRules};
use crate::console::format;
use crate::console::layout::badge;
use crate::db::StoredWithdrawal;
use crate::models::{ApprovalState, ApprovalView};

/// Where a model is seen; nowhere, for a name that can be none.
pub(super) fn path(model: &str) -> Option<String> {
    model.parse::<ModelId>().ok().map(|model| format!("/console/models/{model}"))
}

/// A model's name, which leads to its page.
pub(super) fn named(model: &str) -> Markup {
    html! {
        @match path(model) {
            Some(path) => a href=(path) { (model) },
            None => (format::shown(model, 64)),
        }
    }
}

/// A licence, and what it asks for.
pub(super) fn licence(rules: &ModelRules, licence: &str) -> Markup {
    html! {
        (if licence.is_empty() { "unknown".to_owned() } else { format::shown(licence, 60) })
        @match rules.licence(licence) {
            LicenceStanding::Denied => { " " (badge("bad", "refused")) },
            LicenceStanding::NeedsApproval => { " " (badge("warn", "needs an approval")) },
            LicenceStanding::Allowed if rules.approvals => { " " (badge("warn", "needs an approval")) },
            LicenceStanding::Allowed => {},
        }
    }
}

/// The rules of `outpost-control.toml` in words.
pub(super) fn rules(rules: &ModelRules) -> Markup {
    let list = |licences: &[String]| licences.iter().map(|one| format::shown(one, 60)).collect::<Vec<_>>().join(", ");
    html! {
        section.card {
            h2 { "Before a model is assigned" }
            @if *rules == ModelRules::default() {
                p {
                    "Nothing is asked for here. " code { "[models]" } " and " code { "[licences]" } " in "
                    code { "outpost-control.toml" } " say which models need an approval, and which licences are refused."
                }
            } @else {
                dl {
                    dt { "Approvals" }
                    dd {
                        @if rules.approvals { "every model needs one" }
                        @else if rules.allow.is_empty() { "a model of an unknown licence needs one" }
                        @else { "a model of any licence that is not allowed needs one" }
                    }
                    @if !rules.allow.is_empty() { dt { "Licences allowed" } dd { (list(&rules.allow)) } }
                    @if !rules.deny.is_empty() { dt { "Licences refused" } dd { (list(&rules.deny)) ": no approval helps" } }
                }
            }
            p.small { "What a device was told to run before goes on; only a withdrawal stops it." }
        }
    }
}

/// Approvals, with a button that takes one back for those who may.
pub(super) fn approvals(approvals: &[ApprovalView], now_s: i64, may_revoke: bool) -> Markup {
    html! {
        section.card {
            h2 { "Approvals" }
            p.small { "One that has ended stops nothing that runs; nothing is newly assigned by it." }
            div.scroll tabindex="0" role="group" aria-label="Table of approvals" {
                table {
                    thead {
                        tr {
                            @for head in ["Model", "State", "Ends", "By", "For", "Licence", "Note", "Name"] {
                                th scope="col" { (head) }
                            }
                            @if may_revoke { th scope="col" { span.hidden { "Take back" } } }
                        }
                    }
                    tbody { @for view in approvals { (approval(view, now_s, may_revoke)) } }
                }
            }
        }
    }
}

fn approval(ApprovalView { state, approval }: &ApprovalView, now_s: i64, may_revoke: bool) -> Markup {
    let tone = match state {
        ApprovalState::Counts => "good",
        ApprovalState::Partly => "warn",
        ApprovalState::Ended | ApprovalState::Revoked => "dim",
    };
    let path = path(&approval.model).filter(|_| may_revoke && *state != ApprovalState::Revoked);
    html! {
        tr {
            th scope="row" { (named(&approval.model)) }
            td {
                (badge(tone, state.name()))
                @if let Some(person) = &approval.revoked_by { " by " (format::shown(person, 60)) }
            }
            td { (format::from_now(approval.until_s, now_s)) }
            td { (format::shown(&approval.person, 60)) }
            td { (format::shown(&approval.selector, 120)) }
            td { (format::shown(&approval.licence, 60)) }
            td { (format::shown(&approval.note, 120)) }
            td.code { (format::shown(&approval.id, 40)) }
            @if may_revoke {
                td {
                    @if let Some(path) = path {
                        form.inline method="post" action={(path) "/revoke"} {
                            input type="hidden" name="id" value=(approval.id);
                            button.quiet type="submit" aria-label={"Take back the approval " (format::shown(&approval.id, 40))} { "Take back" }
                        }
                    }
                }
            }
        }
    }
}

/// Withdrawals. They are taken back on the model's page, all of a model together.
pub(super) fn withdrawals(withdrawals: &[StoredWithdrawal], now_s: i64) -> Markup {
    html! {
        section.card.danger {
            h2 { "Withdrawn" }
            div.scroll tabindex="0" role="group" aria-label="Table of withdrawals" {
                table {
                    thead {
                        tr {
                            @for head in ["Model", "What", "Devices stop", "Since", "By", "Why"] { th scope="col" { (head) } }
                        }
                    }
                    tbody {
                        @for one in withdrawals {
                            tr {
                                th scope="row" { (named(&one.model)) }
                                td { @if one.target.is_empty() { "all of it" } @else { (format::shown(&one.target, 80)) } }
                                td {
                                    @if one.after_s <= now_s { (badge("bad", "over")) " " } @else { (badge("warn", "runs out")) " " }
                                    (format::from_now(one.after_s, now_s))
                                }
                                td { (format::time(one.at_s)) }
                                td { (format::shown(&one.person, 60)) }
                                td { (format::shown(&one.reason, 200)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

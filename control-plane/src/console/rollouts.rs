//! Rollouts: which change reaches the fleet, wave by wave, why one stands still, and what people do about it.

use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, Response};
use maud::{Markup, html};
use outpost_contract::TargetKind;
use outpost_rollout::OnFailure;
use serde::Deserialize;

use super::format::{self, segment};
use super::layout::{self, Notice, Section, badge, done};
use super::models;
use super::picture::{self, Part};
use super::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;
use crate::rollouts::{self, RolloutRequest, WaveRequest};

/// Rollouts on the page.
const MOST_ROLLOUTS: usize = 50;

/// What happens when a gate fails.
const ON_FAILURE: [(&str, &str, OnFailure); 3] = [
    ("all", "all devices get back what they had", OnFailure::RollBackAll),
    ("wave", "those of the wave get back what they had", OnFailure::RollBackWave),
    ("pause", "it stands still until a person decides", OnFailure::Pause),
];

/// A rollout as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutView {
    /// Its name; it stands in the address.
    pub(crate) name: String,
    /// What it brings, to whom, by whom, in words.
    pub(crate) change: String,
    /// The state in one word.
    pub(crate) state: String,
    /// Colour of the state: `good`, `accent`, `warn`, `bad`, `dim`.
    pub(crate) tone: &'static str,
    /// Why it stands still or went back, if it did.
    pub(crate) reason: Option<String>,
    /// When it began, seconds since 1970.
    pub(crate) began_s: i64,
    /// The waves in their order.
    pub(crate) waves: Vec<WaveView>,
    /// The wave that people are to agree to.
    pub(crate) awaits: Option<Awaits>,
    /// What else can be done with it now: its name in the address, and on the button.
    pub(crate) acts: Vec<(&'static str, &'static str)>,
    /// Devices that failed, with the reason.
    pub(crate) failures: Vec<(String, String)>,
    /// What happened last, the newest first.
    pub(crate) notices: Vec<(i64, String)>,
}

/// Whose word a wave waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Awaits {
    /// Who started the rollout, and never approves it.
    pub(crate) author: String,
    /// Who agreed.
    pub(crate) agreed: Vec<String>,
}

/// A wave of a rollout: how many devices stand where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaveView {
    /// Its name or number.
    pub(crate) name: String,
    /// What its gate says, or for how long it soaks.
    pub(crate) gate: String,
    /// Devices that run the change.
    pub(crate) done: u64,
    /// Devices under way.
    pub(crate) under_way: u64,
    /// Devices that failed.
    pub(crate) failed: u64,
    /// Devices that have what they had again.
    pub(crate) back: u64,
    /// Devices that wait.
    pub(crate) waiting: u64,
}

/// What can be chosen for a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Models of the catalogue.
    pub(crate) models: Vec<String>,
    /// Policies of the catalogue.
    pub(crate) policies: Vec<String>,
    /// Versions of the agent in the catalogue.
    pub(crate) builds: Vec<String>,
}

/// The rollouts, newest first, and what a new one can bring.
fn view(fleet: &Fleet) -> Result<(Vec<RolloutView>, Choice), FleetError> {
    let rollouts = fleet.newest_rollouts(MOST_ROLLOUTS)?.into_iter().map(drawn).collect();
    let targets = fleet.targets()?;
    let is_policy = |kind: &TargetKind| matches!(kind, TargetKind::Policy(_));
    let policies = targets.iter().filter(|target| is_policy(&target.facts)).map(|target| target.name.to_string());
    let version =
        |kind: &TargetKind| if let TargetKind::Agent(facts) = kind { Some(facts.version.to_string()) } else { None };
    let mut builds: Vec<_> = targets.iter().filter_map(|target| version(&target.facts)).collect();
    builds.sort();
    builds.dedup();
    Ok((rollouts, Choice { policies: policies.collect(), models: models::names(&targets), builds }))
}

fn drawn(rollout: rollouts::RolloutView) -> RolloutView {
    let tone = match rollout.state.as_str() {
        "completed" => "good",
        "running" => "accent",
        "paused" => "warn",
        "rolling_back" | "rolled_back" => "bad",
        _ => "dim",
    };
    let acts: &[_] = match rollout.state.as_str() {
        "running" => &[("pause", "Pause"), ("retry", "Retry failed"), ("abort", "Abort and roll back")],
        "paused" => &[("resume", "Resume"), ("retry", "Retry failed"), ("abort", "Abort and roll back")],
        _ => &[],
    };
    // While it goes back, nobody is asked any more.
    let asked = rollout.awaits_approval_of.filter(|_| ["running", "paused"].contains(&rollout.state.as_str()));
    let awaits = asked.and_then(|number| rollout.waves.iter().find(|wave| wave.number == number));
    let awaits = awaits.map(|wave| Awaits { author: rollout.author.clone(), agreed: wave.approved_by.clone() });
    let has_failed = rollout.waves.iter().any(|wave| wave.parts()[2].1 > 0);
    let offered = |act: &&(&str, &str)| act.0 != "retry" || has_failed;
    RolloutView {
        change: format!("{} for {}, by {}", rollout.change, rollout.request.selector, rollout.author),
        waves: rollout.waves.iter().map(|of| wave(of, &rollout)).collect(),
        state: rollout.state.replace('_', " "),
        tone,
        reason: rollout.reason,
        began_s: rollout.created_s,
        awaits,
        acts: acts.iter().filter(offered).copied().collect(),
        failures: rollout
            .failures
            .into_iter()
            .map(|failed| (failed.device.to_string(), failed.reason.unwrap_or_default()))
            .collect(),
        notices: rollout.notices.into_iter().map(|notice| (notice.at_s, notice.text)).collect(),
        name: rollout.name,
    }
}

fn wave(wave: &rollouts::WaveView, of: &rollouts::RolloutView) -> WaveView {
    let [(_, done), (_, under_way), (_, failed), (_, waiting)] = wave.parts();
    let approvals = format!("{} of {} people agreed", wave.approved_by.len(), wave.approvals_needed);
    let (runs, ended) = (of.state == "running", !["running", "paused"].contains(&of.state.as_str()));
    let gate = match (wave.state, wave.soaks_for_s) {
        ("passed", _) => "the gate passed".to_owned(),
        ("failed", _) => format!("failed: {}", of.reason.as_deref().unwrap_or("too few devices do well")),
        ("open" | "soaking", _) if ended => "was open when the rollout ended".to_owned(),
        ("open" | "soaking", _) if !runs => "open, while the rollout stands still".to_owned(),
        ("soaking", Some(seconds)) => {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            format!("does well; the gate passes {}", format::from_now(seconds, 0))
        }
        ("open", _) => "open: not enough devices do well yet".to_owned(),
        _ if ended => "was never open".to_owned(),
        ("awaits_approval", _) => format!("waits for people: {approvals}"),
        _ if wave.approvals_needed > 0 => format!("not open; {approvals}"),
        _ => "not open".to_owned(),
    };
    WaveView {
        name: format!("{}. {}", wave.number, wave.name),
        gate,
        done,
        under_way,
        failed,
        back: wave.rolled_back(),
        waiting,
    }
}

pub(super) async fn show(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Html<String>, PageError> {
    let (rollouts, choice) = fleet.run_as(viewer.actor.clone(), Act::See, "rollouts", view).await?;
    let body = html! {
        (render_list(&rollouts))
        @if viewer.may(Act::Rollout) { (form(&choice)) }
    };
    Ok(layout::page(&viewer, "Rollouts", Section::Rollouts, body))
}

pub(super) async fn show_one(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path(name) = name?;
    let asked = name.clone();
    let rollout = fleet.run_as(viewer.actor.clone(), Act::See, &name, move |fleet| fleet.rollout(&asked)).await?;
    let rollout = drawn(rollout);
    Ok(layout::page(&viewer, &format::shown(&rollout.name, 80), Section::Rollouts, render(&rollout, &viewer)))
}

pub(super) fn render_list(rollouts: &[RolloutView]) -> Markup {
    html! {
        div #live-rollouts data-live {
            @if rollouts.is_empty() {
                section.card.empty-state { h2 { "No rollout" } p { "A change that reaches the fleet in waves is seen here." } }
            }
            @for rollout in rollouts {
                section.card {
                    h2 {
                        a href={"/console/rollouts/" (segment(&rollout.name))} { (format::shown(&rollout.name, 80)) } " "
                        (badge(rollout.tone, &rollout.state))
                    }
                    p { (format::shown(&rollout.change, 200)) ", began " (format::time(rollout.began_s)) }
                    (picture::stacked("Devices of all waves", &all_waves(rollout)))
                }
            }
        }
    }
}

pub(super) fn render(rollout: &RolloutView, viewer: &Viewer) -> Markup {
    html! {
        p.crumb { a href="/console/rollouts" { "All rollouts" } }
        (buttons(rollout, viewer))
        div #live-rollout data-live {
            p.state { (badge(rollout.tone, &rollout.state)) " " (format::shown(&rollout.change, 200)) }
            @if let Some(reason) = &rollout.reason { p.notice.warn role="status" { (format::shown(reason, 400)) } }
            ol.waves {
                @for wave in &rollout.waves {
                    li.card {
                        h2 { (format::shown(&wave.name, 80)) }
                        p.small { (format::shown(&wave.gate, 200)) }
                        (picture::stacked("Devices of the wave", &parts(wave)))
                    }
                }
            }
            @if !rollout.failures.is_empty() {
                section.card {
                    h2 { "Devices that failed" }
                    ul.reasons {
                        @for (device, why) in &rollout.failures {
                            li { a href={"/console/devices/" (segment(device))} { (format::shown(device, 64)) } span { (format::shown(why, 200)) } }
                        }
                    }
                }
            }
            section.card {
                h2 { "What happened" }
                @if rollout.notices.is_empty() { p.small { "Nothing yet." } }
                ol.events {
                    @for (at_s, text) in &rollout.notices {
                        li { span.when { (format::time(*at_s)) } span { (format::shown(text, 200)) } }
                    }
                }
            }
        }
    }
}

/// A live part of its own: while waves move, a button keeps its focus.
fn buttons(rollout: &RolloutView, viewer: &Viewer) -> Markup {
    let here = format!("/console/rollouts/{}", segment(&rollout.name));
    html! {
        div #live-rollout-acts data-live {
            @if let Some(awaits) = &rollout.awaits { (approval(awaits, &here, viewer)) }
            @if viewer.may(Act::Rollout) {
                @for (act, label) in &rollout.acts {
                    form.inline method="post" action={(here) "/" (act)} {
                        button.danger[*act == "abort"] type="submit" { (label) }
                    }
                }
            }
        }
    }
}

/// The button for whoever may agree; for the others, why there is none.
fn approval(awaits: &Awaits, here: &str, viewer: &Viewer) -> Markup {
    let who = &viewer.actor.name;
    html! {
        @match viewer.may(Act::ApproveRollout) {
            true if awaits.author == *who => p.small { "You started it: a second person approves the next wave." },
            true if awaits.agreed.contains(who) => p.small { "You agreed to the next wave; it waits for others." },
            true => form.inline method="post" action={(here) "/approve"} {
                button.primary type="submit" { "Approve the next wave" }
            },
            false => p.small { "Somebody with the role approver approves the next wave." },
        }
    }
}

/// How a new one is started.
fn form(choice: &Choice) -> Markup {
    html! {
        section.card {
            h2 { "Start a rollout" }
            form method="post" action="/console/rollouts" {
                label for="name" { "Name" }
                input id="name" name="name" required maxlength="64" autocomplete="off" spellcheck="false";
                label for="model" { "Model" }
                select id="model" name="model" {
                    option value="" { "as it is" }
                    @for model in &choice.models { option value=(model) { (model) } }
                }
                label for="context" { "Smallest context, tokens" }
                input id="context" name="minimum_context_tokens" type="number" min="1" max="1048576" value="512" required;
                label for="policy" { "Policy" }
                select id="policy" name="policy" {
                    option value="" { "as it is" }
                    @for policy in &choice.policies { option value=(policy) { (policy) } }
                }
                label for="build" { "Agent" }
                select id="build" name="build" {
                    option value="" { "as it is" }
                    @for build in &choice.builds { option value=(build) { (build) } }
                }
                label for="selector" { "For which devices (a selector; " code { "all" } ", " code { "label.role=till" } ")" }
                input id="selector" name="selector" value="all" required maxlength="4096" autocomplete="off" spellcheck="false";
                label for="waves" { "Waves, percent of the devices" }
                input id="waves" name="waves" value="5, 20, 75" required maxlength="200" autocomplete="off";
                label for="approvals" { "People who must agree before each wave, other than you" }
                input id="approvals" name="approvals" type="number" min="0" max="10" value="0" required;
                label for="soak" { "Minutes for which a wave must do well" }
                input id="soak" name="soak_minutes" type="number" min="0" max="100000" value="10" required;
                label for="errors" { "Stops when more percent of a wave failed" }
                input id="errors" name="error_percent" type="number" min="0" max="100" value="10" required;
                label for="speed" { "A device fails with fewer percent of its speed before (empty: any speed)" }
                input id="speed" name="speed_percent" type="number" min="1" max="1000";
                label for="failure" { "When it stops" }
                select id="failure" name="on_failure" {
                    @for (name, label, _) in ON_FAILURE { option value=(name) { (label) } }
                }
                button.primary type="submit" { "Start" }
            }
        }
    }
}

/// The form as it is sent.
#[derive(Debug, Deserialize)]
pub(super) struct StartForm {
    name: String,
    model: String,
    minimum_context_tokens: u32,
    policy: String,
    #[serde(default)]
    build: String,
    selector: String,
    waves: String,
    approvals: u8,
    soak_minutes: u32,
    error_percent: u8,
    #[serde(default)]
    speed_percent: String,
    on_failure: String,
}

impl StartForm {
    fn request(self) -> Result<RolloutRequest, FleetError> {
        let wrong = |words: &str| FleetError::RolloutRequest(words.to_owned());
        let chosen = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let model = chosen(&self.model)
            .map(|name| name.parse().map_err(|_| FleetError::UnknownModel(format::shown(&name, 80))));
        let policy =
            chosen(&self.policy).map(|name| name.parse().map_err(|_| wrong("the catalogue has no such policy")));
        let build =
            chosen(&self.build).map(|version| version.parse().map_err(|_| wrong("the catalogue has no such build")));
        let parts = self.waves.split(',').map(str::trim).filter(|part| !part.is_empty());
        let wave = |part: &str| {
            let percent =
                part.trim_end_matches('%').trim().parse().map_err(|_| wrong("write waves as in `5, 20, 75`"))?;
            Ok(WaveRequest { percent: Some(percent), approvals: self.approvals, ..WaveRequest::default() })
        };
        let waves = parts.map(wave).collect::<Result<Vec<_>, FleetError>>()?;
        let speed =
            chosen(self.speed_percent.trim()).map(|text| text.parse().map_err(|_| wrong("the speed is a percentage")));
        let on_failure = ON_FAILURE.iter().find(|(name, ..)| *name == self.on_failure);
        let (.., on_failure) = on_failure.ok_or_else(|| wrong("the page offers no such end"))?;
        let mut request = RolloutRequest::named(self.name.trim());
        request.gates.speed_percent_of_before = speed.transpose()?;
        Ok(RolloutRequest {
            selector: self.selector.trim().to_owned(),
            model: model.transpose()?,
            minimum_context_tokens: self.minimum_context_tokens,
            policy: policy.transpose()?,
            build: build.transpose()?,
            waves,
            error_percent: self.error_percent,
            soak_s: self.soak_minutes.saturating_mul(60),
            on_failure: *on_failure,
            ..request
        })
    }
}

pub(super) async fn start(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    form: Result<Form<StartForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(form) = form?;
    let request = form.request()?;
    let (author, name) = (viewer.actor.name.clone(), request.name.clone());
    let start = move |fleet: &Fleet| fleet.start_rollout(&author, &request);
    let started = fleet.run_as(viewer.actor, Act::Rollout, name, start).await?;
    Ok(done(&format!("/console/rollouts/{}", segment(&started.name)), Notice::RolloutStarted))
}

/// One of the buttons.
pub(super) async fn steer(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, PageError> {
    let Path((name, act)) = path?;
    let run: fn(&Fleet, &str) -> Result<rollouts::RolloutView, FleetError> = match act.as_str() {
        "approve" => {
            let (actor, asked) = (viewer.actor, name.clone());
            fleet.run(move |fleet| fleet.approve_rollout(&actor, &asked, None)).await?;
            return Ok(done(&format!("/console/rollouts/{}", segment(&name)), Notice::RolloutSteered));
        }
        "pause" => Fleet::pause_rollout,
        "resume" => Fleet::resume_rollout,
        "retry" => Fleet::retry_rollout,
        "abort" => |fleet, name| fleet.abort_rollout(name, true),
        _ => {
            let message = "the page has no such button".to_owned();
            return Err(PageError::Unreadable { status: StatusCode::NOT_FOUND, message });
        }
    };
    let asked = name.clone();
    fleet.run_as(viewer.actor, Act::Rollout, &name, move |fleet| run(fleet, &asked)).await?;
    Ok(done(&format!("/console/rollouts/{}", segment(&name)), Notice::RolloutSteered))
}

fn parts(wave: &WaveView) -> Vec<Part> {
    let counts = [
        ("done", wave.done, "good"),
        ("under way", wave.under_way, "accent"),
        ("failed", wave.failed, "bad"),
        ("given back what they had", wave.back, "warn"),
        ("waiting", wave.waiting, "faint"),
    ];
    counts.map(|(label, count, tone)| Part { label: label.to_owned(), count, tone, link: None }).into()
}

fn all_waves(rollout: &RolloutView) -> Vec<Part> {
    let sum = |count: fn(&WaveView) -> u64| rollout.waves.iter().map(count).sum();
    parts(&WaveView {
        name: String::new(),
        gate: String::new(),
        done: sum(|wave| wave.done),
        under_way: sum(|wave| wave.under_way),
        failed: sum(|wave| wave.failed),
        back: sum(|wave| wave.back),
        waiting: sum(|wave| wave.waiting),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(state: &str, wave_state: &'static str, author: &str) -> RolloutView {
        let wave = rollouts::WaveView {
            number: 1,
            name: "canary".into(),
            state: wave_state,
            devices: 1,
            counts: [("assigned".to_owned(), 1)].into(),
            approvals_needed: 2,
            approved_by: vec!["bo".into()],
            soaks_for_s: (wave_state == "soaking").then_some(60),
        };
        drawn(rollouts::RolloutView {
            name: "march".into(),
            author: author.into(),
            created_s: 1,
            change: "a model".into(),
            state: state.into(),
            is_active: state != "rolled_back",
            reason: (wave_state == "failed").then(|| "too many devices of wave 1 (`canary`) failed".into()),
            awaits_approval_of: (wave_state == "awaits_approval").then_some(1),
            revision: 1,
            request: RolloutRequest::named("march"),
            waves: vec![wave],
            failures: Vec::new(),
            notices: Vec::new(),
        })
    }

    #[test]
    fn a_wave_says_what_it_waits_for_only_as_long_as_it_waits() {
        for (state, wave, gate) in [
            ("running", "open", "open: not enough devices do well yet"),
            ("running", "soaking", "does well; the gate passes in 60 s"),
            ("running", "awaits_approval", "waits for people: 1 of 2 people agreed"),
            ("running", "waiting", "not open; 1 of 2 people agreed"),
            ("running", "passed", "the gate passed"),
            ("paused", "soaking", "open, while the rollout stands still"),
            ("paused", "failed", "failed: too many devices of wave 1 (`canary`) failed"),
            ("rolled_back", "failed", "failed: too many devices of wave 1 (`canary`) failed"),
            ("rolling_back", "open", "was open when the rollout ended"),
            ("aborted", "soaking", "was open when the rollout ended"),
            ("aborted", "awaits_approval", "was never open"),
            ("rolled_back", "waiting", "was never open"),
        ] {
            assert_eq!(shown(state, wave, "ada").waves[0].gate, gate, "{state} {wave}");
        }
    }

    #[test]
    fn who_would_be_refused_is_told_why_and_offered_no_approval() {
        let viewer = |name: &str| {
            let actor = crate::people::Actor::named(name);
            Viewer { actor, theme: crate::console::viewer::Theme::System, notice: None }
        };
        let page = |state, wave, who| render(&shown(state, wave, "ada"), &viewer(who)).into_string();
        let asked = page("running", "awaits_approval", "cy");
        assert!(asked.contains("/console/rollouts/march/approve\""), "{asked}");
        for (who, words) in [("ada", "You started it: a second person"), ("bo", "You agreed to the next wave")] {
            let page = page("running", "awaits_approval", who);
            assert!(page.contains(words) && !page.contains("/approve\"") && page.contains("/abort\""), "{page}");
        }
        let back = page("rolling_back", "awaits_approval", "cy");
        assert!(!back.contains("/approve\"") && !back.contains("next wave"), "nobody is asked while it goes back");
    }
}

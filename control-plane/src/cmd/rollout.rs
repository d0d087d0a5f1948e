//! `outpost-control rollout …`: starts, shows and steers rollouts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_control::{Config, Fleet, RolloutRequest, RolloutView, WaveRequest, ago, picture};

use super::{on_record, open, say, say_json};
use crate::args::{Rollout, Start, WhenItFails};

/// Largest file that is read.
const MOST_BYTES: u64 = 1024 * 1024;

/// How often `watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the command.
pub(super) async fn run(config: Config, command: Rollout, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    let view = match command {
        Rollout::Start(start) => fleet.start_rollout(&format!("local:{}", on_record::user()), &request(*start)?)?,
        Rollout::Ls { last } => return list(&fleet, last, as_json),
        Rollout::Show { name, devices } => return show(&fleet, &name, devices.as_deref(), as_json),
        Rollout::Approve { name, wave } => fleet.approve_rollout_locally(&on_record::user(), &name, wave)?,
        Rollout::Pause { name } => fleet.pause_rollout(&name)?,
        Rollout::Resume { name } => fleet.resume_rollout(&name)?,
        Rollout::Abort { name, keep } => fleet.abort_rollout(&name, !keep)?,
        Rollout::Retry { name } => fleet.retry_rollout(&name)?,
        Rollout::Watch { name } => return watch(&fleet, &name, as_json).await,
    };
    if as_json { say_json(&view) } else { say(picture(&view)) }
}

fn request(start: Start) -> Result<RolloutRequest> {
    if let Some(file) = &start.file {
        return read(file);
    }
    let name = start.name.unwrap_or_default();
    let wave = |percent| WaveRequest { percent: Some(percent), approvals: start.approvals, ..WaveRequest::default() };
    let waves = if start.waves.is_empty() { outpost_control::DEFAULT_WAVES.to_vec() } else { start.waves };
    let mut request = RolloutRequest {
        selector: start.selector,
        model: start.model.map(|model| model.parse()).transpose().context("`--model`")?,
        minimum_context_tokens: start.minimum_context,
        policy: start.policy.map(|policy| policy.parse()).transpose().context("`--policy`")?,
        build: start.build.map(|build| build.parse()).transpose().context("`--build`")?,
        waves: waves.into_iter().map(wave).collect(),
        success_percent: start.success,
        error_percent: start.errors,
        soak_s: start.soak,
        deadline_s: start.deadline,
        ..RolloutRequest::named(&name)
    };
    request.on_failure = match start.on_failure {
        WhenItFails::RollBackAll => outpost_control::OnFailure::RollBackAll,
        WhenItFails::RollBackWave => outpost_control::OnFailure::RollBackWave,
        WhenItFails::Pause => outpost_control::OnFailure::Pause,
    };
    request.gates.speed_percent_of_before = start.slower;
    request.gates.self_test = start.self_test;
    Ok(request)
}

fn read(file: &Path) -> Result<RolloutRequest> {
    let shown = file.display();
    let length = std::fs::metadata(file).with_context(|| format!("cannot read `{shown}`"))?.len();
    if length > MOST_BYTES {
        bail!("`{shown}` is no rollout: it has {length} bytes, and {MOST_BYTES} are the most");
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{shown}`"))?;
    toml::from_str(&text).with_context(|| format!("`{shown}` is no rollout"))
}

fn list(fleet: &Fleet, last: usize, as_json: bool) -> Result<()> {
    let rollouts = fleet.newest_rollouts(last)?;
    if as_json {
        return say_json(&rollouts);
    }
    let now_s = outpost_control::Clock::system().now_s();
    rollouts.iter().try_for_each(|rollout| {
        let count = |at: usize| rollout.waves.iter().map(|wave| wave.parts()[at].1).sum::<u64>();
        let devices: u64 = rollout.waves.iter().map(|wave| wave.devices).sum();
        let passed = rollout.waves.iter().filter(|wave| wave.state == "passed").count();
        let waves = format!("wave {}/{}", passed, rollout.waves.len());
        let counts = format!("{} done, {} failed of {devices}", count(0), count(2));
        let began = ago(now_s - rollout.created_s);
        say(format!(
            "{:<24} {:<13} {waves:<10} {counts:<32} {began:>7} ago  {}",
            rollout.name, rollout.state, rollout.change
        ))
    })
}

fn show(fleet: &Fleet, name: &str, devices: Option<&str>, as_json: bool) -> Result<()> {
    let view = fleet.rollout(name)?;
    let mut listed = Vec::new();
    if let Some(status) = devices {
        let status = Some(status).filter(|status| !status.is_empty());
        loop {
            let after = listed.last().map(|member: &outpost_control::MemberView| member.device.clone());
            let (page, is_more) =
                fleet.rollout_devices(name, status, after.as_ref(), outpost_control::MOST_PER_PAGE)?;
            listed.extend(page);
            if !is_more {
                break;
            }
        }
    }
    if as_json {
        let mut whole = serde_json::to_value(&view).context("cannot write JSON")?;
        if let (Some(fields), true) = (whole.as_object_mut(), devices.is_some()) {
            fields.insert("devices".into(), serde_json::to_value(&listed).context("cannot write JSON")?);
        }
        return say_json(&whole);
    }
    say(picture(&view))?;
    for notice in view.notices.iter().rev() {
        say(format!("  {}  {}", when(notice.at_s), notice.text))?;
    }
    listed.iter().try_for_each(|member| {
        let reason = member.reason.as_deref().unwrap_or_default();
        say(format!("  {:<24} wave {:<3} {:<16} {reason}", member.device.as_str(), member.wave, member.status)
            .trim_end())
    })
}

fn when(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s)
        .map_or_else(|_| at_s.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

async fn watch(fleet: &Fleet, name: &str, as_json: bool) -> Result<()> {
    let mut seen: Option<RolloutView> = None;
    loop {
        let view = fleet.rollout(name)?;
        if seen.as_ref() != Some(&view) {
            if as_json {
                say(serde_json::to_string(&view).context("cannot write JSON")?)?
            } else {
                say(picture(&view))?
            };
        }
        if !view.is_active {
            return match view.state.as_str() {
                "completed" => Ok(()),
                state => bail!("the rollout `{name}` ended: {}", state.replace('_', " ")),
            };
        }
        seen = Some(view);
        tokio::time::sleep(LOOK).await;
    }
}

//! The seven chapters, in order; each says what happens and checks that it did.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_agent::app::Agent;
use outpost_agent::progress::Progress;
use outpost_agent::state::StateDir;
use outpost_audit::Kind;
use outpost_audit::verify::verify;
use outpost_contract::DeviceId;
use outpost_control::Assignment;
use outpost_tests::fleet::Fleet;
use outpost_tests::question::{ask, client};
use outpost_tests::tamper;
use tokio::sync::broadcast;

use crate::narrator::Narrator;

/// Longest that any step may take: a slow machine is not a broken one.
const PATIENCE: Duration = Duration::from_secs(120);

/// The fleet as the story leaves it.
pub(crate) struct Told {
    pub(crate) fleet: Fleet,
    pub(crate) agent: Agent,
    pub(crate) state: StateDir,
    pub(crate) operator: String,
    pub(crate) auditor: String,
}

impl Told {
    /// Stops everything in good order.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.agent.stop().await;
        self.fleet.stop().await;
        Ok(())
    }

    pub(crate) fn base(&self) -> Result<String> {
        Ok(format!("http://{}", self.agent.address().context("the agent has no address")?))
    }
}

/// Tells all of it.
pub(crate) async fn tell(narrator: &mut Narrator, folder: &Path, model: &[u8]) -> Result<Told> {
    narrator.chapter("The control plane starts")?;
    let fleet = Fleet::start(folder).await?;
    narrator.say(format!(
        "HTTPS API on {}, MQTT broker with client certificates on {}",
        fleet.http_address(),
        fleet.mqtt_address()
    ))?;
    narrator.say("its own certificate authority, its own database, no account anywhere")?;

    narrator.chapter("A catalogue is signed with offline keys")?;
    let file = folder.join("outpost-demo-f16.gguf");
    outpost_disk::atomic::write(&file, model)?;
    let (model_id, variants) = fleet.release_demo_model(&file).await?;
    for (quantisation, bytes) in &variants {
        narrator.say(format!("{model_id} {quantisation:<5} {} KiB", bytes >> 10))?;
    }
    narrator.check("three variants and one policy bundle are in the catalogue", variants.len() == 3)?;

    narrator.chapter("A device enrols with a one-time code")?;
    let device: DeviceId = "till-7".parse()?;
    let (state, identity) = fleet.enrol(&device).await?;
    narrator.say(format!("its key was made here and never left; its certificate says `{}`", identity.device()))?;
    let refused = fleet.enrol_with(&"till-8".parse()?, "0000-0000").await;
    narrator.check("a wrong code gets nothing", refused.is_err())?;

    narrator.chapter("The device is told what to run, checks it twice, and chooses")?;
    let agent = fleet.agent(&state).await?;
    let mut progress = agent.progress();
    let assignment = Assignment { model: Some(model_id.clone()), minimum_context_tokens: 256 };
    let (assigned, to) = (assignment.clone(), device.clone());
    let version = fleet.control.run(move |fleet| fleet.assign(&to, &assigned)).await?;
    narrator.say(format!("the director signed desired state {version} for {device}"))?;
    let serving = follow_until_serving(narrator, &mut progress).await?;
    narrator.say(format!("self-test passed: {serving}"))?;
    let reported = fleet
        .control
        .wait_for_reported(&device, "that it applied the desired state", PATIENCE, |reported| {
            reported.applied_version >= version
        })
        .await?;
    narrator.check("the device reports the very version that was signed", reported.applied_version == version)?;

    narrator.chapter("People ask; roles decide")?;
    let operator = token(&fleet, "ada", "operator").await?;
    let auditor = token(&fleet, "grace", "auditor").await?;
    let told = Told { fleet, agent, state, operator, auditor };
    people_ask(narrator, &told).await?;

    narrator.chapter("Everything is in the audit log, and the log can be checked")?;
    audit(narrator, &told, folder)?;

    narrator.chapter("The network goes away, and comes back")?;
    offline(narrator, told, &device).await
}

async fn token(fleet: &Fleet, name: &'static str, role: &'static str) -> Result<String> {
    let issued = fleet.control.run(move |fleet| fleet.issue_token(name, &[role.to_owned()], 12 * 3600)).await;
    issued.with_context(|| format!("no token for {name}"))
}

/// Tells what the agent does until a model serves.
async fn follow_until_serving(narrator: &mut Narrator, progress: &mut broadcast::Receiver<Progress>) -> Result<String> {
    let following = async {
        let mut pulled = false;
        loop {
            match progress.recv().await {
                Ok(Progress::Connected) => narrator.say("connected over MQTT with its certificate")?,
                Ok(Progress::Accepted(version)) => {
                    narrator
                        .say(format!("desired state {version}: signature, address, version and catalogue agree"))?;
                }
                Ok(Progress::Policy(version)) => narrator.say(format!("policy bundle {version} is in force"))?,
                Ok(Progress::Planned { table, .. }) => narrator.say(format!("the plan:\n{table}"))?,
                Ok(Progress::Pulling { done, total }) if done == total && !pulled => {
                    pulled = true;
                    narrator.say(format!("pulled {} KiB in chunks, each checked, then the whole", total >> 10))?;
                }
                Ok(Progress::Refused(reason)) => bail!("the device refused: {reason}"),
                Ok(Progress::Serving { model, variant, tokens_per_second_milli }) => {
                    return Ok(format!("{model} {variant}, {} tokens/s", tokens_per_second_milli / 1000));
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => bail!("the agent ended"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, following).await.context("no model served in time")?
}

async fn people_ask(narrator: &mut Narrator, told: &Told) -> Result<()> {
    let (http, base) = (client(), told.base()?);
    let question = "How does a device enrol?";
    let answered = ask(&http, &base, Some(&told.operator), question).await?;
    narrator.say(format!("ada (operator): {question}"))?;
    narrator.say(format!("the box: {}", answered.text.trim()))?;
    narrator.check("the operator got an answer, streamed to its end", answered.status == 200 && answered.complete)?;
    let refused = ask(&http, &base, Some(&told.auditor), question).await?;
    narrator.say(format!("grace (auditor) asks the same: {} {}", refused.status, refused.text))?;
    narrator
        .check("the auditor is refused with 403 and a reason", refused.status == 403 && !refused.text.is_empty())?;
    let unknown = ask(&http, &base, None, question).await?;
    narrator.check("somebody without a token gets 401", unknown.status == 401)
}

fn audit(narrator: &mut Narrator, told: &Told, folder: &Path) -> Result<()> {
    let directory = told.state.audit();
    let report = verify(&directory)?;
    narrator.say(format!("{} records, root {}", report.records, report.root_hex))?;
    narrator.check("the log verifies", report.is_ok())?;
    for kind in [Kind::InferEnd, Kind::InferDenied, Kind::AuthFail] {
        narrator.check(format!("`{}` is in it", kind.name()), tamper::newest(&directory, kind)?.is_some())?;
    }
    let copy = folder.join("audit-copy");
    let flipped = tamper::copy_and_flip_one_byte(&directory, &copy, Kind::InferEnd)?;
    let report = verify(&copy)?;
    let named = report.problems.iter().find(|problem| problem.index == Some(flipped));
    if let Some(problem) = named {
        narrator.say(format!("one byte of a copy was flipped; the check says: {problem}"))?;
    }
    narrator.check("the flipped record is named", named.is_some())
}

async fn offline(narrator: &mut Narrator, mut told: Told, device: &DeviceId) -> Result<Told> {
    let mut progress = told.agent.progress();
    told.fleet.stop().await;
    wait_for(&mut progress, |happened| matches!(happened, Progress::Disconnected(_))).await?;
    narrator.say("broker and control plane are stopped")?;
    let before = told.agent.audit().size();
    let base = told.base()?;
    let answered = ask(&client(), &base, Some(&told.operator), "Does it work offline?").await?;
    narrator.say(format!("ada: Does it work offline?\nthe box: {}", answered.text.trim()))?;
    narrator.check("the box answers alone", answered.complete)?;
    narrator.check("and records alone", told.agent.audit().size() >= before + 2)?;
    told.fleet.start_again().await?;
    wait_for(&mut progress, |happened| matches!(happened, Progress::Connected)).await?;
    narrator.say("they are back, on the same addresses, from the same database")?;
    let reported = told
        .fleet
        .control
        .wait_for_reported(device, "what happened meanwhile", PATIENCE, |reported| {
            reported.activity.answered_offline > 0
        })
        .await?;
    narrator.say(format!(
        "the device reports: {} answer(s) while out of reach, {} audit records, root {}…",
        reported.activity.answered_offline,
        reported.activity.audit_records,
        &reported.activity.audit_root[..16]
    ))?;
    narrator.check("the absence is in the report", reported.activity.answered_offline == 1)?;
    Ok(told)
}

async fn wait_for(progress: &mut broadcast::Receiver<Progress>, wanted: impl Fn(&Progress) -> bool) -> Result<()> {
    let waiting = async {
        loop {
            match progress.recv().await {
                Ok(happened) if wanted(&happened) => return Ok(()),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => bail!("the agent ended"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("it did not happen in time")?
}

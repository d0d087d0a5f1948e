//! A model that was withdrawn: whoever heard of it stops at the deadline, out of reach and after a restart too; whoever never
//! heard goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::app::Agent;
use outpost_contract::{DeviceId, ReasonCode};
use outpost_control::{Assignment, WithdrawalRequest};
use outpost_disk::Clock;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{demo_model, eventually};
use outpost_tests::question::{Reply, ask, client};

const PATIENCE: Duration = Duration::from_secs(120);
const DAY_S: i64 = 24 * 3600;

async fn question(agent: &Agent, token: &str) -> Result<Reply> {
    let base = format!("http://{}", agent.address().context("an address")?);
    ask(&client(), &base, Some(token), "Does it work offline?").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_model_stops_at_its_deadline_without_a_network_and_who_never_heard_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let (heard, deaf): (DeviceId, DeviceId) = ("till-7".parse()?, "till-8".parse()?);
    let ((state, _), (deaf_state, _)) = (fleet.enrol(&heard).await?, fleet.enrol(&deaf).await?);
    let clock = Clock::open_fixed(state.ledgers(), Clock::system().now_s())?;
    let agent = fleet.agent_at(&state, Some(clock.clone())).await?;
    let deaf_agent = fleet.agent(&deaf_state).await?;
    let assignment = Assignment { model: Some(model.clone()), minimum_context_tokens: 256 };
    for device in [&heard, &deaf] {
        let (to, assignment) = (device.clone(), assignment.clone());
        let version = fleet.control.run(move |fleet| fleet.assign(&to, &assignment)).await?;
        let applied =
            fleet.control.wait_for_reported(device, "that it applied", PATIENCE, |now| now.applied_version == version);
        applied.await?;
    }
    let token = fleet.control.run(|fleet| fleet.issue_token("ada", &["operator".to_owned()], 7 * DAY_S)).await?;
    deaf_agent.stop().await;

    let request = WithdrawalRequest { reason: "it says what it must not".into(), deadline_s: DAY_S, target: None };
    let withdrawn = model.clone();
    fleet.control.run(move |fleet| fleet.withdraw_model(&withdrawn, &request, "ada")).await?;
    let newest = fleet.control.device(&heard)?.desired_version;
    let told = fleet.control.wait_for_reported(&heard, "that it heard", PATIENCE, |now| now.desired_version == newest);
    ensure!(told.await?.model.is_some(), "it stopped before the deadline");
    let (to, again) = (deaf.clone(), assignment.clone());
    let refusal = fleet.control.run(move |fleet| fleet.assign(&to, &again)).await;
    ensure!(refusal.is_err_and(|error| error.to_string().contains("was withdrawn by ada")), "it was assigned anew");
    fleet.stop().await;

    ensure!(question(&agent, &token).await?.complete, "no answer before the deadline");
    clock.advance(Duration::from_secs(25 * 3600));
    let refused = question(&agent, &token).await?;
    ensure!(refused.status == 403 && refused.text.contains("it says what it must not"), "{refused:?}");
    // It leaves the memory too, and the answer stays the same.
    let gone = || async { question(&agent, &token).await.is_ok_and(|reply| reply.status == 403) };
    eventually("the refusal to stay", PATIENCE, gone).await?;
    agent.stop().await;

    // A start anew, with a clock that somebody set back to before the deadline.
    let clock = Clock::open_fixed(state.ledgers(), clock.now_s() - 3 * DAY_S)?;
    let agent = fleet.agent_at(&state, Some(clock)).await?;
    eventually("the refusal after a start", PATIENCE, || async {
        question(&agent, &token).await.is_ok_and(|reply| reply.status == 403)
    })
    .await?;
    let deaf_agent = fleet.agent(&deaf_state).await?;
    tokio::time::timeout(PATIENCE, deaf_agent.serving()).await.context("nothing served in time")??;
    ensure!(question(&deaf_agent, &token).await?.complete, "who never heard does not answer");

    // Within reach again, the one says why nothing serves, and the other hears.
    fleet.start_again().await?;
    let stopped =
        |now: &outpost_contract::Reported| now.reasons.iter().any(|reason| reason.code == ReasonCode::Withdrawn);
    fleet.control.wait_for_reported(&heard, "why it stopped", PATIENCE, stopped).await?;
    let newest = fleet.control.device(&deaf)?.desired_version;
    fleet.control.wait_for_reported(&deaf, "that it heard", PATIENCE, |now| now.desired_version == newest).await?;
    agent.stop().await;
    deaf_agent.stop().await;
    Ok(())
}

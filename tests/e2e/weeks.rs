//! Five weeks without a network and with a clock that leaps ten years either way, three restarts among them: every question is
//! answered, and one connection afterwards brings both sides up to date.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::app::Agent;
use outpost_agent::state::StateDir;
use outpost_contract::DeviceId;
use outpost_control::{Assignment, Clock as ControlClock};
use outpost_disk::Clock;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{binary, demo_model, output};
use outpost_tests::question::{ask, client};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);
const DAY_S: i64 = 24 * 3600;

/// The longest that a token is valid.
const TOKEN_DAYS: i64 = 30;
const TEN_YEARS_MS: i64 = 10 * 365 * DAY_S * 1000;

/// What somebody does to the clock, or to the box, on a day: years by which the clock is wrong from then on, and whether the
/// box starts anew with it.
const EVENTS: [(i64, i64, bool); 9] = [
    (3, 1, false),
    (5, 0, false),
    (8, -1, false),
    (10, 0, true),
    (14, 1, true),
    (18, 0, false),
    (22, -1, true),
    (27, 0, false),
    (30, 1, false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_weeks_offline_with_leaps_of_the_clock_and_restarts_cost_no_answer_and_one_sync_mends_both_sides()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let key = api_key(&state)?;
    let began_s = Clock::system().now_s();
    let mut clock = Clock::open_fixed(state.ledgers(), began_s)?;
    let mut agent = fleet.agent_at(&state, Some(clock.clone())).await?;
    let (to, assignment) = (device.clone(), Assignment { model: Some(model.clone()), minimum_context_tokens: 256 });
    let version = fleet.control.run(move |fleet| fleet.assign(&to, &assignment)).await?;
    fleet.control.wait_for_reported(&device, "that it applied", PATIENCE, |now| now.applied_version == version).await?;
    // It is good for the time that passes, however the clock leaps meanwhile.
    let token =
        fleet.control.run(|fleet| fleet.issue_token("ada", &["operator".to_owned()], TOKEN_DAYS * DAY_S)).await?;
    fleet.stop().await;

    let (mut wrong_ms, mut asked) = (0, 0);
    for day in 1..=35 {
        clock.advance(DAY);
        if let Some((_, years, restarts)) = EVENTS.iter().find(|(on, ..)| *on == day) {
            let wanted_ms = years * TEN_YEARS_MS;
            clock.step_ms(wanted_ms - wrong_ms);
            wrong_ms = wanted_ms;
            if *restarts {
                agent.stop().await;
                clock = Clock::open_fixed(state.ledgers(), began_s + day * DAY_S + wrong_ms / 1000)?;
                agent = fleet.agent_at(&state, Some(clock.clone())).await?;
                tokio::time::timeout(PATIENCE, agent.serving()).await.context("nothing served in time")??;
            }
        }
        let wrong_days = wrong_ms / 1000 / DAY_S;
        let status = question(&agent, &key).await?;
        ensure!(status == 200, "{status} on day {day}, the clock wrong by {wrong_days} days");
        asked += 1;
        // The last hours of the token are nobody's business here.
        let status = question(&agent, &token).await?;
        let expected = if day < TOKEN_DAYS { 200 } else { 401 };
        ensure!(
            status == expected || day == TOKEN_DAYS,
            "{status} to a token on day {day}, the clock wrong by {wrong_days} days"
        );
        let off_s = (clock.now_s() - (began_s + day * DAY_S)).abs();
        ensure!(off_s <= DAY_S, "on day {day} the box believed to be {off_s} s away from the time that passed");
    }
    ensure!(asked == 35, "{asked} questions were asked in 35 days");

    // The clock is right again when the network is back; a new desired state waits there.
    clock.step_ms(-wrong_ms);
    fleet.start_again_at(ControlClock::fixed(began_s + 35 * DAY_S)).await?;
    let (to, assignment) = (device.clone(), Assignment { model: Some(model), minimum_context_tokens: 300 });
    let newer = fleet.control.run(move |fleet| fleet.assign(&to, &assignment)).await?;
    ensure!(newer > version, "the new desired state has a new version");
    let records = agent.audit().size();
    let caught_up = fleet
        .control
        .wait_for_reported(&device, "that it caught up", PATIENCE, move |now| {
            now.applied_version >= newer && now.reasons.is_empty() && now.activity.audit_records >= records
        })
        .await;
    let stands = fleet.control.run(move |fleet| fleet.device(&device)).await?;
    caught_up.with_context(|| format!("of {newer} and {records} records: {stands:?}"))?;
    ensure!(question(&agent, &key).await? == 200, "it does not answer after it caught up");
    agent.stop().await;
    fleet.stop().await;
    Ok(())
}

/// The status of an answer; one that began has to be whole.
async fn question(agent: &Agent, bearer: &str) -> Result<u16> {
    let base = format!("http://{}", agent.address().context("an address")?);
    let reply = ask(&client(), &base, Some(bearer), "Does it work offline?").await?;
    ensure!(reply.complete || reply.status != 200, "the answer broke off: {reply:?}");
    Ok(reply.status)
}

fn api_key(state: &StateDir) -> Result<String> {
    let root = state.root().to_str().context("the path is UTF-8")?;
    let arguments = ["--state", root, "--json", "key", "create", "--name", "till", "--role", "operator"];
    let created: Value = serde_json::from_str(&output(&binary("outpost")?, &arguments)?)?;
    Ok(created["key"].as_str().context("the new key is shown")?.to_owned())
}

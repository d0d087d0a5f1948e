//! `outpost-control model …`: approvals and withdrawals.

use anyhow::{Context, Result, bail};
use outpost_contract::ModelId;
use outpost_control::{ApprovalRequest, Clock, Config, Fleet, WithdrawalRequest, clean, end_of_day_s};
use serde_json::json;

use super::{on_record, open, say, say_json};
use crate::args::Model;

/// Runs the command.
pub(super) fn run(config: Config, command: Model, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    let who = on_record::who();
    match command {
        Model::Approve { model, until, selector, note } => {
            let request = ApprovalRequest { until_s: until_s(&until, now_s())?, selector, note };
            let approval = fleet.approve_model(&model.parse::<ModelId>()?, &request, &who)?;
            if as_json {
                return say_json(&approval);
            }
            let (files, until) = (approval.files.len(), time(approval.until_s));
            say(format!(
                "approved: {model}, {files} variants, for `{}`, until {until}: {}",
                approval.selector, approval.id
            ))
        }
        Model::Revoke { id } => {
            fleet.revoke_model_approval(&id, &who)?;
            if as_json { say_json(&json!({"revoked": id})) } else { say(format!("`{id}` counts no more")) }
        }
        Model::Approvals { model } => approvals(&fleet, model.as_deref(), as_json),
        Model::Withdraw { model, reason, deadline, variant } => {
            let target = variant.map(|target| target.parse()).transpose()?;
            let request = WithdrawalRequest { reason, deadline_s: span_s(&deadline)?, target };
            let withdrawn = fleet.withdraw_model(&model.parse::<ModelId>()?, &request, &who)?;
            if as_json {
                return say_json(&withdrawn);
            }
            let what = if withdrawn.target.is_empty() { &withdrawn.model } else { &withdrawn.target };
            say(format!("withdrawn: {what}; devices that hear of it stop at {}", time(withdrawn.after_s)))
        }
        Model::Restore { model } => {
            fleet.restore_model(&model.parse::<ModelId>()?)?;
            if as_json {
                say_json(&json!({"restored": model}))
            } else {
                say(format!("`{model}` may be assigned again"))
            }
        }
        Model::Withdrawals => {
            let all = fleet.withdrawals()?;
            if as_json {
                return say_json(&all);
            }
            all.iter().try_for_each(|one| {
                let what = if one.target.is_empty() { &one.model } else { &one.target };
                say(format!("{what:<32} stops at {} by {}: {}", time(one.after_s), one.person, clean(&one.reason, 200)))
            })
        }
    }
}

fn approvals(fleet: &Fleet, model: Option<&str>, as_json: bool) -> Result<()> {
    let model = model.map(str::parse::<ModelId>).transpose()?;
    let all = fleet.model_approvals(model.as_ref())?;
    if as_json {
        return say_json(&all);
    }
    all.iter().try_for_each(|view| {
        let (one, state) = (&view.approval, view.state.name());
        let (until, note) = (time(one.until_s), clean(&one.note, 200));
        let by = format!("by {}", one.person);
        say(format!("{:<14} {:<24} {state:<8} until {until} {by} for `{}` {note}", one.id, one.model, one.selector))
    })
}

/// A day's end, or a time from now.
fn until_s(text: &str, now_s: i64) -> Result<i64> {
    if let Some(end_s) = end_of_day_s(text) {
        return Ok(end_s);
    }
    Ok(now_s
        + span_s(text)
            .with_context(|| format!("`{text}` is neither a day, as in `2027-06-30`, nor a time, as in `90d`"))?)
}

/// `90d`, `24h`, `30m`, `0s`, in seconds.
fn span_s(text: &str) -> Result<i64> {
    let Some((at, unit)) = text.char_indices().last() else { bail!("an empty time; write it as in `24h`") };
    let unit_s = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => bail!("`{}` is no time: write a number and `s`, `m`, `h` or `d`, as in `24h`", clean(text, 40)),
    };
    let count: u32 = text[..at].parse().with_context(|| format!("`{}` is no time, as in `24h`", clean(text, 40)))?;
    Ok(i64::from(count) * unit_s)
}

fn now_s() -> i64 {
    Clock::system().now_s()
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_means_its_end_and_a_time_means_from_now() {
        assert_eq!(until_s("2027-06-30", 0).unwrap(), 1_814_399_999);
        assert_eq!(until_s("90d", 7).unwrap(), 7 + 90 * 86_400);
        assert_eq!((span_s("24h").unwrap(), span_s("0s").unwrap(), span_s("30m").unwrap()), (86_400, 0, 1_800));
        for bad in ["", "h", "24", "-1h", "1w", "2027-13-01", "4294967296s", "1é"] {
            assert!(until_s(bad, 0).is_err(), "{bad}");
        }
    }
}

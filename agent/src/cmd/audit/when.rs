//! `outpost audit when N`: a record's bracket, by the cosignatures in the log.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use outpost_audit::cosignature::CosignerKey;
use outpost_audit::reader::log_size;
use outpost_audit::witness::{Bound, Bracket, Timeline};
use outpost_sync::Identity;
use serde_json::{Value, json};

use super::{Here, Outcome, log_directory, policy, say, say_json, the_log_of, verifier_key};

/// Tells between which times the record came to be.
pub(super) fn tell(here: &Here, index: u64, directory: Option<PathBuf>, policy_file: Option<&Path>) -> Result<Outcome> {
    let (directory, _) = log_directory(here, directory);
    let named = policy_file.map(policy).transpose()?;
    let log = named.as_ref().map(|policy| the_log_of(policy, &directory)).transpose()?.flatten();
    let log = match log {
        Some(log) => log,
        None => verifier_key(&directory.join("audit.vkey").to_string_lossy())
            .with_context(|| format!("`{}` holds no audit log that says its key", directory.display()))?,
    };
    let witnesses = match &named {
        Some(policy) => policy.witnesses(),
        None => own_witnesses(here)?,
    };
    ensure!(!witnesses.is_empty(), "the policy names no witness, so nobody can say when a record came to be");
    let unreadable = || format!("cannot read `{}`", directory.display());
    let size = log_size(&directory).with_context(unreadable)?;
    ensure!(index < size, "there is no record {index}: the log holds {size}");
    let timeline = Timeline::read(&directory, &log, &witnesses).with_context(unreadable)?;
    let bracket = timeline.bracket(index);
    if here.json {
        say_json(&json!({
            "index": index,
            "not_before": bound(bracket.not_before.as_ref()),
            "not_after": bound(bracket.not_after.as_ref()),
            "contradictory": bracket.is_contradictory(),
        }))?;
    } else {
        say(told(index, &bracket))?;
    }
    Ok(if bracket.is_contradictory() { Outcome::ProblemFound } else { Outcome::Done })
}

/// The witnesses that this device was told of when it enrolled.
fn own_witnesses(here: &Here) -> Result<Vec<CosignerKey>> {
    let identity = Identity::load(&here.state.identity()).context("name the witnesses with `--policy`")?;
    let (witness, mirror) = identity
        .audit_cosigners()
        .context("this device's control plane cosigns nothing; name the witnesses with `--policy`")?;
    [witness, mirror].into_iter().map(|key| key.parse().context("the identity names a witness that is none")).collect()
}

fn told(index: u64, bracket: &Bracket) -> String {
    let end = |bound: Option<&Bound>, record: &str| match bound {
        None => "not known".to_owned(),
        Some(Bound { time_s, witness, size, record: place }) => {
            let place = place.map(|place| format!(", {record} {place}")).unwrap_or_default();
            format!("{} (`{witness}` cosigned the first {size} records{place})", utc(*time_s))
        }
    };
    let mut lines = format!(
        "record {index}\n  not before {}\n  not after  {}",
        end(bracket.not_before.as_ref(), "kept in record"),
        end(bracket.not_after.as_ref(), "kept in record")
    );
    if bracket.is_contradictory() {
        lines.push_str("\nthe two contradict each other: the clock of at least one witness was wrong");
    }
    lines
}

fn bound(bound: Option<&Bound>) -> Value {
    bound.map_or(Value::Null, |Bound { time_s, witness, size, record }| {
        json!({"time_s": time_s, "witness": witness, "size": size, "record": record})
    })
}

/// Seconds since 1970 for people.
pub(super) fn utc(time_s: u64) -> String {
    let stamp = i64::try_from(time_s).ok().and_then(|time_s| jiff::Timestamp::from_second(time_s).ok());
    stamp.map_or_else(|| format!("{time_s} s since 1970"), |stamp| stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

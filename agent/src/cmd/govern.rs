//! `outpost policy activate|rollback`, `outpost lock …`, `outpost break-glass …`: signed documents, handed to the running
//! agent.

use std::path::Path;

use anyhow::{Context, Result};
use outpost_contract::limits::SEALED_BYTES;
use outpost_trust::sealed::is_sealed;
use serde_json::Value;

use super::{Here, Outcome, policy, say, say_json, seal};

/// A bundle in a folder is packed here; a file goes as it is, since its signatures are over its bytes.
pub(super) async fn activate(here: &Here, bundle: &Path) -> Result<Outcome> {
    let document = if bundle.is_dir() {
        policy::read(Some(bundle))?.to_bytes()
    } else {
        seal::read_bounded(bundle, SEALED_BYTES)?
    };
    let answer = post(here, "/outpost/policy", Some(document)).await?;
    tell(
        here,
        &answer,
        format!("policy version {} is in force{}", answer["version"], names(&answer["approved_by"], ", approved by")),
    )
}

pub(super) async fn roll_back(here: &Here) -> Result<Outcome> {
    let answer = post(here, "/outpost/policy/rollback", None).await?;
    tell(here, &answer, format!("policy version {} is in force again", answer["version"]))
}

pub(super) async fn apply_locks(here: &Here, document: &Path) -> Result<Outcome> {
    let answer = post(here, "/outpost/locks", Some(read_sealed(document)?)).await?;
    let signed = names(&answer["signed_by"], ", signed by");
    tell(here, &answer, format!("list {} with {} locks is in force{signed}", answer["seq"], answer["locks"]))
}

pub(super) async fn open_override(here: &Here, document: &Path) -> Result<Outcome> {
    let answer = post(here, "/outpost/break-glass", Some(read_sealed(document)?)).await?;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let (roles, sealed) = (names(&answer["roles"], ""), names(&answer["sealed_by"], ", sealed by"));
    let line = format!("override `{}` is open until {}{sealed}; it gives{roles}", text("id"), text("until"));
    tell(here, &answer, line)
}

pub(super) async fn close_override(here: &Here) -> Result<Outcome> {
    let answer = post(here, "/outpost/break-glass/close", None).await?;
    tell(here, &answer, format!("override `{}` is closed for good", answer["closed"].as_str().unwrap_or_default()))
}

fn read_sealed(path: &Path) -> Result<Vec<u8>> {
    let document = seal::read_bounded(path, SEALED_BYTES)?;
    anyhow::ensure!(is_sealed(&document), "`{}` is not sealed: `outpost seal` signs it", path.display());
    Ok(document)
}

async fn post(here: &Here, path: &str, document: Option<Vec<u8>>) -> Result<Value> {
    here.client().post(path, document.unwrap_or_default()).await.context("nothing changed")
}

fn tell(here: &Here, answer: &Value, line: String) -> Result<Outcome> {
    if here.json {
        say_json(answer)?
    } else {
        say(line)?
    }
    Ok(Outcome::Done)
}

fn names(list: &Value, before: &str) -> String {
    let names: Vec<_> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { String::new() } else { format!("{before} {}", names.join(", ")) }
}

//! `outpost policy …`: check a bundle, run its cases, explain a decision, compare two bundles, review who can do what.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_policies::{Action, BUNDLE_BYTES, Bundle, Case, Finding, Policies, diff, lint, review};
use serde::Serialize;
use serde_json::json;

use super::seal::read_bounded;
use super::{Here, Outcome, govern, say, say_json, say_part};
use crate::args::Policy;

/// Files in a folder that is read as a bundle.
const FILES: usize = 512;

/// Runs the command.
pub(super) async fn run(here: &Here, command: Policy) -> Result<Outcome> {
    match command {
        Policy::Activate { bundle } => govern::activate(here, &bundle).await,
        Policy::Rollback => govern::roll_back(here).await,
        Policy::Check { bundle } => check(here, bundle.as_deref()),
        Policy::Test { bundle } => test(here, bundle.as_deref()),
        Policy::Explain { bundle, roles, action, given } => explain(here, bundle.as_deref(), &roles, &action, &given),
        Policy::Diff { old, new } => compare(here, &old, &new),
        Policy::Review { bundle, who } => review_access(here, bundle.as_deref(), &who),
    }
}

/// A bundle from a folder or a file; the built-in one without either.
pub(super) fn read(path: Option<&Path>) -> Result<Bundle> {
    let Some(path) = path else { return Ok(Bundle::default_bundle()) };
    if path.is_dir() {
        return read_folder(path).with_context(|| format!("the folder `{}` is not a policy bundle", path.display()));
    }
    let bytes = read_bounded(path, BUNDLE_BYTES)?;
    Bundle::parse(&bytes).with_context(|| format!("`{}` is not a policy bundle", path.display()))
}

/// The `*.cedar` and `*.toml` of a folder and of the folders in it; anything else (a README, say) is no part of a bundle.
fn read_folder(folder: &Path) -> Result<Bundle> {
    let mut files = Vec::new();
    list(folder, "", &mut files)?;
    for (name, path) in list_folders(folder)? {
        list(&path, &format!("{name}/"), &mut files)?;
    }
    files.sort();
    let mut texts = Vec::new();
    for (name, path) in files {
        let text = String::from_utf8(read_bounded(&path, BUNDLE_BYTES)?)
            .with_context(|| format!("`{}` is no text", path.display()))?;
        texts.push((name, text));
    }
    Ok(Bundle::from_files(1, texts.iter().map(|(name, text)| (name.as_str(), text.as_str())))?)
}

fn list(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for (name, path) in entries(folder)? {
        if path.is_file() && (name.ends_with(".cedar") || name.ends_with(".toml")) {
            files.push((format!("{prefix}{name}"), path));
        }
        if files.len() > FILES {
            bail!("more than {FILES} files: a bundle has fewer");
        }
    }
    Ok(())
}

fn list_folders(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    Ok(entries(folder)?.into_iter().filter(|(_, path)| path.is_dir()).collect())
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let unreadable = || format!("cannot read `{}`", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(entries)
}

fn activate(path: Option<&Path>) -> Result<Policies> {
    Policies::activate(read(path)?).map_err(|findings| {
        let shown: Vec<String> = findings.iter().take(5).map(ToString::to_string).collect();
        anyhow::anyhow!(
            "the bundle would not be activated: {}; `outpost policy check` names everything",
            shown.join("; ")
        )
    })
}

fn check(here: &Here, path: Option<&Path>) -> Result<Outcome> {
    let bundle = read(path)?;
    let (errors, hints) = match Policies::activate(bundle.clone()) {
        Ok(policies) => (Vec::new(), lint(&bundle, &policies)),
        Err(findings) => (findings, Vec::new()),
    };
    let said = |findings: &[Finding]| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    if here.json {
        let (version, cases) = (bundle.version, bundle.cases.len());
        let found = json!({"version": version, "cases": cases, "findings": said(&errors), "hints": said(&hints)});
        say_json(&found)?;
    } else {
        for finding in errors.iter().chain(&hints) {
            say(finding.to_string())?;
        }
        let (rules, cases) = (bundle.policies.len(), bundle.cases.len());
        match (errors.len(), hints.len()) {
            (0, 0) => say(format!("version {}: {rules} files of rules are valid, {cases} cases hold", bundle.version))?,
            (0, hints) => say(format!("version {} would be activated; {hints} hints", bundle.version))?,
            (errors, _) => say(format!("version {} would not be activated; {errors} findings", bundle.version))?,
        }
    }
    Ok(if errors.is_empty() && hints.is_empty() { Outcome::Done } else { Outcome::ProblemFound })
}

fn test(here: &Here, path: Option<&Path>) -> Result<Outcome> {
    let bundle = read(path)?;
    let tried = match Policies::try_cases(&bundle) {
        Ok(tried) => tried,
        Err(findings) => {
            let shown: Vec<String> = findings.iter().take(5).map(ToString::to_string).collect();
            bail!("the cases cannot be run: {}; `outpost policy check` names everything", shown.join("; "));
        }
    };
    let failed = tried.iter().filter(|case| case.problem.is_some()).count();
    if here.json {
        say_json(&json!({"cases": tried, "failed": failed}))?;
    } else {
        for case in &tried {
            match &case.problem {
                None => say(format!("ok    {}", case.title))?,
                Some(problem) => say(format!("FAIL  {}: {problem}", case.title))?,
            }
        }
        say(format!("{} cases, {failed} failed", tried.len()))?;
    }
    Ok(if failed == 0 && !tried.is_empty() { Outcome::Done } else { Outcome::ProblemFound })
}

fn explain(here: &Here, path: Option<&Path>, roles: &[String], action: &str, given: &[String]) -> Result<Outcome> {
    let Some(action) = Action::from_word(action) else {
        let known: Vec<_> = Action::ALL.iter().map(|known| known.word()).collect();
        bail!("`{action}` is not an action; known are {}", known.join(", "));
    };
    let policies = activate(path)?;
    if let Some(role) = roles.iter().find(|role| !policies.roles().contains_key(*role)) {
        let known: Vec<_> = policies.roles().keys().cloned().collect();
        bail!("`{role}` is not a role; known are {}", known.join(", "));
    }
    for ask in question(roles, action, given)?.asks() {
        answer(here, &policies.explain(&ask))?;
    }
    Ok(Outcome::Done)
}

/// The question as a case: one reader for what can be given, here and in `cases/*.toml`.
fn question(roles: &[String], action: Action, given: &[String]) -> Result<Case> {
    let case = |given: &str| -> Result<Case, toml::de::Error> {
        let roles = toml::Value::from(roles.to_vec());
        toml::from_str(&format!(
            "title = \"a question at the command line\"\nwho = {roles}\ndoes = \"{}\"\nexpect = \"allow\"\n{given}",
            action.word()
        ))
    };
    let mut lines = String::new();
    for pair in given {
        let Some((name, value)) = pair.split_once('=') else { bail!("`{pair}` is not NAME=VALUE") };
        let plain = format!("{name} = {value}\n");
        let quoted = format!("{name} = {}\n", toml::Value::from(value));
        let line = if case(&plain).is_ok() { plain } else { quoted };
        case(&line).with_context(|| format!("`{pair}` cannot be given"))?;
        lines.push_str(&line);
    }
    case(&lines).context("what is given does not go together")
}

fn compare(here: &Here, old: &Path, new: &Path) -> Result<Outcome> {
    let diff = diff(&activate(Some(old))?, &activate(Some(new))?);
    answer(here, &diff)?;
    Ok(if diff.widens() { Outcome::ProblemFound } else { Outcome::Done })
}

fn review_access(here: &Here, path: Option<&Path>, who: &[String]) -> Result<Outcome> {
    let policies = activate(path)?;
    let mut principals = Vec::new();
    for pair in who {
        let Some((name, roles)) = pair.split_once('=') else { bail!("`{pair}` is not NAME=ROLE,ROLE") };
        let roles = roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect();
        principals.push((name.to_owned(), roles));
    }
    answer(here, &review(&policies, &principals))?;
    Ok(Outcome::Done)
}

fn answer(here: &Here, value: &(impl Serialize + std::fmt::Display)) -> Result<()> {
    if here.json { say_json(value) } else { say_part(&value.to_string()) }
}

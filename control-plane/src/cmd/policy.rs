//! `outpost-control policy …`: the policy desk at the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_control::{Config, DraftState, Fleet, PolicyDraft, SimulationReach};
use outpost_policies::{BUNDLE_BYTES, Bundle, BundleFiles};
use serde_json::json;

use super::{on_record, open, passphrase, say, say_json};
use crate::args::Policy;

/// Largest sealed document: the bundle in base64, with its signatures.
const SEALED_BYTES: usize = 2 * BUNDLE_BYTES;

/// Runs the command.
pub(super) fn run(config: Config, command: Policy, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    match command {
        Policy::Draft { name, from, in_force, default } => {
            let bundle = match (from, in_force, default) {
                (Some(path), ..) if path.is_dir() => return draft(&fleet, &name, &folder(&path)?, as_json),
                (Some(path), ..) => Bundle::parse(&read(&path, BUNDLE_BYTES)?)
                    .with_context(|| format!("`{}` is neither a folder nor a bundle", path.display()))?,
                (None, true, _) => {
                    let bundle = fleet.policy_in_force()?.context("no policy was released yet: give `--default`")?;
                    Bundle { version: bundle.version + 1, ..bundle }
                }
                (None, false, true) => Bundle::default_bundle(),
                (None, false, false) => bail!("give `--from PATH`, `--in-force` or `--default`"),
            };
            let files = BundleFiles::of(&bundle).map_err(anyhow::Error::msg)?;
            draft(&fleet, &name, &files, as_json)
        }
        Policy::Ls => list(&fleet, as_json),
        Policy::Show { name, out, bundle } => {
            let draft = fleet.policy_draft(&name)?;
            if let Some(path) = bundle {
                fleet.write_policy_bundle(&name, &path)?;
            }
            if let Some(directory) = out {
                if std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) {
                    bail!("`{}` is not empty; name another folder", directory.display());
                }
                fleet.write_policy_files(&name, &directory)?;
            }
            show(&draft, as_json)
        }
        Policy::Diff { name } => {
            let diff = fleet.policy_diff(&name)?;
            if as_json {
                say_json(&diff)?;
            } else {
                match &diff.words {
                    None => say("it has errors, so it can be compared line by line only")?,
                    Some(words) if words.is_empty() => say("nothing changes of what anybody may do")?,
                    Some(words) => words.iter().try_for_each(say)?,
                }
                diff.lines.iter().try_for_each(|file| say(file.to_string().trim_end()))?;
            }
            if diff.widens == Some(true) { bail!("somebody may do more than before, or could") } else { Ok(()) }
        }
        Policy::Lint { name } => lint(&fleet.policy_draft(&name)?, as_json),
        Policy::Simulate { name, days, records, selector } => {
            let told = fleet.simulate_policy(&name, &SimulationReach { days, records, selector })?;
            if as_json { say_json(&told) } else { say(told.to_string().trim_end()) }
        }
        Policy::Approve { name, digest } => {
            let draft = fleet.approve_policy_locally(&on_record::user(), &name, &digest)?;
            if as_json {
                return say_json(&draft.summary);
            }
            say(format!("`{name}` is approved for {}", draft.summary.digest.unwrap_or_default()))
        }
        Policy::Publish { name, keys, passphrase_file, sealed, staged } => {
            let sealed = sealed.map(|path| read(&path, SEALED_BYTES)).transpose()?;
            let holders = passphrase::open(&keys, &passphrase_file)?;
            let published = fleet.publish_policy(&holders, &name, sealed, staged)?;
            if as_json {
                return say_json(&published);
            }
            let (target, version) = (&published.target, published.version);
            match staged {
                true => say(format!(
                    "staged: {target}, version {version}; no device is told of it until a rollout brings it"
                )),
                false => {
                    say(format!("released: {target}, version {version}; every device with an assignment is told of it"))
                }
            }
        }
        Policy::Drop { name } => {
            fleet.drop_policy_draft(&name)?;
            if as_json { say_json(&json!({"dropped": name})) } else { say(format!("the draft `{name}` is gone")) }
        }
    }
}

fn draft(fleet: &Fleet, name: &str, files: &BundleFiles, as_json: bool) -> Result<()> {
    let author = format!("local:{}", on_record::user());
    lint(&fleet.save_policy_draft(&author, name, files, None)?, as_json)
}

fn list(fleet: &Fleet, as_json: bool) -> Result<()> {
    let board = fleet.policy_board()?;
    if as_json {
        return say_json(&board);
    }
    for policy in &board.released {
        let standing = match (policy.in_force, policy.pinned) {
            (true, _) => "in force".to_owned(),
            (false, 0) => "no device is told of it".to_owned(),
            (false, pinned) => format!("on {pinned} devices"),
        };
        say(format!("released  {:<40} version {:<6} {standing}", policy.target, policy.version))?;
    }
    for draft in &board.drafts {
        let version = draft.version.map_or_else(|| "-".to_owned(), |version| version.to_string());
        let state = state(draft.state);
        say(format!("draft     {:<40} version {version:<6} {state}, by {}", draft.name, draft.author))?;
    }
    if board.two_persons { say("a second person approves each draft before it is released") } else { Ok(()) }
}

fn show(draft: &PolicyDraft, as_json: bool) -> Result<()> {
    if as_json {
        return say_json(draft);
    }
    let summary = &draft.summary;
    say(format!("draft     {}, {}", summary.name, state(summary.state)))?;
    say(format!("author    {}", summary.authors.join(", ")))?;
    say(format!("digest    {}", summary.digest.as_deref().unwrap_or("none: its files cannot be read")))?;
    say(format!("version   {}", summary.version.map_or_else(|| "-".to_owned(), |version| version.to_string())))?;
    for approval in &summary.approvals {
        let at = jiff::Timestamp::from_second(approval.at_s).map_or_else(|_| String::new(), |time| format!(", {time}"));
        say(format!("approved  {}{at}", approval.person))?;
    }
    draft
        .files
        .as_map()
        .iter()
        .try_for_each(|(name, text)| say(format!("file      {name}, {} lines", text.lines().count())))?;
    draft.found.iter().try_for_each(|found| say(found.to_string()))
}

fn lint(draft: &PolicyDraft, as_json: bool) -> Result<()> {
    let errors = draft.found.iter().filter(|found| found.is_error).count();
    if as_json {
        let summary = &draft.summary;
        say_json(&json!({"draft": summary, "found": draft.found, "cases": draft.cases, "errors": errors}))?;
    } else {
        draft.found.iter().try_for_each(|found| say(found.to_string()))?;
        let failed = draft.cases.iter().filter(|case| case.problem.is_some()).count();
        let (hints, cases) = (draft.found.len() - errors, draft.cases.len());
        say(format!("{errors} errors, {hints} hints, {cases} cases, {failed} failed"))?;
        say(format!("digest {}", draft.summary.digest.as_deref().unwrap_or("none")))?;
    }
    if errors > 0 {
        bail!("the draft `{}` is saved and has errors: it cannot be released", draft.summary.name)
    } else {
        Ok(())
    }
}

fn state(state: DraftState) -> &'static str {
    match state {
        DraftState::Faulty => "has errors",
        DraftState::Waiting => "waits for a second person",
        DraftState::Ready => "can be released",
        DraftState::Staged => "staged",
        DraftState::Released => "in force",
    }
}

/// The files of a bundle in a folder and in the folders in it; anything else there (a README, say) is no part of it.
fn folder(path: &Path) -> Result<BundleFiles> {
    let mut files = BTreeMap::new();
    for (name, path) in entries(path)? {
        if path.is_dir() {
            for (inner, path) in entries(&path)? {
                take(&mut files, format!("{name}/{inner}"), &path)?;
            }
        } else {
            take(&mut files, name, &path)?;
        }
    }
    Ok(BundleFiles::try_from(files)?)
}

fn take(files: &mut BTreeMap<String, String>, name: String, path: &Path) -> Result<()> {
    if !path.is_file() || !(name.ends_with(".cedar") || name.ends_with(".toml")) {
        return Ok(());
    }
    let text =
        String::from_utf8(read(path, BUNDLE_BYTES)?).with_context(|| format!("`{}` is no text", path.display()))?;
    files.insert(name, text);
    Ok(())
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

fn read(path: &Path, most: usize) -> Result<Vec<u8>> {
    use std::io::Read;
    let unreadable = || format!("cannot read `{}`", path.display());
    let file = std::fs::File::open(path).with_context(unreadable)?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).with_context(unreadable)?;
    if bytes.len() > most {
        bail!("`{}` has more than {most} bytes", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use outpost_control::{Clock, Fleet};

    use super::*;
    use crate::args::Cli;
    use crate::cmd::dispatch;

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn place(&self, name: &str) -> String {
            self.0.path().join(name).display().to_string()
        }

        /// Types a line; words that begin with `@` are names on this desk.
        async fn enter(&self, line: &str) -> Result<()> {
            let words = line
                .split(' ')
                .map(|word| word.strip_prefix('@').map_or_else(|| word.to_owned(), |name| self.place(name)));
            let state = ["--state".to_owned(), self.place("state")];
            dispatch(Cli::try_parse_from(words.chain(state))?).await
        }

        fn fleet(&self) -> Fleet {
            Fleet::open(Config::load(self.place("state")).unwrap(), Clock::system()).unwrap()
        }
    }

    #[tokio::test]
    async fn from_the_first_draft_to_the_release_at_the_command_line() {
        let desk = Desk(tempfile::tempdir().unwrap());
        for line in [
            "outpost-control init",
            "outpost-control keys create --keys @stick",
            "outpost-control policy draft first --default",
            "outpost-control policy lint first",
            "outpost-control policy diff first",
            "outpost-control policy show first --out @folder --bundle @first.json",
            "outpost-control policy draft first --from @folder",
            "outpost-control policy draft first --from @first.json",
            "outpost-control policy publish first --keys @stick",
            "outpost-control policy draft night --in-force",
            "outpost-control policy diff night",
            "outpost-control policy simulate night --days 7",
            "outpost-control policy publish night --keys @stick --staged",
            "outpost-control policy ls",
            "outpost-control policy drop first",
            "outpost-control broker rules --for mosquitto",
            "outpost-control broker rules --for emqx",
        ] {
            desk.enter(line).await.unwrap_or_else(|error| panic!("{line}: {error:#}"));
        }
        let board = desk.fleet().policy_board().unwrap();
        let released: Vec<(&str, bool)> =
            board.released.iter().map(|one| (one.target.as_str(), one.in_force)).collect();
        assert_eq!(released, [("policy-night.v2.json", false), ("policy.json", true)]);
        let digest = board.drafts[0].digest.clone().unwrap();
        let acts: Vec<String> =
            desk.fleet().own_records(50).unwrap().iter().map(|record| record.leaf["act"].to_string()).collect();
        for act in ["draft_policy", "release", "read_records"] {
            assert!(acts.iter().any(|known| known.contains(act)), "{act}: {acts:?}");
        }
        for (line, why) in [
            (format!("outpost-control policy approve night --digest {digest}"), "whoever wrote it"),
            ("outpost-control policy show gone".to_owned(), "no draft `gone`"),
            ("outpost-control policy show night --out @folder".to_owned(), "not empty"),
            ("outpost-control policy draft night --from @nowhere".to_owned(), "cannot read"),
            ("outpost-control policy draft ../x --default".to_owned(), "no name for a draft"),
        ] {
            let refused = desk.enter(&line).await.expect_err(&line);
            assert!(format!("{refused:#}").contains(why), "{line}: {refused:#}");
        }
    }
}

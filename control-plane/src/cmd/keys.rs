//! `outpost-control keys …`: the ceremony. `create --holder` and `sign` need no fleet: what they need is in the files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_control::{Config, Fleet, Holder, OfflineKeys, Passphrase, ServerKey, read_proposal, write_proposal};
use outpost_trust::VerifyingKey;
use outpost_trust::catalogue::{Kind, Proposal, Standing};
use serde_json::json;

use super::{open, passphrase, say, say_json};
use crate::args::{Keys, ServerKeyName};

/// Runs the command.
pub(super) fn run(config: impl FnOnce() -> Result<Config>, command: Keys, as_json: bool) -> Result<()> {
    let fleet = || open(config()?);
    match command {
        Keys::Create { keys, holder: Some(name), existing: true, passphrase_file, .. } => {
            let files = Vec::from_iter(passphrase_file);
            let found = OfflineKeys::open(&keys, &mut passphrase::at_hand(&files)?)?;
            say_holder(&keys, &name, &found.describe(&keys, &name)?, as_json)
        }
        Keys::Create { keys, holder, passphrase, passphrase_file, .. } => {
            let wanted = passphrase || passphrase_file.is_some();
            let new = wanted.then(|| passphrase::new(passphrase_file.as_deref())).transpose()?;
            match holder {
                Some(name) => {
                    let public = OfflineKeys::create_for(&keys, &name, new.as_ref())?;
                    say_holder(&keys, &name, &public, as_json)
                }
                None => create(&fleet()?, &keys, new.as_ref(), as_json),
            }
        }
        Keys::Passphrase { keys, remove, passphrase_file, new_passphrase_file } => {
            let mut old = passphrase::at_hand(&passphrase_file)?;
            // A passphrase that does not open the keys is said before anybody thinks of a new one.
            OfflineKeys::open(&keys, &mut old)?;
            let new = (!remove).then(|| passphrase::new(new_passphrase_file.as_deref())).transpose()?;
            OfflineKeys::relock(&keys, &mut old, new.as_ref())?;
            say_relocked(&keys, !remove, as_json)
        }
        Keys::Root { holders, threshold, same, plan } => {
            root(&fleet()?, &holders, (!same).then_some(threshold), &plan, as_json)
        }
        Keys::Sign { file, keys, passphrase_file, yes } => {
            sign(&file, || passphrase::open(&keys, &passphrase_file), yes, as_json)
        }
        Keys::Install { files } => install(&fleet()?, &files, as_json),
        Keys::Show => show(&fleet()?, as_json),
        Keys::Rotate { key, stolen } => {
            let fleet = fleet()?.rotate(which(key), stolen)?;
            advise(&fleet, as_json)
        }
        Keys::Retire { key, force } => {
            let fleet = fleet()?.retire(which(key), force)?;
            if as_json {
                return say_json(&fleet.keys_overview()?);
            }
            say(
                "it signs nothing any more; the next release does not list it: outpost-control catalogue prepare --again",
            )
        }
    }
}

fn which(name: ServerKeyName) -> ServerKey {
    match name {
        ServerKeyName::Online => ServerKey::Online,
        ServerKeyName::Director => ServerKey::Director,
        ServerKeyName::Tokens => ServerKey::Tokens,
    }
}

fn say_holder(keys: &Path, name: &str, public: &Path, as_json: bool) -> Result<()> {
    if as_json {
        return say_json(&json!({"keys": keys, "public": public}));
    }
    say(format!(
        "the keys of `{name}` are in `{}`: they stay with `{name}`, on an encrypted stick\n\
         give `{}` to whoever runs `outpost-control keys root`",
        keys.display(),
        public.display()
    ))
}

fn say_relocked(keys: &Path, locked: bool, as_json: bool) -> Result<()> {
    if as_json {
        return say_json(&json!({"keys": keys, "passphrase": locked}));
    }
    say(if locked {
        format!("the keys in `{}` open with the new passphrase only; copies elsewhere keep theirs", keys.display())
    } else {
        format!("the keys in `{}` open without a passphrase", keys.display())
    })
}

fn create(fleet: &Fleet, keys: &Path, passphrase: Option<&Passphrase>, as_json: bool) -> Result<()> {
    fleet.create_locked_keys(keys, passphrase)?;
    if as_json {
        return say_json(&json!({"keys": keys}));
    }
    say(format!("offline keys are in `{}`: move them off this machine when the release is signed", keys.display()))
}

fn root(fleet: &Fleet, files: &[PathBuf], threshold: Option<u64>, plan: &Path, as_json: bool) -> Result<()> {
    let proposal = match threshold {
        None => fleet.propose_same_root()?,
        Some(threshold) => {
            let holders = files.iter().map(|path| Ok(Holder::read(path)?)).collect::<Result<Vec<_>>>()?;
            fleet.propose_root(&holders, threshold)?
        }
    };
    write(plan, &proposal)?;
    tell(&proposal, &[], as_json)?;
    if as_json {
        return Ok(());
    }
    say(format!("now each holder: outpost-control keys sign {} --keys DIR", plan.display()))
}

fn sign(file: &Path, open: impl FnOnce() -> Result<Vec<OfflineKeys>>, yes: bool, as_json: bool) -> Result<()> {
    let mut proposal = read_proposal(file)?;
    let holders = open()?;
    let own: Vec<_> = holders.iter().flat_map(OfflineKeys::verifying_keys).collect();
    if !as_json {
        proposal.words(&own).iter().try_for_each(say)?;
    }
    if !yes && !confirmed()? {
        bail!("nothing was signed");
    }
    let mut added = 0;
    for holder in &holders {
        let key = if proposal.kind() == Kind::Root { &holder.root } else { &holder.targets };
        added += usize::from(proposal.sign(key)?);
    }
    if added == 0 {
        bail!("none of these keys may sign it, or they have already");
    }
    write(file, &proposal)?;
    let standings = proposal.standings()?;
    if as_json {
        return say_json(&json!({"complete": proposal.is_complete(), "standings": standings}));
    }
    standings.iter().try_for_each(|standing| say(progress(standing)))?;
    say(match (proposal.is_complete(), proposal.kind()) {
        (true, Kind::Root) => "complete; on the server: outpost-control keys install FILE",
        (true, Kind::Release) => "complete; on the server: outpost-control catalogue publish FILE",
        (false, _) => "give the file to the next holder",
    })
}

fn install(fleet: &Fleet, files: &[PathBuf], as_json: bool) -> Result<()> {
    let (_, installed) = fleet.install(together(files)?)?;
    if as_json {
        return say_json(&installed);
    }
    say(format!("root {} is in force", installed.root))?;
    if installed.published {
        return say("devices get it with the catalogue");
    }
    say("devices get it with the next release: outpost-control catalogue prepare --again --out release.json")
}

fn show(fleet: &Fleet, as_json: bool) -> Result<()> {
    let overview = fleet.keys_overview()?;
    if as_json {
        return say_json(&overview);
    }
    say(format!("root {}", overview.root))?;
    for role in &overview.roles {
        let short = |(id, holder): &(String, Option<String>)| {
            holder.as_ref().map_or_else(|| id[..8].to_owned(), |holder| format!("{holder} ({})", &id[..8]))
        };
        let keys = role.keys.iter().map(short).collect::<Vec<_>>().join(", ");
        say(format!("  {:<8} {} of {keys}", role.role, role.threshold))?;
    }
    for key in &overview.server {
        say(format!("server's {:<8} {} {}", key.key, &key.id[..8], key.state))?;
    }
    for validity in &overview.expiries {
        let day = date(validity.expires_at_s);
        say(format!("{:<14} until {day}, renewed by {}", validity.what, validity.renewed_by))?;
    }
    overview.advice.iter().try_for_each(|advice| say(format!("! {advice}")))
}

fn advise(fleet: &Fleet, as_json: bool) -> Result<()> {
    let overview = fleet.keys_overview()?;
    if as_json {
        return say_json(&overview);
    }
    say("replaced")?;
    overview.advice.iter().try_for_each(|advice| say(format!("! {advice}")))
}

/// Says what a proposal would change and how far it is.
pub(super) fn tell(proposal: &Proposal, own: &[VerifyingKey], as_json: bool) -> Result<()> {
    let (words, standings) = (proposal.words(own), proposal.standings()?);
    if as_json {
        return say_json(
            &json!({"kind": proposal.kind(), "version": proposal.version(), "words": words, "standings": standings}),
        );
    }
    words.iter().try_for_each(say)
}

/// Copies of one proposal, with the signatures of all.
pub(super) fn together(files: &[PathBuf]) -> Result<Proposal> {
    let mut copies = files.iter().map(|path| Ok(read_proposal(path)?)).collect::<Result<Vec<_>>>()?.into_iter();
    let mut first = copies.next().context("give the signed file")?;
    copies.try_for_each(|copy| first.merge(&copy))?;
    Ok(first)
}

/// Writes a proposal where it goes on from.
pub(super) fn write(path: &Path, proposal: &Proposal) -> Result<()> {
    Ok(write_proposal(path, proposal)?)
}

fn progress(standing: &Standing) -> String {
    let (have, need) = (standing.signed_by.len(), standing.threshold);
    let signed = if have == 0 { "nobody".to_owned() } else { standing.signed_by.join(", ") };
    let missing =
        if standing.missing.is_empty() { String::new() } else { format!("; not by {}", standing.missing.join(", ")) };
    format!("{}: {have} of {need} needed: signed by {signed}{missing}", standing.authority)
}

fn confirmed() -> Result<bool> {
    let mut standard_error = std::io::stderr().lock();
    write!(standard_error, "sign this? Type `yes`: ").context("cannot ask")?;
    standard_error.flush().context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot read the answer; `--yes` signs without asking")?;
    Ok(answer.trim() == "yes")
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.strftime("%Y-%m-%d").to_string())
}

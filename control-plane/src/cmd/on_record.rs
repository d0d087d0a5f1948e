//! Which commands change something, as what: each is on record before it is done.

use anyhow::{Context, Result};
use outpost_control::Config;

use super::open;
use crate::args::{
    Audit, Backup, Build, Bundle, Catalogue, Command, Device, Group, Keys, Model, OwnAudit, Person, Policy, Rollout,
    Token, User, Webhook,
};

/// Records that this account of the machine is about to do it.
pub(super) fn record(config: Config, act: &str, subject: &str) -> Result<()> {
    open(config)?.record_local(&user(), act, subject).context("what cannot be recorded is not done")
}

/// This account of the machine, as records name it.
pub(super) fn who() -> String {
    format!("local:{}", user())
}

/// Who types.
pub(super) fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    account(uid).unwrap_or_else(|| uid.to_string())
}

/// The account's name; `$USER` says what somebody likes it to.
fn account(uid: u32) -> Option<String> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|parts| parts.get(2).is_some_and(|number| *number == uid.to_string()))?;
    found.first().map(|name| (*name).to_owned())
}

/// The act and its subject; none for what only looks, or needs no fleet.
pub(super) fn of(command: &Command) -> Option<(&'static str, String)> {
    let plain = |act, subject: &str| Some((act, subject.to_owned()));
    match command {
        // Each thing that a file changes is on record by itself, once it is known.
        Command::Apply(_) | Command::Diff(_) | Command::Export(_) => None,
        Command::Init | Command::Serve | Command::Broker(_) | Command::Bom(_) => None,
        Command::Keys(Keys::Create { holder: None, .. }) => plain("release", "keys create"),
        Command::Keys(Keys::Install { .. }) => plain("release", "keys install"),
        Command::Keys(_) | Command::Catalogue(Catalogue::Ls { .. } | Catalogue::Compare { .. } | Catalogue::Held) => {
            None
        }
        Command::Catalogue(Catalogue::Fetch(asked)) => plain("release", &format!("fetch {}", asked.source)),
        Command::Catalogue(Catalogue::Add { directory, .. }) => {
            plain("release", &format!("add {}", directory.display()))
        }
        Command::Catalogue(_) => plain("release", "catalogue"),
        Command::Model(model) => of_model(model),
        Command::Build(Build::Publish { version, target, .. }) => {
            plain("release", &format!("agent {version} {target}"))
        }
        Command::Build(Build::Ls) => None,
        Command::Device(device) => of_device(device),
        Command::Audit(Audit::Own(OwnAudit::Show { .. } | OwnAudit::Export { .. })) => plain("read_records", "self"),
        Command::Audit(Audit::Search(_)) => plain("read_records", "records"),
        Command::Audit(Audit::Report(_)) => plain("read_records", "audit report"),
        Command::Audit(Audit::Incidents { device, .. }) => plain("read_records", device),
        Command::Audit(_) => None,
        Command::Bundle(Bundle::Export { .. }) => plain("assign", "bundle export"),
        // It puts itself on record, with what it takes in.
        Command::Bundle(Bundle::Import { .. }) => None,
        Command::Backup(Backup::Create { .. }) => plain("administer", "backup create"),
        Command::Group(Group::Create { name, .. } | Group::Rm { name }) => plain("assign", name),
        Command::Backup(_) | Command::Group(_) | Command::Plan(_) => None,
        Command::Webhook(Webhook::Ls | Webhook::Deliveries { .. }) | Command::Events(_) => None,
        Command::Webhook(
            Webhook::Add { name, .. }
            | Webhook::Rm { name }
            | Webhook::Test { name }
            | Webhook::Pause { name }
            | Webhook::Retry { name },
        ) => plain("administer", name),
        // Approving is on record with its verdict.
        Command::Rollout(
            Rollout::Ls { .. } | Rollout::Show { .. } | Rollout::Watch { .. } | Rollout::Approve { .. },
        ) => None,
        Command::Rollout(rollout) => plain("rollout", rollout.name()),
        Command::User(User::Token { name, .. }) => plain("issue_token", name),
        Command::Person(person) => of_person(person),
        Command::Token(Token::Create { name, .. } | Token::Revoke { name }) => plain("administer", name),
        Command::Token(Token::Ls) => None,
        Command::Policy(policy) => of_policy(policy),
    }
}

fn of_policy(policy: &Policy) -> Option<(&'static str, String)> {
    match policy {
        Policy::Draft { name, .. } | Policy::Drop { name } => Some(("draft_policy", name.clone())),
        Policy::Publish { name, .. } => Some(("release", name.clone())),
        Policy::Simulate { name, .. } => Some(("read_records", name.clone())),
        // An approval is put on record with whether it was let.
        Policy::Approve { .. } | Policy::Ls | Policy::Show { .. } | Policy::Diff { .. } | Policy::Lint { .. } => None,
    }
}

fn of_device(device: &Device) -> Option<(&'static str, String)> {
    let plain = |act, subject: &str| Some((act, subject.to_owned()));
    match device {
        Device::Code { device, .. } => plain("enrol", device),
        Device::Codes { .. } => plain("enrol", "a list"),
        Device::Allow { device, .. } => plain("enrol", device.as_deref().unwrap_or("a list")),
        Device::Accept { name, .. } => plain("enrol", name),
        Device::Reject { fingerprint } => plain("enrol", fingerprint),
        Device::Assign { all: true, .. } => plain("assign", "all"),
        Device::Assign { devices, .. } => plain("assign", &devices.join(" ")),
        Device::Site { device, .. } | Device::Label { device, .. } => plain("assign", device),
        Device::Command { words, .. } => plain("command", &words.join(" ")),
        Device::Revoke { device, .. } => plain("revoke", device),
        _ => None,
    }
}

fn of_model(model: &Model) -> Option<(&'static str, String)> {
    match model {
        Model::Approve { model, .. } => Some(("approve_model", model.clone())),
        Model::Revoke { id } => Some(("approve_model", id.clone())),
        Model::Withdraw { model, .. } | Model::Restore { model } => Some(("withdraw_model", model.clone())),
        Model::Approvals { .. } | Model::Withdrawals => None,
    }
}

fn of_person(person: &Person) -> Option<(&'static str, String)> {
    match person {
        Person::Ls | Person::Sessions => None,
        Person::Add { name, .. }
        | Person::Role { name, .. }
        | Person::Reset { name }
        | Person::Totp { name, .. }
        | Person::Disable { name }
        | Person::Enable { name }
        | Person::Remove { name }
        | Person::SignOut { name } => Some(("administer", name.clone())),
    }
}

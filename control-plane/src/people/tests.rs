//! The gate, people, tokens, signing in and the record of it all.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::people::approvals::Approvable;
use crate::people::sign_in::{IDLE_S, Typed};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PASSWORD: &str = "correct horse battery";
const STATE: &str = "OUTPOST_TEST_STATE";

struct Stage {
    _directory: tempfile::TempDir,
    clock: Clock,
    fleet: Fleet,
}

impl Stage {
    fn new() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(1_800_000_000));
        let fleet = Fleet::init(Config::new(directory.path()), clock.clone()).unwrap().fleet;
        Self { _directory: directory, clock, fleet }
    }

    /// A person who has set a password.
    fn with(self, name: &str, role: &str) -> Self {
        let code = self.fleet.add_person(name, &[role.to_owned()]).unwrap();
        let typed = Typed { name: name.to_owned(), password: PASSWORD.to_owned(), code };
        self.fleet.set_password(&typed, HERE).unwrap();
        assert!(matches!(self.fleet.set_password(&typed, HERE), Err(FleetError::SignIn)), "a code counts once");
        self
    }

    fn sign_in(&self, name: &str, password: &str, code: &str) -> Result<String, FleetError> {
        let typed = Typed { name: name.to_owned(), password: password.to_owned(), code: code.to_owned() };
        self.fleet.sign_in(&typed, HERE, None)
    }

    /// `by act subject effect error` of each act and each failure to sign in.
    fn acts(&self) -> Vec<String> {
        let records = self.fleet.own_records(1000).unwrap();
        let part =
            |leaf: &serde_json::Value, path| leaf.pointer(path).and_then(|v| v.as_str()).unwrap_or("-").to_owned();
        let ours = records
            .into_iter()
            .filter(|record| record.leaf["type"] == "admin.act" || record.leaf["type"] == "auth.fail");
        let paths = ["/detail/by", "/act", "/obj/model", "/dec/effect", "/res/err"];
        ours.map(|record| paths.map(|path| part(&record.leaf, path)).join(" ")).collect()
    }
}

#[test]
fn every_act_is_judged_and_on_record_before_it_is_done() {
    let stage = Stage::new();
    let viewer = stage.fleet.actor("vic", &["viewer".to_owned()], Means::Session);
    assert!(viewer.may(Act::See) && !viewer.may(Act::Revoke));
    stage.fleet.permit(&viewer, Act::See, "till-7").unwrap();
    let denied = stage.fleet.permit(&viewer, Act::Revoke, "till-7").unwrap_err();
    assert!(
        matches!(&denied, FleetError::Forbidden(reason) if reason.contains("no rule permits `revoke`")),
        "{denied}"
    );
    stage.fleet.permit(&stage.fleet.administrator(), Act::Enrol, "till-8").unwrap();
    stage.fleet.record_local("root", "assign", "till-9").unwrap();
    assert_eq!(
        stage.acts(),
        ["vic revoke till-7 deny -", "administrator enrol till-8 allow -", "local:root assign till-9 allow -"]
    );
    assert!(stage.fleet.verify_own_log().unwrap().is_ok());
}

#[test]
fn what_cannot_be_recorded_is_not_permitted() {
    let stage = Stage::new();
    let in_the_way = stage.fleet.config().state_dir.join("audit/self");
    std::fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    std::fs::File::create(&in_the_way).unwrap();
    let administrator = stage.fleet.administrator();
    assert!(stage.fleet.permit(&administrator, Act::Revoke, "till-7").is_err());
    std::fs::remove_file(&in_the_way).unwrap();
    stage.fleet.permit(&administrator, Act::Revoke, "till-7").unwrap();
}

#[test]
fn processes_share_the_log() {
    let stage = Stage::new();
    stage.fleet.record_local("server", "assign", "before").unwrap();
    let mut processes: Vec<_> = (0..2)
        .map(|_| {
            let mut test = Command::new(std::env::current_exe().unwrap());
            let name = "people::tests::another_process_records";
            test.args(["--exact", name, "--ignored"]).env(STATE, &stage.fleet.config().state_dir).spawn().unwrap()
        })
        .collect();
    for number in 0..20 {
        stage.fleet.record_local("server", "assign", &number.to_string()).unwrap();
    }
    assert!(processes.iter_mut().all(|process| process.wait().unwrap().success()));
    let acts = stage.acts();
    let of = |who: &str| acts.iter().filter(|act| act.starts_with(who)).count();
    assert_eq!((of("local:server"), of("local:other")), (21, 40));
    assert!(stage.fleet.verify_own_log().unwrap().is_ok());
}

#[test]
#[ignore = "run by `processes_share_the_log`, in processes of their own"]
fn another_process_records() {
    let state = std::env::var_os(STATE).expect("the state directory is given");
    let fleet = Fleet::open(Config::new(state), Clock::system()).unwrap();
    for number in 0..20 {
        fleet.record_local("other", "assign", &number.to_string()).unwrap();
    }
}

#[test]
fn rules_of_the_fleet_replace_the_built_in_ones_and_broken_ones_stop_it() {
    let stage = Stage::new();
    let config = stage.fleet.config().clone();
    let rules = config.state_dir.join(RULES_FILE);
    files::write(
        &rules,
        br#"@id("a") @reason("b") permit (principal in Role::"clerk", action == Action::"enrol", resource);"#,
    )
    .unwrap();
    let fleet = Fleet::open(config.clone(), Clock::system()).unwrap();
    assert!(fleet.actor("cy", &["clerk".to_owned()], Means::Session).may(Act::Enrol));
    assert!(!fleet.administrator().may(Act::Enrol));
    files::write(&rules, b"permit (principal, action, resource);").unwrap();
    assert!(matches!(Fleet::open(config, Clock::system()), Err(FleetError::Rules(_))));
}

#[test]
fn a_session_is_new_each_time_and_ends_by_idleness_age_and_sign_out() {
    let stage = Stage::new().with("ada", "operator");
    let typed = Typed { name: "ada".to_owned(), password: PASSWORD.to_owned(), code: String::new() };
    let planted = "0".repeat(64);
    let first = stage.fleet.sign_in(&typed, HERE, Some(&planted)).unwrap();
    assert_ne!(first, planted);
    assert!(stage.fleet.session(&planted).unwrap().is_none());
    let second = stage.fleet.sign_in(&typed, HERE, Some(&first)).unwrap();
    assert!(stage.fleet.session(&first).unwrap().is_none(), "the browser's earlier session is over");
    assert_eq!(stage.fleet.session(&second).unwrap().unwrap().name, "ada");
    let ada = stage.fleet.session(&second).unwrap().unwrap();
    stage.fleet.sign_out(&ada, &second, HERE).unwrap();
    assert!(stage.acts().contains(&"ada sign_out 127.0.0.1 - -".to_owned()));
    assert!(stage.fleet.session(&second).unwrap().is_none());

    let idle = stage.fleet.sign_in(&typed, HERE, None).unwrap();
    stage.clock.advance(IDLE_S);
    assert!(stage.fleet.session(&idle).unwrap().is_none());
    let old = stage.fleet.sign_in(&typed, HERE, None).unwrap();
    for _ in 0..SESSION_S / (IDLE_S - 1) {
        assert!(stage.fleet.session(&old).unwrap().is_some());
        stage.clock.advance(IDLE_S - 1);
    }
    stage.clock.advance(SESSION_S % (IDLE_S - 1));
    assert!(stage.fleet.session(&old).unwrap().is_none(), "however often it was used");
}

#[test]
fn a_disabled_person_is_out_at_once_and_roles_count_at_once() {
    let stage = Stage::new().with("ada", "operator");
    let cookie = stage.sign_in("ada", PASSWORD, "").unwrap();
    stage.fleet.set_person_roles("ada", &["viewer".to_owned()]).unwrap();
    assert!(!stage.fleet.session(&cookie).unwrap().unwrap().may(Act::Assign));
    stage.fleet.disable_person("ada", true).unwrap();
    assert!(stage.fleet.session(&cookie).unwrap().is_none());
    assert!(matches!(stage.sign_in("ada", PASSWORD, ""), Err(FleetError::SignIn)));
    stage.fleet.disable_person("ada", false).unwrap();
    assert!(stage.fleet.session(&cookie).unwrap().is_none());
    stage.sign_in("ada", PASSWORD, "").unwrap();
}

#[test]
fn guessing_is_held_back_and_tells_nobody_who_there_is() {
    let stage = Stage::new().with("ada", "operator");
    // Forgives the code that was tried twice: both names begin without a failure.
    stage.sign_in("ada", PASSWORD, "").unwrap();
    let mut answers = [Vec::new(), Vec::new()];
    for (name, answers) in ["ada", "nobody"].into_iter().zip(&mut answers) {
        for _ in 0..7 {
            answers.push(stage.sign_in(name, "a wrong password", "").unwrap_err().to_string());
        }
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0][0].contains("is wrong") && answers[0][6].contains("too often"), "{answers:?}");
    assert!(matches!(stage.sign_in("ada", PASSWORD, ""), Err(FleetError::HeldBack(_))), "even with the right password");
    stage.clock.advance(15 * 60);
    stage.sign_in("ada", PASSWORD, "").unwrap();
    assert!(stage.acts().iter().any(|act| act.contains("sign_in 127.0.0.1 - name, password or code is wrong")));
}

#[test]
fn one_address_cannot_try_many_names() {
    let stage = Stage::new();
    let tries = (0..30).map(|number| stage.sign_in(&format!("name-{number}"), "a wrong password", "").unwrap_err());
    assert!(tries.into_iter().any(|error| matches!(error, FleetError::HeldBack(_))));
}

#[test]
fn a_code_of_the_authenticator_is_asked_for_and_counts_once() {
    let stage = Stage::new().with("ada", "operator");
    stage.fleet.give_authenticator("ada").unwrap();
    stage.fleet.inner.database.set_totp("ada", Some(b"12345678901234567890")).unwrap();
    // RFC 6238, appendix B: the last six of the eight digits at this time.
    let stage = Stage { clock: stage.clock.clone(), ..stage };
    stage.clock.advance(2_000_000_000 - stage.clock.now_s());
    assert!(matches!(stage.sign_in("ada", PASSWORD, ""), Err(FleetError::SignIn)));
    stage.sign_in("ada", PASSWORD, "279037").unwrap();
    assert!(matches!(stage.sign_in("ada", PASSWORD, "279037"), Err(FleetError::SignIn)));
    stage.fleet.take_authenticator("ada").unwrap();
    stage.sign_in("ada", PASSWORD, "").unwrap();
}

#[test]
fn an_api_token_is_scoped_ends_and_is_revoked() {
    let stage = Stage::new();
    let roles = ["operator".to_owned()];
    let token = stage.fleet.create_api_token("ci", &roles, &["see".to_owned(), "revoke".to_owned()], 30).unwrap();
    assert!(token.starts_with("opc_"));
    let carrier = stage.fleet.bearer(&token).unwrap().unwrap();
    assert!(carrier.may(Act::See) && carrier.may(Act::Revoke), "in both");
    assert!(!carrier.may(Act::Assign), "in the role alone");
    assert!(stage.fleet.api_tokens().unwrap()[0].used_s.is_some() || stage.fleet.bearer(&token).unwrap().is_some());
    let scope = ["administer".to_owned()];
    let wide = stage.fleet.create_api_token("wide", &roles, &scope, 30).unwrap();
    assert!(!stage.fleet.bearer(&wide).unwrap().unwrap().may(Act::Administer), "in the scope alone");
    stage.fleet.revoke_api_token("wide").unwrap();
    assert!(stage.fleet.bearer(&wide).unwrap().is_none());
    stage.clock.advance(30 * 24 * 60 * 60);
    assert!(stage.fleet.bearer(&token).unwrap().is_none());
    assert!(stage.fleet.create_api_token("x", &roles, &["fly".to_owned()], 30).is_err());
    let kept = std::fs::read(stage.fleet.config().state_dir.join("control.db")).unwrap();
    assert!(!kept.windows(token.len()).any(|window| window == token.as_bytes()));
}

#[test]
fn whoever_wrote_it_does_not_approve_it() {
    let stage = Stage::new();
    let person = |name: &str, role: &str| stage.fleet.actor(name, &[role.to_owned()], Means::Session);
    let what = Approvable { kind: "rollout", subject: "r-1", digest: "d1", author: "ada" };
    let approve = |actor: &Actor| stage.fleet.approve(actor, Act::ApproveRollout, what);
    assert!(matches!(approve(&person("ada", "approver")), Err(FleetError::Forbidden(_))));
    assert!(matches!(approve(&person("bo", "operator")), Err(FleetError::Forbidden(_))));
    approve(&person("cy", "approver")).unwrap();
    approve(&person("cy", "approver")).unwrap();
    assert_eq!(stage.fleet.approvals(what).unwrap().len(), 1);
    assert!(stage.fleet.approvals(Approvable { digest: "d2", ..what }).unwrap().is_empty(), "of other words");
}

/// Ada with an authenticator that she set up herself: her session, its cookie, the secret, and her recovery codes.
fn with_authenticator(stage: &Stage) -> (Actor, String, Vec<u8>, Vec<String>) {
    let cookie = stage.sign_in("ada", PASSWORD, "").unwrap();
    let ada = stage.fleet.session(&cookie).unwrap().unwrap();
    let offered = stage.fleet.offer_authenticator(&ada, PASSWORD, HERE).unwrap();
    let now_s = stage.clock.now_s();
    let secret = stage.fleet.inner.database.offered_authenticator("ada", now_s).unwrap().unwrap();
    assert_eq!(offered.secret, totp::base32(&secret));
    stage.sign_in("ada", PASSWORD, "").expect("what was not confirmed is not asked for");
    assert!(matches!(stage.fleet.confirm_authenticator(&ada, "000000", HERE), Err(FleetError::Person(_))));
    let codes = stage.fleet.confirm_authenticator(&ada, &totp::code(&secret, now_s), HERE).unwrap();
    assert!(matches!(
        stage.fleet.confirm_authenticator(&ada, &totp::code(&secret, now_s), HERE),
        Err(FleetError::Person(_))
    ));
    (ada, cookie, secret, codes)
}

#[test]
fn a_recovery_code_stands_in_for_the_authenticator_once() {
    let stage = Stage::new().with("ada", "operator").with("bo", "operator");
    let (ada, _, secret, codes) = with_authenticator(&stage);
    assert_eq!(codes.len(), 10);
    assert!(codes.iter().all(|code| code.len() == 19), "{codes:?}");
    let used = totp::code(&secret, stage.clock.now_s());
    assert!(
        matches!(stage.sign_in("ada", PASSWORD, &used), Err(FleetError::SignIn)),
        "the code that confirmed it counted"
    );
    assert!(matches!(stage.sign_in("ada", "a wrong password", &codes[0]), Err(FleetError::SignIn)));
    stage.sign_in("ada", PASSWORD, &codes[0]).unwrap();
    assert!(matches!(stage.sign_in("ada", PASSWORD, &codes[0]), Err(FleetError::SignIn)), "once");
    stage.sign_in("ada", PASSWORD, &codes[1].to_uppercase().replace('-', " ")).expect("however it is typed");
    assert_eq!(stage.fleet.inner.database.recovery_codes_left("ada").unwrap(), 8);
    let kept = std::fs::read(stage.fleet.config().state_dir.join("control.db")).unwrap();
    let wal = std::fs::read(stage.fleet.config().state_dir.join("control.db-wal")).unwrap_or_default();
    for code in &codes {
        let is_there = |bytes: &[u8]| bytes.windows(code.len()).any(|window| window == code.as_bytes());
        assert!(!is_there(&kept) && !is_there(&wal));
    }
    let renewed = stage.fleet.renew_recovery_codes(&ada, PASSWORD, HERE).unwrap();
    assert!(matches!(stage.sign_in("ada", PASSWORD, &codes[2]), Err(FleetError::SignIn)), "those before count no more");
    stage.fleet.drop_authenticator(&ada, PASSWORD, HERE).unwrap();
    assert_eq!(stage.fleet.inner.database.recovery_codes_left("ada").unwrap(), 0);
    assert!(!renewed.contains(&codes[0]));
    assert!(stage.sign_in("bo", PASSWORD, &renewed[0]).is_ok(), "who has no authenticator is not asked");
    let records = stage.fleet.own_records(1000).unwrap();
    let means = records
        .iter()
        .filter(|record| record.leaf["act"] == "sign_in" && record.leaf["who"]["auth"] == "recovery-code");
    assert_eq!(means.count(), 2);
    let acts = stage.acts();
    for act in ["set_authenticator", "recovery_codes", "drop_authenticator"] {
        assert!(acts.iter().any(|line| *line == format!("ada {act} 127.0.0.1 - -")), "{act}: {acts:?}");
    }
}

#[test]
fn a_password_is_changed_with_the_current_one_and_other_browsers_are_out() {
    let stage = Stage::new().with("ada", "operator");
    let (cookie, other) = (stage.sign_in("ada", PASSWORD, "").unwrap(), stage.sign_in("ada", PASSWORD, "").unwrap());
    let ada = stage.fleet.session(&cookie).unwrap().unwrap();
    let change = |passwords| stage.fleet.change_password(&ada, passwords, &cookie, HERE);
    let new = "seven mild otters";
    assert!(matches!(change(["a wrong password", new]), Err(FleetError::Person(why)) if why.contains("current")));
    assert!(matches!(change([PASSWORD, "short"]), Err(FleetError::Person(why)) if why.contains("12")));
    assert!(stage.fleet.session(&other).unwrap().is_some());
    change([PASSWORD, new]).unwrap();
    assert!(stage.fleet.session(&other).unwrap().is_none());
    assert!(stage.fleet.session(&cookie).unwrap().is_some());
    assert!(matches!(stage.sign_in("ada", PASSWORD, ""), Err(FleetError::SignIn)));
    stage.sign_in("ada", new, "").unwrap();
    let acts = stage.acts();
    assert!(acts.contains(&"ada change_password 127.0.0.1 - the current password is wrong".to_owned()), "{acts:?}");
    assert!(acts.contains(&"ada change_password 127.0.0.1 - -".to_owned()), "{acts:?}");
    // Whoever sits at somebody's browser does not find the password there.
    let guesses: Vec<_> = (0..8).map(|_| change(["a wrong password", PASSWORD]).unwrap_err()).collect();
    assert!(guesses.iter().any(|error| matches!(error, FleetError::HeldBack(_))));
}

#[test]
fn a_token_has_no_account_whatever_it_is_called() {
    let stage = Stage::new().with("ada", "operator");
    let token = stage.fleet.actor("ada", &["administrator".to_owned()], Means::ApiToken);
    let forbidden = |outcome: Result<(), FleetError>| assert!(matches!(outcome, Err(FleetError::Forbidden(_))));
    forbidden(stage.fleet.change_password(&token, [PASSWORD, "seven mild otters"], "", HERE));
    forbidden(stage.fleet.offer_authenticator(&token, PASSWORD, HERE).map(drop));
    forbidden(stage.fleet.confirm_authenticator(&token, "000000", HERE).map(drop));
    forbidden(stage.fleet.drop_authenticator(&token, PASSWORD, HERE));
    forbidden(stage.fleet.renew_recovery_codes(&token, PASSWORD, HERE).map(drop));
    forbidden(stage.fleet.end_own_session(&token, &[0; 32]));
}

#[test]
fn only_whoever_had_the_code_set_a_password_on_record() {
    let stage = Stage::new();
    let code = stage.fleet.add_person("ada", &["viewer".to_owned()]).unwrap();
    let typed = |code: &str| Typed { name: "ada".to_owned(), password: PASSWORD.to_owned(), code: code.to_owned() };
    assert!(matches!(stage.fleet.set_password(&typed("0000"), HERE), Err(FleetError::SignIn)));
    assert!(
        stage.acts().len() == 1
            && stage.acts()[0].ends_with("set_password 127.0.0.1 - name, password or code is wrong")
    );
    stage.fleet.set_password(&typed(&code), HERE).unwrap();
    assert_eq!(stage.acts()[1..], ["ada set_password 127.0.0.1 - -"]);
}

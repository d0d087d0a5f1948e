//! Writes the log of a shop's box over ninety simulated days, and its report, to look at:
//! `cargo run -p outpost-audit --example report_sample -- FOLDER [damage]`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outpost_audit::cosignature::{CosignerKey, WitnessKey};
use outpost_audit::report::{self, Options, report};
use outpost_audit::witness::{Exchange, MemoryState, Next, Witness, record};
use outpost_audit::{
    AuditLog, BootInfo, CheckpointKey, Content, DecisionRef, EraseOrder, Io, Kind, Level, LogIdentity, ObjectRef,
    Outcome, Pseudonyms, Record, Retention, Who, verify,
};
use outpost_disk::{Clock, Secret};

type Failure = Box<dyn std::error::Error>;

/// 2026-08-31, a Monday.
const BEGIN_S: i64 = 1_788_134_400;
const DAYS: u64 = 91;
const ORIGIN: &str = "audit.example/shop-117/1";

const SMALL: (&str, &str, &str) =
    ("qwen3-0.6b", "Q4_0", "8a1f0c5be3d94c27b6f2a07d51e8c3904b7fd2ea61350c9d8e4fb1a2c6703d95");
const LARGE: (&str, &str, &str) =
    ("qwen3-1.7b", "Q8_0", "51c7e09a3f4db8261e7a90cf5d2b8463a1f0e7d4c9b2568307f1ad4e9c6b3528");
const EMBED: (&str, &str, &str) =
    ("e5-small", "F16", "c03d9a7e15f48b62d0c1e95a7b3f8264e6d1a09f7c5b4e3821d6f0a9b8c7e514");

/// Who asks: name, kind, role, means, credential, how often.
const PEOPLE: &[(&str, &str, &str, &str, &str, u64)] = &[
    ("till-1", "service", "operator", "key", "4f8a2c01", 40),
    ("till-2", "service", "operator", "key", "77b01d9e", 32),
    ("stock-room", "service", "operator", "key", "c2e94f10", 11),
    ("ada", "user", "operator", "jwt", "idp-2026-07", 9),
    ("grace", "user", "auditor", "jwt", "idp-2026-07", 2),
    ("joan", "user", "operator", "jwt", "idp-2026-10", 5),
    ("kiosk", "service", "guest", "key", "019de7aa", 14),
];

/// The box, its log and its time.
struct Shop {
    log: AuditLog,
    clock: Clock,
    names: Pseudonyms,
    folder: PathBuf,
    key: Secret,
    chance: u64,
    policy: u64,
    requests: u64,
    witness: Witness<MemoryState>,
    cosigner: CosignerKey,
    cosigned: u64,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder that does not exist")?);
    let is_damaged = arguments.next().is_some();
    let mut shop = Shop::open(&folder)?;
    for day in 0..DAYS {
        shop.day(day)?;
    }
    shop.log.shutdown("sample written")?;
    let (made_ms, witnesses) = (shop.clock.now_ms(), vec![shop.cosigner.clone()]);
    let log_key = shop.log_key()?;
    drop(shop);
    let directory = folder.join("audit");
    if is_damaged {
        let database = rusqlite::Connection::open(directory.join("audit.db"))?;
        database.execute(
            "UPDATE leaves SET bytes = cast(replace(bytes, 'operator', 'overlord') AS BLOB) WHERE idx IN (4711, 9000)",
            (),
        )?;
    }
    let target = folder.join("report.html");
    let verify = verify::Options { verifier_key: (!is_damaged).then_some(log_key), ..verify::Options::default() };
    let tool = concat!("outpost ", env!("CARGO_PKG_VERSION")).to_owned();
    let options = Options { made_ms, tool, verify, witnesses, ..report::Options::default() };
    let told = report(&directory, &target, &options)?;
    writeln!(std::io::stdout(), "{} records, good: {}, in `{}`", told.records, told.is_good, target.display())?;
    Ok(())
}

impl Shop {
    fn open(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)?;
        let clock = Clock::fixed(BEGIN_S);
        let key = CheckpointKey::generate()?;
        let log = start(folder, &key, &clock)?;
        let witness = WitnessKey::from_pkcs8("witness.example/head-office", CheckpointKey::generate()?.expose())?;
        Ok(Self {
            log,
            clock,
            names: Pseudonyms::new(&[7; 32]),
            folder: folder.to_owned(),
            key,
            chance: 0x2545_f491_4f6c_dd1d,
            policy: 1,
            requests: 0,
            cosigner: witness.cosigner_key().clone(),
            witness: Witness::new(witness, MemoryState::default()),
            cosigned: 0,
        })
    }

    fn log_key(&self) -> Result<outpost_audit::VerifierKey, Failure> {
        Ok(CheckpointKey::from_pkcs8(self.key.expose())?.verifier_key(ORIGIN)?)
    }

    /// A number below `end`; the same every time.
    fn below(&mut self, end: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % end
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn append(&self, record: Record) -> Result<u64, Failure> {
        Ok(self.log.append(record).wait()?)
    }

    fn who(&self, (name, kind, role, auth, ..): (&str, &str, &str, &str, &str, u64)) -> Who {
        Who { kind: kind.into(), id: self.names.of(name), roles: vec![role.into()], auth: auth.into() }
    }

    fn decided(&self, effect: &str, rule: &str) -> DecisionRef {
        let policy = format!("bundle-{}", self.policy);
        DecisionRef { effect: effect.into(), policy, rules: vec![rule.into()], errors: Vec::new() }
    }

    /// One day: what happens on it by the plan, and a day's work.
    fn day(&mut self, day: u64) -> Result<(), Failure> {
        let begin_s = BEGIN_S + i64::try_from(day * 86_400)?;
        self.pass(u64::try_from((begin_s + 7 * 3_600 - self.clock.now_s()).max(0))?);
        self.plan(day)?;
        let is_open = day % 7 != 6 && !matches!(day, 47 | 48);
        let questions =
            if is_open { 70 + day / 3 + self.below(40) + if day % 7 == 5 { 45 } else { 0 } } else { self.below(4) };
        for _ in 0..questions {
            let pause = self.below(36_000 / questions.max(1) * 2).max(1);
            self.pass(pause);
            self.question(day)?;
        }
        if self.below(3) == 0 {
            let source = format!("192.0.2.{}", 10 + self.below(4));
            let (code, count) =
                [("missing_credential", 3), ("bad_token", 1), ("origin_refused", 12), ("revoked_key", 2)]
                    [usize::try_from(self.below(4))?];
            let count = count + self.below(5);
            let failure = Record::new(Kind::AuthFail)
                .who(Who { kind: "unknown".into(), auth: "none".into(), ..Who::default() })
                .result(Outcome { err: code.into(), ..Outcome::default() });
            self.append(failure.detail("source", source).detail("count", count))?;
        }
        if !(20..29).contains(&day) && !(56..58).contains(&day) && day % 3 == 1 {
            self.be_witnessed()?;
        }
        Ok(())
    }

    fn question(&mut self, day: u64) -> Result<(), Failure> {
        let all: u64 = PEOPLE.iter().map(|person| person.5).sum();
        let mut pick = self.below(all);
        let person = *PEOPLE
            .iter()
            .find(|person| {
                let found = pick < person.5;
                pick = pick.saturating_sub(person.5);
                found
            })
            .ok_or("nobody")?;
        // The key of one till was replaced.
        let credential = if person.0 == "till-2" && day >= 63 { "9b3c77d0" } else { person.4 };
        self.requests += 1;
        let id = format!("req-{:06}", self.requests);
        let model = if self.below(12) == 0 {
            EMBED
        } else if day >= 40 && self.below(3) > 0 {
            LARGE
        } else {
            SMALL
        };
        let who = self.who(person);
        let object = ObjectRef { endpoint: "/v1/chat/completions".into(), ..of_model(model) };
        let of =
            |kind| Record::new(kind).request(id.clone()).who(who.clone()).act("infer").detail("credential", credential);
        let refused = match person.0 {
            "grace" => Some(("auditors-do-not-ask", 403, "denied")),
            "kiosk" if self.below(5) == 0 => Some(("guests-ask-short-questions", 403, "denied")),
            "kiosk" if self.below(9) == 0 => Some(("daily-tokens", 429, "quota")),
            _ if self.below(160) == 0 => Some(("only-approved-models", 403, "denied")),
            _ => None,
        };
        if let Some((rule, status, error)) = refused {
            let result = Outcome { status: Some(status), err: error.into(), ..Outcome::default() };
            let object = ObjectRef { variant: String::new(), file_sha256: String::new(), ..object };
            self.append(of(Kind::InferDenied).object(object).decision(self.decided("deny", rule)).result(result))?;
            return Ok(());
        }
        let allowed = self.decided("allow", "operators-ask-models");
        self.append(
            of(Kind::InferStart).object(object.clone()).decision(allowed.clone()).detail("max_tokens", 512_u32),
        )?;
        let (tokens_in, tokens_out) = (40 + self.below(700), 12 + self.below(380));
        let ms = 180
            + tokens_in
            + tokens_out * if model == LARGE { 38 } else { 15 }
            + if self.below(40) == 0 { 9_000 } else { 0 };
        self.pass(ms / 1000);
        let result = Outcome { status: Some(200), ms: Some(ms), ttft_ms: Some(90 + tokens_in), ..Outcome::default() };
        if self.below(150) == 0 {
            let result = Outcome { status: Some(499), err: "client_gone".into(), ..result };
            self.append(of(Kind::InferAborted).object(object).decision(allowed).result(result))?;
            return Ok(());
        }
        let io = Io { input_tokens: Some(tokens_in), output_tokens: Some(tokens_out), ..Io::default() };
        let mut ended =
            of(Kind::InferEnd).object(object).decision(allowed).io(io).result(result).detail("finish", "stop");
        if matches!(person.0, "ada" | "joan") {
            ended = ended.seal(Level::Request, who.id.clone(), Content::of_input(format!("question {id}")));
        }
        self.append(ended)?;
        Ok(())
    }

    /// What does not happen every day.
    fn plan(&mut self, day: u64) -> Result<(), Failure> {
        let admin = Who {
            kind: "local".into(),
            id: self.names.of("root of the box"),
            roles: vec!["admin".into()],
            auth: "uds".into(),
        };
        match day {
            0 => {
                self.append(
                    Record::new(Kind::DeviceEnrol)
                        .detail("server", "https://control.example:8790")
                        .detail("device", "shop-117"),
                )?;
                self.append(Record::new(Kind::SyncStart).detail("connection", "tls"))?;
                self.append(
                    Record::new(Kind::PolicyActivate).detail("version", 1_u32).detail("approved_by", self.approvers()),
                )?;
                self.append(model(Kind::ModelPull, SMALL).detail("bytes", 428_000_000_u64))?;
                self.append(model(Kind::ModelLoad, SMALL).detail("because", "assigned"))?;
                self.append(model(Kind::ModelPull, EMBED).detail("bytes", 66_000_000_u64))?;
                self.append(model(Kind::ModelLoad, EMBED).detail("because", "asked for"))?;
                for (_, _, role, _, credential, _) in PEOPLE.iter().filter(|person| person.3 == "key") {
                    self.append(Record::new(Kind::KeyCreate).detail("key", *credential).detail("roles", *role))?;
                }
                self.append(Record::new(Kind::KeyCreate).detail("key", "e0a1b2c3").detail("roles", "maintenance"))?;
            }
            12 | 47 | 70 => self.power_cut(day)?,
            20 | 56 | 74 => {
                self.append(Record::new(Kind::SyncEnd).detail("reason", "no route to host"))?;
            }
            29 | 58 | 75 => {
                let offline_s = match day {
                    29 => 9 * 86_400_u64,
                    58 => 2 * 86_400,
                    _ => 86_400,
                };
                self.append(Record::new(Kind::SyncStart).detail("connection", "tls").detail("offline_s", offline_s))?;
            }
            31 | 60 => {
                self.policy += 1;
                self.append(
                    Record::new(Kind::PolicyActivate)
                        .detail("version", self.policy)
                        .detail("approved_by", self.approvers()),
                )?;
            }
            33 => {
                self.append(Record::new(Kind::PolicyRollback).detail("version", 1_u32).detail("from_version", 2_u32))?;
                self.policy = 1;
            }
            34 => {
                self.policy = 2;
                self.append(Record::new(Kind::PolicyActivate).detail("version", 2_u32))?;
            }
            39 => {
                self.append(
                    model(Kind::ModelReject, LARGE)
                        .detail("reason", "the digest is not the one that the catalogue names"),
                )?;
            }
            40 => {
                self.append(model(Kind::ModelPull, LARGE).detail("bytes", 1_834_000_000_u64))?;
                self.append(model(Kind::ModelUnload, SMALL).detail("because", "room for qwen3-1.7b"))?;
                self.append(model(Kind::ModelLoad, LARGE).detail("because", "assigned"))?;
                self.append(model(Kind::ModelLoad, SMALL).detail("because", "asked for"))?;
            }
            45 => {
                let reason = "case `guests cannot pull models` fails: it was allowed by `everybody-pulls`";
                self.append(Record::new(Kind::PolicyReject).detail("reason", reason))?;
            }
            50 => {
                let issued = Record::new(Kind::LocksActivate).detail("seq", 3_u32).detail("locks", 1_u32);
                self.append(issued.detail("signed_by", self.names.of("olga")))?;
            }
            52 => {
                let glass = |act: &str| {
                    Record::new(Kind::BreakGlass)
                        .act(act)
                        .detail("glass", "fire-1")
                        .detail("roles", "operator")
                        .detail("sealed_by", self.approvers())
                };
                self.append(
                    glass("open")
                        .detail("reason", "fire alarm, evacuation texts")
                        .detail("opened_by", self.names.of("joan")),
                )?;
                self.pass(3_600);
                self.append(glass("end").detail("because", "closed"))?;
            }
            63 => {
                self.append(Record::new(Kind::KeyRevoke).detail("key", "77b01d9e").detail("roles", "operator"))?;
                self.append(
                    Record::new(Kind::KeyCreate)
                        .detail("key", "9b3c77d0")
                        .detail("roles", "operator")
                        .detail("replaces", "77b01d9e"),
                )?;
            }
            _ => {}
        }
        if day % 30 == 29 {
            self.log.prune(Retention { content_days: 30 }, admin.clone())?;
            let who = Who {
                kind: "user".into(),
                id: self.names.of("grace"),
                roles: vec!["auditor".into()],
                auth: "jwt".into(),
            };
            let read = Record::new(Kind::AuditRead)
                .who(who)
                .act("read_audit")
                .decision(self.decided("allow", "auditors-read-the-log"));
            self.append(read.result(Outcome { status: Some(200), ..Outcome::default() }))?;
            self.append(Record::new(Kind::AuditRead).act("export_audit").detail("format", "tiles"))?;
        }
        if matches!(day, 17 | 66) {
            let subject = self.names.of(if day == 17 { "ada" } else { "joan" });
            self.log.erase(&EraseOrder { subject, basis: format!("case 2026-{day}"), approver: admin.clone() })?;
        }
        if day % 9 == 4 {
            let (act, status) = [("restart", 200_u16), ("pull_model", 200), ("drain", 403), ("delete_model", 500)]
                [usize::try_from(day / 9 % 4)?];
            let of = |phase: &str| {
                Record::new(Kind::AdminAct)
                    .who(admin.clone())
                    .act(act)
                    .object(of_model(if act == "delete_model" { SMALL } else { LARGE }))
                    .detail("phase", phase)
            };
            if status == 403 {
                let refused = Record::new(Kind::AdminAct)
                    .who(self.who(PEOPLE[6]))
                    .act(act)
                    .decision(self.decided("deny", "guests-only-ask"));
                self.append(refused.result(Outcome { status: Some(403), err: "denied".into(), ..Outcome::default() }))?;
            } else {
                self.append(of("begin"))?;
                let err = if status == 500 { "internal" } else { "" };
                self.append(of("end").result(Outcome { status: Some(status), err: err.into(), ..Outcome::default() }))?;
            }
        }
        Ok(())
    }

    fn approvers(&self) -> String {
        format!("{} {}", self.names.of("olga"), self.names.of("piet"))
    }

    /// The power goes while somebody asks; it comes back hours later, on day 70 with a clock that is not believed.
    fn power_cut(&mut self, day: u64) -> Result<(), Failure> {
        let who = self.who(PEOPLE[0]);
        self.append(
            Record::new(Kind::InferStart).request(format!("cut-{day}")).who(who).act("infer").object(of_model(SMALL)),
        )?;
        self.pass(match day {
            47 => 40 * 3_600,
            _ => 3 * 3_600,
        });
        if day == 70 {
            self.clock.raise_floor(self.clock.now_s() + 5 * 3_600)?;
        }
        // The old handle goes without a shutdown.
        let nowhere = tempfile::tempdir()?;
        let other = start(nowhere.path(), &self.key, &self.clock)?;
        drop(std::mem::replace(&mut self.log, other));
        self.log = start(&self.folder, &self.key, &self.clock)?;
        self.append(Record::new(Kind::SyncStart).detail("connection", "tls"))?;
        Ok(())
    }

    fn be_witnessed(&mut self) -> Result<(), Failure> {
        let log_key = self.log_key()?;
        let exchange = Exchange::begin(&self.log, &log_key, &self.cosigner, self.cosigned, self.cosigned)?;
        let now_s = u64::try_from(self.clock.now_s())?;
        let outcome = self.witness.add_checkpoint(exchange.body().as_bytes(), now_s, |_| vec![log_key.clone()])?;
        if let Next::Record(cosigned) = exchange.understand(&outcome, self.log.size()) {
            self.cosigned = cosigned.checkpoint.size;
            self.append(record(&cosigned)?)?;
        }
        Ok(())
    }
}

fn model(kind: Kind, file: (&str, &str, &str)) -> Record {
    Record::new(kind).object(of_model(file))
}

fn of_model((model, variant, digest): (&str, &str, &str)) -> ObjectRef {
    ObjectRef { model: model.into(), variant: variant.into(), file_sha256: digest.into(), endpoint: String::new() }
}

fn start(folder: &Path, key: &Secret, clock: &Clock) -> Result<AuditLog, Failure> {
    let identity = LogIdentity { origin: ORIGIN.to_owned(), key: CheckpointKey::from_pkcs8(key.expose())? };
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "shop-117".to_owned(), clock: clock.clone() };
    Ok(AuditLog::open_with_vault(&folder.join("audit"), identity, info, &folder.join("roots"))?.0)
}

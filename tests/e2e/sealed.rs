//! What people sign counts, and only that: policies with two approvals, locks and overrides, with the real program.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_contract::{DeviceId, ReasonCode, Reported, SealedKind, Signer};
use outpost_control::{Assignment, OfflineKeys, ReleaseRequest};
use outpost_policies::Bundle;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{Process, binary, eventually, output};
use outpost_trust::{SigningKey, seal};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// A box of its own whose configuration names two people.
struct Shop {
    folder: tempfile::TempDir,
    program: PathBuf,
    agent: Option<Process>,
}

impl Shop {
    async fn open() -> Result<Self> {
        let mut shop = Self { folder: tempfile::tempdir()?, program: binary("outpost")?, agent: None };
        std::fs::create_dir_all(shop.folder.path().join("state"))?;
        let mut config = "[api]\nlisten = \"\"\n".to_owned();
        for name in ["ada", "grace", "eve"] {
            let public = shop.run(&["seal", "key", &shop.path(&format!("{name}.key"))])?;
            if name != "eve" {
                config += &format!(
                    "[[signers]]\nname = \"{name}\"\nkey = \"{}\"\nmay = [\"policy\", \"locks\", \"break_glass\"]\n",
                    public.trim()
                );
            }
        }
        std::fs::write(shop.path("state/outpost.toml"), config)?;
        shop.start().await?;
        Ok(shop)
    }

    async fn start(&mut self) -> Result<()> {
        self.agent = Some(Process::start(&self.program, &["--state", &self.path("state"), "run"])?);
        eventually("the agent to answer", PATIENCE, async || self.run(&["status"]).is_ok()).await
    }

    /// `kill -9`, and a new start.
    async fn restart(&mut self) -> Result<()> {
        self.agent = None;
        self.start().await
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, value: &Value) -> Result<String> {
        std::fs::write(self.path(name), value.to_string())?;
        Ok(self.path(name))
    }

    /// Runs `outpost` on the box's state.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        output(&self.program, &[&["--state", &self.path("state")], arguments].concat())
    }

    /// Runs it as something that must fail; what it says.
    fn refused(&self, arguments: &[&str]) -> Result<String> {
        let failed = Command::new(&self.program)
            .args(["--state", &self.path("state")])
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        ensure!(!failed.status.success(), "`outpost {}` was not refused", arguments.join(" "));
        Ok(String::from_utf8(failed.stderr)?)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&["--json", "status"])?)?)
    }

    /// An API key: its id and its secret.
    fn key(&self, role: &str) -> Result<(String, String)> {
        let made: Value =
            serde_json::from_str(&self.run(&["--json", "key", "create", "--name", role, "--role", role])?)?;
        let text = |name: &str| made[name].as_str().map(str::to_owned).context("a key has an id and a secret");
        Ok((text("id")?, text("key")?))
    }

    /// Calls the API with a key over the socket; the status and the code of a refusal.
    async fn call(&self, key: &str, method: &str, path: &str) -> Result<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::UnixStream::connect(self.path("state/outpost.sock")).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).context("no status")?.parse()?;
        let body: Value =
            serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap_or_default()).unwrap_or_default();
        Ok((status, body["error"]["code"].as_str().unwrap_or_default().to_owned()))
    }

    /// The types of the records so far, of a log that verifies.
    fn recorded(&self, kind: &str) -> Result<Vec<Value>> {
        self.run(&["audit", "verify"])?;
        let shown = self.run(&["--json", "audit", "show", "--last", "1000", "--kind", kind])?;
        Ok(serde_json::from_str(&shown)?)
    }
}

/// The built-in rules as another version, with approvals for the next one.
fn bundle(version: u64, required_approvals: u8) -> Bundle {
    Bundle { version, required_approvals, ..Bundle::default_bundle() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_comes_into_force_with_as_many_people_as_the_one_before_it_asks_for() -> Result<()> {
    let mut shop = Shop::open().await?;
    let version = |shop: &Shop| shop.status().map(|status| status["policy_version"].as_u64());
    let write = |shop: &Shop, name: &str, bundle: &Bundle| -> Result<String> {
        std::fs::write(shop.path(name), bundle.to_bytes())?;
        Ok(shop.path(name))
    };
    let too_many = write(&shop, "three.json", &bundle(2, 3))?;
    ensure!(shop.refused(&["policy", "activate", &too_many])?.contains("nobody could replace it"));
    let second = write(&shop, "2.json", &bundle(2, 2))?;
    shop.run(&["policy", "activate", &second]).context("the built-in policy asks for nobody")?;
    ensure!(version(&shop)? == Some(2));
    let third = write(&shop, "3.json", &bundle(3, 0))?;
    ensure!(shop.refused(&["policy", "activate", &third])?.contains("asks for 2 approvals, and nobody"));
    let folder = shop.folder.path().to_owned();
    let key = |name: &str| folder.join(format!("{name}.key")).display().to_string();
    let sealed = shop.path("3.sealed");
    shop.run(&["seal", "policy", &third, "--key", &key("ada"), "--out", &sealed])?;
    for same in ["ada", "eve"] {
        shop.run(&["seal", "again", &sealed, "--key", &key(same)])?;
        ensure!(shop.refused(&["policy", "activate", &sealed])?.contains("and ada who may has signed"), "{same}");
    }
    ensure!(shop.refused(&["policy", "rollback"])?.contains("asks for 2 approvals"));
    shop.restart().await?;
    ensure!(version(&shop)? == Some(2), "what was refused is forgotten, what is in force is not");
    ensure!(shop.refused(&["policy", "activate", &third])?.contains("asks for 2 approvals"));
    shop.run(&["seal", "again", &sealed, "--key", &key("grace")])?;
    let changed = shop.path("changed.sealed");
    let text = std::fs::read_to_string(&sealed)?;
    std::fs::write(&changed, text.replacen("eyJ2Ijox", "eyJ2Ijoy", 1))?;
    shop.refused(&["policy", "activate", &changed])?;
    shop.run(&["policy", "activate", &sealed])?;
    ensure!(version(&shop)? == Some(3));
    ensure!(shop.refused(&["policy", "activate", &sealed])?.contains("not above 3"));
    // Version 3 asks for nobody: now one person may go back, and that is on record.
    shop.run(&["policy", "rollback"])?;
    ensure!(version(&shop)? == Some(2));
    ensure!(shop.recorded("policy.activate")?.len() == 2 && shop.recorded("policy.rollback")?.len() == 1);
    ensure!(shop.recorded("policy.reject")?.len() == 7);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_a_signed_list_locks_is_refused_also_after_a_cut() -> Result<()> {
    let mut shop = Shop::open().await?;
    let (id, key) = shop.key("operator")?;
    let models = async |shop: &Shop| shop.call(&key, "GET", "/v1/models").await;
    eventually("the key to count", PATIENCE, async || models(&shop).await.is_ok_and(|(status, _)| status == 200))
        .await?;
    let list = |seq: u64, locked: bool| {
        let lock = json!({ "kind": "key", "id": id, "reason": "the phone was lost" });
        json!({ "seq": seq, "strictness": "best_effort", "locks": if locked { vec![lock] } else { Vec::new() } })
    };
    let seal = |shop: &Shop, name: &str, list: &Value, by: &str| -> Result<String> {
        let (plain, sealed) = (shop.write(&format!("{name}.json"), list)?, shop.path(&format!("{name}.sealed")));
        shop.run(&["seal", "locks", &plain, "--key", &shop.path(&format!("{by}.key")), "--out", &sealed])?;
        Ok(sealed)
    };
    let strange = seal(&shop, "strange", &list(9, false), "eve")?;
    ensure!(shop.refused(&["lock", "apply", &strange])?.contains("signed by none of the 2 who may"));
    let plain = shop.write("plain.json", &list(9, true))?;
    ensure!(shop.refused(&["lock", "apply", &plain])?.contains("is not sealed"));
    let locked = seal(&shop, "locked", &list(7, true), "ada")?;
    shop.run(&["lock", "apply", &locked])?;
    ensure!(models(&shop).await? == (401, "locked".to_owned()));
    shop.restart().await?;
    ensure!(models(&shop).await? == (401, "locked".to_owned()));
    for seq in [6, 7] {
        let older = seal(&shop, "older", &list(seq, false), "grace")?;
        ensure!(shop.refused(&["lock", "apply", &older])?.contains("not above 7"), "{seq}");
    }
    ensure!(models(&shop).await?.0 == 401);
    let open = seal(&shop, "open", &list(8, false), "grace")?;
    shop.run(&["lock", "apply", &open])?;
    ensure!(models(&shop).await?.0 == 200);
    ensure!(shop.status()?["access"]["locks"]["seq"] == 8);
    ensure!(shop.recorded("locks.activate")?.len() == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_override_is_loud_bounded_and_opened_once() -> Result<()> {
    let mut shop = Shop::open().await?;
    let (_, key) = shop.key("operator")?;
    // What only an admin may; there is no earlier policy, so that nothing comes of it either way.
    let as_admin =
        async |shop: &Shop| Ok::<_, anyhow::Error>(shop.call(&key, "POST", "/outpost/policy/rollback").await?.0);
    eventually("the key to count", PATIENCE, async || as_admin(&shop).await.is_ok_and(|status| status == 403)).await?;
    let seal = |shop: &Shop, id: &str, by: &[&str]| -> Result<String> {
        let sealed = shop.path(&format!("{id}.sealed"));
        let key = shop.path("ada.key");
        let named: Vec<&str> = by.iter().flat_map(|name| ["--by", name]).collect();
        let fixed = ["seal", "break-glass", "--id", id, "--role", "admin", "--hours", "1", "--reason", "fire"];
        shop.run(&[&fixed, &named[..], &["--key", &key, "--out", &sealed]].concat())?;
        Ok(sealed)
    };
    let both = seal(&shop, "fire-1", &["ada", "grace"])?;
    ensure!(shop.refused(&["break-glass", "open", &both])?.contains("`grace` sealed it, who has not signed it"));
    shop.run(&["seal", "again", &both, "--key", &shop.path("grace.key")])?;
    shop.run(&["break-glass", "open", &both])?;
    ensure!(as_admin(&shop).await? == 409);
    ensure!(shop.status()?["access"]["break_glass"]["id"] == "fire-1");
    shop.run(&["break-glass", "close"])?;
    ensure!(as_admin(&shop).await? == 403);
    ensure!(shop.refused(&["break-glass", "open", &both])?.contains("was used and closed"));
    ensure!(shop.refused(&["break-glass", "close"])?.contains("no override is open"));
    let second = seal(&shop, "fire-2", &["ada"])?;
    shop.run(&["break-glass", "open", &second])?;
    ensure!(as_admin(&shop).await? == 409);
    shop.restart().await?;
    ensure!(as_admin(&shop).await? == 403, "a restart ends an override");
    let acts: Vec<_> = shop.recorded("breakglass")?.iter().map(|record| record["act"].clone()).collect();
    ensure!(acts == ["open", "end", "open", "end"], "{acts:?}");
    let used = shop.recorded("admin.act")?;
    let marked = |record: &&Value| record["dec"]["rules"].to_string().contains("break-glass:fire-1");
    ensure!(used.iter().filter(marked).count() == 2, "what it made possible is marked, at its begin and its end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_a_fleet_takes_no_policy_that_too_few_have_signed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    fleet.release_policy_only().await?;
    let (ada, grace) = (SigningKey::generate()?, SigningKey::generate()?);
    let signer = |name: &str, key: &SigningKey| Signer {
        name: name.to_owned(),
        key: key.verifying_key().to_hex(),
        may: vec![SealedKind::Policy],
    };
    let signers = vec![signer("ada", &ada), signer("grace", &grace)];
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let release = async |policy: Vec<u8>, signers: Option<Vec<Signer>>| -> Result<u64> {
        let keys = OfflineKeys::load(&folder.path().join("offline-keys"))?;
        let to = device.clone();
        fleet
            .control
            .run(move |fleet| -> Result<u64> {
                fleet.release(&keys, ReleaseRequest { policy: Some(policy), signers, ..ReleaseRequest::default() })?;
                Ok(fleet.assign(&to, &Assignment { model: None, minimum_context_tokens: 256 })?)
            })
            .await
    };
    let waited = async |what: &'static str, ready: &dyn Fn(&Reported) -> bool| {
        fleet.control.wait_for_reported(&device, what, PATIENCE, ready).await
    };
    let agent = fleet.agent(&state).await?;
    let version = release(bundle(2, 2).to_bytes(), Some(signers)).await?;
    waited("that version 2 is in force", &|now| now.applied_version == version && now.policy_version == 2).await?;
    let once = seal(SealedKind::Policy, &bundle(3, 0).to_bytes(), &ada)?;
    let version = release(once.to_bytes(), None).await?;
    let is_refused = |now: &Reported| {
        let told = now.reasons.iter().any(|reason| reason.code == ReasonCode::BadSignature);
        now.desired_version == version && told && now.policy_version == 2
    };
    let before = waited("that one signature is too few", &is_refused).await?.boot;
    agent.stop().await;
    // A restart asks for no fewer people.
    let agent = fleet.agent(&state).await?;
    waited("that it still is", &|now| now.boot != before && is_refused(now)).await?;
    let version = release(once.signed_also_by(&grace)?.to_bytes(), None).await?;
    waited("that version 3 is in force", &|now| now.applied_version == version && now.policy_version == 3).await?;
    agent.stop().await;
    Ok(())
}

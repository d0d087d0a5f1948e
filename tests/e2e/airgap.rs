//! A box that never hears its control plane again: what it runs comes on a stick, and no stick makes it run anything else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::state::StateDir;
use outpost_audit::{Filter, Kind, reader};
use outpost_contract::{DeviceId, ModelId};
use outpost_control::{Assignment, BroughtHome, BundleRequest};
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{Process, binary, demo_model, eventually, free_port, output};
use outpost_tests::question::{ask, client};
use serde_json::Value;

use crate::rollback::copy;

const PATIENCE: Duration = Duration::from_secs(120);

/// A box, and the programs that it has.
struct Till {
    outpost: PathBuf,
    root: String,
    listen: String,
    key: String,
}

impl Till {
    fn new(state: &StateDir) -> Result<Self> {
        let root = state.root().to_str().context("the path is UTF-8")?.to_owned();
        let outpost = binary("outpost")?;
        let make = ["--state", &root, "--json", "key", "create", "--name", "till", "--role", "operator"];
        let made: Value = serde_json::from_str(&output(&outpost, &make)?)?;
        let key = made["key"].as_str().context("no key")?.to_owned();
        Ok(Self { outpost, root, listen: format!("127.0.0.1:{}", free_port()?), key })
    }

    async fn start(&self) -> Result<Process> {
        let agent = Process::start(&self.outpost, &["--state", &self.root, "run", "--listen", &self.listen])?;
        eventually("the agent answers", PATIENCE, async || self.status().is_ok()).await?;
        Ok(agent)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&output(&self.outpost, &["--state", &self.root, "--json", "status"])?)?)
    }

    fn import(&self, stick: &Path) -> Result<Value> {
        let stick = stick.to_str().context("the path is UTF-8")?;
        let told = output(&self.outpost, &["--state", &self.root, "--json", "bundle", "import", stick])?;
        Ok(serde_json::from_str(&told)?)
    }

    fn export(&self, stick: &Path) -> Result<Value> {
        let stick = stick.to_str().context("the path is UTF-8")?;
        let told = output(&self.outpost, &["--state", &self.root, "--json", "bundle", "export", stick])?;
        Ok(serde_json::from_str(&told)?)
    }

    fn export_from(&self, stick: &Path, record: u64) -> Result<()> {
        let stick = stick.to_str().context("the path is UTF-8")?;
        output(&self.outpost, &["--state", &self.root, "bundle", "export", "--from", &record.to_string(), stick])?;
        Ok(())
    }

    /// What the command says when it fails, which it must.
    fn refuses(&self, stick: &Path) -> Result<String> {
        let ran = Command::new(&self.outpost)
            .args(["--state", &self.root, "bundle", "import"])
            .arg(stick)
            .stdin(Stdio::null())
            .output()?;
        ensure!(!ran.status.success(), "the stick in `{}` was taken", stick.display());
        Ok(String::from_utf8(ran.stderr)?)
    }

    async fn answers(&self) -> Result<()> {
        let base = format!("http://{}", self.listen);
        let reply = ask(&client(), &base, Some(&self.key), "How does a device enrol?").await?;
        ensure!(reply.status == 200 && reply.complete, "{} {}", reply.status, reply.text);
        Ok(())
    }

    fn acts(&self, kind: Kind) -> Result<usize> {
        let filter = Filter { kinds: vec![kind], ..Filter::default() };
        Ok(reader::list(&Path::new(&self.root).join("audit"), &filter)?.len())
    }
}

async fn assign(fleet: &Fleet, device: &DeviceId, model: &ModelId, tokens: u32) -> Result<()> {
    let (device, assignment) =
        (device.clone(), Assignment { model: Some(model.clone()), minimum_context_tokens: tokens });
    fleet.control.run(move |fleet| fleet.assign(&device, &assignment)).await?;
    Ok(())
}

async fn export(fleet: &Fleet, stick: &Path, device: &DeviceId) -> Result<()> {
    let (stick, request) = (stick.to_owned(), BundleRequest { devices: vec![device.clone()], without_models: false });
    fleet.control.run(move |fleet| fleet.export_bundle(&stick, &request)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_without_a_network_serves_what_a_stick_brings_and_refuses_older_and_other_sticks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let (device, other): (DeviceId, DeviceId) = ("till-7".parse()?, "till-8".parse()?);
    let (state, _) = fleet.enrol(&device).await?;
    let (other_state, _) = fleet.enrol(&other).await?;
    // From here on nothing comes over a network.
    fleet.stop().await;
    let stick = |name: &str| folder.path().join(name);
    assign(&fleet, &device, &model, 128).await?;
    export(&fleet, &stick("first"), &device).await?;
    assign(&fleet, &device, &model, 192).await?;
    export(&fleet, &stick("second"), &device).await?;

    // Beside a running agent.
    let till = Till::new(&state)?;
    let agent = till.start().await?;
    let imported = till.import(&stick("first"))?;
    let first = imported["version"].as_u64().context("no version")?;
    ensure!(imported["applied_version"].as_u64() == Some(first), "{imported}");
    till.answers().await?;
    let imported = till.import(&stick("second"))?;
    ensure!(
        imported["version"].as_u64() > Some(first) && imported["applied_version"] == imported["version"],
        "{imported}"
    );
    // Once more is harmless; back is not possible.
    ensure!(till.import(&stick("second"))?["version"] == imported["version"]);
    let refused = till.refuses(&stick("first"))?;
    ensure!(refused.contains("rollback"), "{refused}");
    till.answers().await?;

    // The stick of another box, as it is and made to look like this one's.
    assign(&fleet, &other, &model, 128).await?;
    export(&fleet, &stick("other"), &other).await?;
    let refused = till.refuses(&stick("other"))?;
    ensure!(refused.contains("holds nothing for `till-7`, but for `till-8`"), "{refused}");
    copy(&stick("other"), &stick("forged"))?;
    let index = stick("forged").join("bundle.json");
    std::fs::write(&index, std::fs::read_to_string(&index)?.replace("till-8", "till-7"))?;
    let desired = stick("forged").join("desired");
    std::fs::rename(desired.join("till-8.dsse"), desired.join("till-7.dsse"))?;
    let refused = till.refuses(&stick("forged"))?;
    ensure!(refused.contains("wrong_device"), "{refused}");
    // A document that somebody edited.
    copy(&stick("second"), &stick("edited"))?;
    let document = stick("edited").join("desired/till-7.dsse");
    let edited = std::fs::read_to_string(&document)?.replacen('A', "B", 1);
    std::fs::write(&document, edited)?;
    ensure!(till.refuses(&stick("edited"))?.contains("not as it was exported"));
    till.answers().await?;
    ensure!(till.acts(Kind::DesiredAccept)? == 2, "one record for each version");
    ensure!(till.acts(Kind::DesiredReject)? >= 1, "what was refused is on record");
    drop(agent);

    // Where no agent runs, and from then on.
    let till = Till::new(&other_state)?;
    let imported = till.import(&stick("other"))?;
    ensure!(imported["applied_version"] == imported["version"], "{imported}");
    ensure!(till.refuses(&stick("first"))?.contains("holds nothing for `till-8`, but for `till-7`"));
    let _agent = till.start().await?;
    let base = format!("http://{}/health", till.listen);
    let http = client();
    let ready = async || http.get(&base).send().await.is_ok_and(|answer| answer.status().is_success());
    eventually("the model that the stick brought serves", PATIENCE, ready).await?;
    till.answers().await
}

/// What the control plane took in of one device's stick, or why not.
async fn come_home(fleet: &Fleet, stick: &Path) -> Result<Result<BroughtHome, String>> {
    let stick = stick.to_owned();
    let mut outcomes = fleet.control.run(move |fleet| fleet.import_home("tests", &stick)).await?;
    let (_, outcome) = outcomes.pop().context("nothing came home")?;
    ensure!(outcomes.is_empty(), "one device sent something");
    Ok(outcome.map_err(|error| error.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_box_records_and_reports_comes_home_on_a_stick_and_the_answer_on_the_next() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    fleet.stop().await;
    let stick = |name: &str| folder.path().join(name);
    assign(&fleet, &device, &model, 128).await?;
    export(&fleet, &stick("out"), &device).await?;
    let till = Till::new(&state)?;
    let agent = till.start().await?;
    let version = till.import(&stick("out"))?["version"].clone();
    till.answers().await?;

    // Home, and once more the same stick.
    let waiting = async || -> Result<bool> { Ok(till.status()?["agent"]["fleet"]["backlog"].as_u64() > Some(0)) };
    eventually("the device has something to say", PATIENCE, async || waiting().await.unwrap_or(false)).await?;
    till.export_from(&stick("gap"), 3)?;
    let refused = come_home(&fleet, &stick("gap")).await?;
    ensure!(refused.as_ref().is_err_and(|error| error.contains("outpost bundle export --from 0")), "{refused:?}");
    let sent = till.export(&stick("home"))?;
    ensure!(sent["first_record"] == 0 && sent["letters"].as_u64() > Some(0), "{sent}");
    let brought = come_home(&fleet, &stick("home")).await?.map_err(anyhow::Error::msg)?;
    ensure!(
        Some(brought.mirrored) == sent["records"].as_u64() && brought.stored == brought.letters,
        "{brought:?} of {sent}"
    );
    ensure!(come_home(&fleet, &stick("home")).await? == Ok(brought.clone()), "the same stick again");
    let known = async || {
        fleet
            .control
            .run({
                let device = device.clone();
                move |fleet| fleet.device(&device)
            })
            .await
    };
    let summary = known().await?;
    let reported = summary.reported.context("nothing was reported")?;
    ensure!(Some(reported.applied_version) == version.as_u64() && summary.stick_s.is_some(), "{reported:?}");
    let mirrors = fleet.control.run(|fleet| fleet.audit_mirrors()).await?;
    ensure!(mirrors.len() == 1 && mirrors[0].cosigned == brought.mirrored && mirrors[0].mirrored == brought.mirrored);
    let verified = {
        let device = device.clone();
        fleet.control.run(move |fleet| fleet.verify_mirrors(&device)).await?
    };
    ensure!(verified.iter().all(outpost_audit::verify::Report::is_ok), "{verified:?}");

    // What was edited on the way is refused by its name, and changes nothing.
    for file in ["letters.json", "records-000000", "home.json"] {
        copy(&stick("home"), &stick("edited"))?;
        let path = stick("edited").join("home/till-7").join(file);
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes)?;
        let refused = come_home(&fleet, &stick("edited")).await?;
        // Records that are known are compared by their head alone.
        ensure!(refused.is_err() || file == "records-000000", "{file}: {refused:?}");
        std::fs::remove_dir_all(stick("edited"))?;
    }
    copy(&stick("home"), &stick("stranger"))?;
    std::fs::rename(stick("stranger").join("home/till-7"), stick("stranger").join("home/till-8"))?;
    ensure!(come_home(&fleet, &stick("stranger")).await?.is_err_and(|error| error.contains("not enrolled")));

    // The answer, on the next stick out; what is known then does not come home again.
    export(&fleet, &stick("out"), &device).await?;
    let imported = till.import(&stick("out"))?;
    ensure!(imported["answer"]["cosigned"].as_u64() == Some(brought.mirrored), "{imported}");
    ensure!(imported["answer"]["stored"].as_u64() == Some(brought.stored as u64), "{imported}");
    ensure!(till.import(&stick("out"))?["answer"]["cosigned"].is_null(), "it was heard before");
    let acts = till.acts(Kind::Cosigned)?;
    ensure!(acts == 1, "{acts} cosignatures are on record");
    till.answers().await?;
    let sent = till.export(&stick("later"))?;
    ensure!(sent["first_record"].as_u64() == Some(brought.mirrored), "{sent}");
    let later = come_home(&fleet, &stick("later")).await?.map_err(anyhow::Error::msg)?;
    ensure!(later.mirrored > brought.mirrored && later.newer_made_at_s.is_none(), "{later:?}");
    // Two sticks that cross: the older one changes nothing, and whoever brought it is told.
    let before = known().await?.reported;
    let crossed = come_home(&fleet, &stick("home")).await?.map_err(anyhow::Error::msg)?;
    ensure!(crossed.newer_made_at_s.is_some(), "{crossed:?}");
    ensure!(known().await?.reported == before);

    // A forged answer, and another device's.
    let answers = stick("out").join("answers/till-7.dsse");
    let genuine = std::fs::read_to_string(&answers)?;
    std::fs::write(&answers, genuine.replacen('A', "B", 1))?;
    ensure!(till.refuses(&stick("out"))?.contains("the answer on the stick is refused"));

    // Where no agent runs, it is written all the same.
    drop(agent);
    let image = folder.path().join("image");
    copy(Path::new(&till.root), &image)?;
    let sent = till.export(&stick("alone"))?;
    ensure!(sent["first_record"].as_u64() == Some(brought.mirrored) && sent["complete"] == true, "{sent}");
    come_home(&fleet, &stick("alone")).await?.map_err(anyhow::Error::msg)?;

    // An old image of the box goes on by itself: its stick is found out and kept as evidence, and the answer that it gets ends
    // its log. The next log comes home like the first, reports included.
    copy(&image, Path::new(&till.root))?;
    till.export_from(&stick("restored"), 0)?;
    let refused = come_home(&fleet, &stick("restored")).await?;
    ensure!(refused.as_ref().is_err_and(|error| error.contains("its audit log is refused")), "{refused:?}");
    let mirrors = fleet.control.run(|fleet| fleet.audit_mirrors()).await?;
    ensure!(mirrors.iter().any(|mirror| !mirror.incidents.is_empty()), "{mirrors:?}");
    export(&fleet, &stick("verdict"), &device).await?;
    let refused = till.refuses(&stick("verdict"))?;
    ensure!(refused.contains("must not go on"), "{refused}");
    let agent = till.start().await?;
    eventually("the device has something to say", PATIENCE, async || waiting().await.unwrap_or(false)).await?;
    till.export(&stick("begun anew"))?;
    let anew = come_home(&fleet, &stick("begun anew")).await?.map_err(anyhow::Error::msg)?;
    ensure!(anew.stored == anew.letters, "{anew:?}");
    let mirrors = fleet.control.run(|fleet| fleet.audit_mirrors()).await?;
    ensure!(mirrors.len() == 2, "{mirrors:?}");
    let shown = known().await?.reported.context("nothing is reported")?;
    // A stick of the log that ended shows nothing of now.
    come_home(&fleet, &stick("alone")).await?.map_err(anyhow::Error::msg)?;
    ensure!(known().await?.reported == Some(shown));
    drop(agent);
    Ok(())
}

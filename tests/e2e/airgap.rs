//! A box that never hears its control plane again: what it runs comes on a stick, and no stick makes it run anything else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::state::StateDir;
use outpost_audit::{Filter, Kind, reader};
use outpost_contract::{DeviceId, ModelId};
use outpost_control::{Assignment, BundleRequest};
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

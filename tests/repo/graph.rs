//! Who depends on whom, as cargo sees it: a small value that a test can break on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::source::root;

/// Normal and build dependencies by name; what only tests use is left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// Packages of this workspace, with the folder of each, relative to the root.
    pub(crate) members: BTreeMap<String, String>,
    /// What each package depends on directly, ours and others'.
    pub(crate) direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The graph of this workspace on this platform. Asks cargo, which has all it needs for that since it built this test:
    /// packages of other platforms are not on a fresh machine.
    pub(crate) fn of_this_workspace() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let host = host();
        let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform", &host];
        let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo does not describe this workspace: {said}");
        Self::from_metadata(&serde_json::from_slice(&output.stdout).expect("cargo speaks JSON"))
    }

    fn from_metadata(metadata: &Value) -> Self {
        let mut graph = Self::default();
        let folder_of_all = format!("{}/", text(&metadata["workspace_root"]));
        let packages = list(&metadata["packages"]);
        let names: BTreeMap<_, _> =
            packages.iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let members: BTreeSet<_> = list(&metadata["workspace_members"]).iter().map(text).collect();
        for package in packages.iter().filter(|package| members.contains(text(&package["id"]))) {
            let (name, manifest) = (text(&package["name"]), text(&package["manifest_path"]));
            let manifest = manifest.strip_prefix(&folder_of_all).expect("members lie in the workspace");
            graph.members.insert(name.to_owned(), manifest.trim_end_matches("/Cargo.toml").to_owned());
            // As written, whether or not a feature or target switches it on.
            let written = list(&package["dependencies"]).iter().filter(|dependency| dependency["kind"] != "dev");
            graph.add(name, written.map(|dependency| text(&dependency["name"]).to_owned()));
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let is_used = |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let used = list(&node["deps"]).iter().filter(is_used);
            graph.add(names[text(&node["id"])], used.map(|dependency| names[text(&dependency["pkg"])].to_owned()));
        }
        graph
    }

    /// Lets a package depend on others.
    pub(crate) fn add(&mut self, package: &str, on: impl IntoIterator<Item = String>) {
        self.direct.entry(package.to_owned()).or_default().extend(on);
    }

    /// Direct dependencies of a package.
    pub(crate) fn direct(&self, package: &str) -> impl Iterator<Item = &str> {
        self.direct.get(package).into_iter().flatten().map(String::as_str)
    }

    /// Everything that comes along with a package, itself not counted.
    pub(crate) fn all(&self, package: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<_> = self.direct(package).collect();
        while let Some(next) = waiting.pop() {
            if found.insert(next) {
                waiting.extend(self.direct(next));
            }
        }
        found
    }
}

/// The platform of this build, as rustc spells it.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo's metadata has a text here")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo's metadata has a list here")
}

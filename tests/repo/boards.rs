//! The table of targets in `cross/README.md`, made from `cross/targets.toml`, and what the other files of that folder repeat of it.

use serde::Deserialize;

use crate::source::root;

const TARGETS: &str = "cross/targets.toml";
const README: &str = "cross/README.md";
const BEGIN: &str = "<!-- made from targets.toml -->\n";
const END: &str = "<!-- end of what is made from targets.toml -->\n";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tools: Tools,
    target: Vec<Target>,
}

/// The versions of what builds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Tools {
    cargo_zigbuild: String,
    ziglang: String,
    cargo_auditable: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    triple: String,
    boards: String,
    programs: Vec<String>,
    glibc: Option<String>,
    machine: String,
    emulator: String,
    linker: Option<Linker>,
    processors: Vec<Processor>,
    #[serde(default)]
    measured: Measured,
    /// Why it is not built, where it is not.
    stopped_by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Linker {
    packages: Vec<String>,
    path: String,
}

/// A processor of the emulator, and the kernels that the program must choose there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Processor {
    name: String,
    kernels: String,
}

/// What was seen, not what is hoped for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    /// Bytes of each program, as `cross/build.sh` said.
    #[serde(default)]
    bytes: Vec<(String, u64)>,
    /// The day on which `cross/smoke.sh` held, and how many checks.
    smoke: Option<(String, u32)>,
    /// The same of `cross/fleet.sh`.
    fleet: Option<(String, u32)>,
    /// The day on which `cross/reproduce.sh` found two equal builds, and of which program.
    reproduced: Option<(String, String)>,
}

impl Target {
    fn row(&self) -> String {
        let library = self.glibc.as_ref().map_or_else(|| "static".to_owned(), |glibc| format!("glibc {glibc}"));
        let kernels: Vec<_> =
            self.processors.iter().map(|processor| format!("`{}` on {}", processor.kernels, processor.name)).collect();
        let Measured { bytes, smoke, fleet, .. } = &self.measured;
        let one = |program: &String| {
            let size = bytes.iter().find(|(name, _)| name == program);
            let size =
                size.map_or_else(|| "not built yet".to_owned(), |(_, bytes)| format!("{} KiB", bytes.div_ceil(1024)));
            format!("`{program}` {size}")
        };
        let programs: Vec<_> = self.programs.iter().map(one).collect();
        let checks = |held: &Option<(String, u32)>| match (&self.stopped_by, held) {
            (Some(reason), _) => format!("not built: {reason}"),
            (None, Some((day, checks))) => format!("{checks} checks, {day}"),
            (None, None) => "not yet".to_owned(),
        };
        let control = self.programs.len() > 1;
        let (smoke, fleet) = (checks(smoke), if control { checks(fleet) } else { "–".to_owned() });
        format!(
            "| `{}` | {} | {} | {} | {} | {smoke} | {fleet} |\n",
            self.triple,
            self.boards,
            library,
            programs.join(", "),
            kernels.join(", ")
        )
    }
}

impl Table {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join(TARGETS)).expect("there is a table of targets");
        toml::from_str(&text).unwrap_or_else(|error| panic!("{TARGETS}: {error}"))
    }

    fn text(&self) -> String {
        let head = "| target | boards | C library | programs | kernels that `outpost probe` names under emulation | `cross/smoke.sh` | `cross/fleet.sh` |\n\
                    |---|---|---|---|---|---|---|\n";
        let rows: String = self.target.iter().map(Target::row).collect();
        let Tools { cargo_zigbuild, ziglang, cargo_auditable } = &self.tools;
        let reproduced: Vec<_> = self
            .target
            .iter()
            .filter_map(|target| target.measured.reproduced.as_ref().map(|found| (&target.triple, found)))
            .map(|(triple, (day, program))| format!("`{program}` for `{triple}`, {day}"))
            .collect();
        let reproduced = if reproduced.is_empty() { "not yet".to_owned() } else { reproduced.join("; ") };
        format!(
            "{head}{rows}\nBuilt with zig {ziglang}, cargo-zigbuild {cargo_zigbuild} and cargo-auditable {cargo_auditable}. Built twice with equal \
             hashes (`cross/reproduce.sh`): {reproduced}.\n"
        )
    }
}

/// The part of the README that is made, with what stands before and behind it.
fn parts(readme: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (made, after) = rest.split_once(END)?;
    Some((before, made, after))
}

#[test]
fn the_table_of_targets_is_the_one_that_builds() {
    let readme = std::fs::read_to_string(root().join(README)).expect("there is a README");
    let (before, made, after) = parts(&readme).expect("the README says where its table stands");
    let expected = Table::read().text();
    if std::env::var_os("OUTPOST_WRITE").is_some() {
        std::fs::write(root().join(README), [before, BEGIN, &expected, END, after].concat())
            .expect("it can be written");
    } else {
        assert_eq!(made, expected, "{README} is of another day: run this test with `OUTPOST_WRITE=1`");
    }
}

#[test]
fn every_target_says_what_its_scripts_need() {
    for target in Table::read().target {
        let Target { triple, programs, glibc, machine, emulator, linker, processors, measured, .. } = &target;
        let told = "outpost".to_owned();
        assert!(programs.contains(&told) && programs.len() <= 2, "{triple}: the agent is built for every target");
        assert_eq!(glibc.is_none(), triple.ends_with("-musl"), "{triple}: a program for glibc names the oldest one");
        assert!(!machine.is_empty() && emulator.starts_with("qemu-"), "{triple}: who runs it");
        let foreign = !triple.starts_with("x86_64");
        assert_eq!(linker.is_some(), foreign && glibc.is_some(), "{triple}: whose dynamic linker the emulator finds");
        assert!(linker.iter().all(|linker| !linker.packages.is_empty() && linker.path.starts_with('/')), "{triple}");
        assert!(!processors.is_empty(), "{triple}: which kernels where");
        for (program, bytes) in &measured.bytes {
            assert!(programs.contains(program) && *bytes > 1 << 20, "{triple}: {program} of {bytes} bytes");
        }
    }
}

#[test]
fn each_kind_of_kernel_is_tried_somewhere() {
    let table = Table::read();
    let tried = |name| table.target.iter().flat_map(|target| &target.processors).any(|one| one.kernels == name);
    // The emulator has neither the byte products of AVX nor AVX-512: these the machine itself must have.
    for name in ["scalar", "avx2", "neon-dotprod", "neon-i8mm"] {
        assert!(tried(name), "no processor in {TARGETS} runs the kernels `{name}`");
    }
}

#[test]
fn the_settings_for_cross_name_the_same_targets() {
    let text = std::fs::read_to_string(root().join("cross/Cross.toml")).expect("there are settings for cross");
    let settings: toml::Table = toml::from_str(&text).expect("they are TOML");
    let named: Vec<_> = settings["target"].as_table().expect("by target").keys().cloned().collect();
    let mut known: Vec<_> = Table::read().target.into_iter().map(|target| target.triple).collect();
    known.sort();
    assert_eq!(named, known);
}

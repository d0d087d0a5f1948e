//! Names this build of the kernels: who measured another build measures again.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What kernels are made of, and what measures them.
const SOURCES: &[&str] = &["src/cpu", "src/blocks", "src/ops", "src/bench", "src/bench.rs", "src/weights.rs"];

/// How they are compiled, as cargo tells it.
const SETTINGS: &[&str] =
    &["TARGET", "PROFILE", "OPT_LEVEL", "CARGO_ENCODED_RUSTFLAGS", "CARGO_CFG_TARGET_FEATURE", "CARGO_CFG_TARGET_CPU"];

fn main() -> std::io::Result<()> {
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        let mut files = Vec::new();
        collect(Path::new(source), &mut files)?;
        files.sort();
        for file in files {
            std::fs::read(file)?.hash(&mut hasher);
        }
    }
    for setting in SETTINGS {
        setting_of(setting).hash(&mut hasher);
    }
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(compiler).arg("-vV").output()?.stdout.hash(&mut hasher);
    println!("cargo::rustc-env=OUTPOST_KERNEL_BUILD={:016x}", hasher.finish());
    Ok(())
}

/// The setting without the flags that only say where the folders of this build lie: they change no kernel, and the same source
/// built elsewhere is the same build.
fn setting_of(name: &str) -> Option<Vec<String>> {
    let value = std::env::var_os(name)?;
    let parts = value.to_string_lossy().split('\u{1f}').map(str::to_owned).collect::<Vec<_>>();
    Some(parts.into_iter().filter(|part| !part.starts_with("--remap-path-prefix=")).collect())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

//! Names the target that this build is for, which only a build script is told.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=OUTPOST_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}

//! `outpost-control build …`: programs of the agent become targets of the catalogue.

use anyhow::{Context, Result};
use outpost_control::{Build as Program, Config, ReleaseRequest, size};

use super::{keys, open, passphrase, say, say_json};
use crate::args::Build;

/// Runs the command.
pub(super) fn run(config: Config, command: Build, as_json: bool) -> Result<()> {
    match command {
        Build::Publish { file, version, target, state_format, keys: holders, passphrase_file, out } => {
            let version = version.parse().context("`--version`")?;
            let target = target.parse().context("`--target`")?;
            let what = format!("agent {version} for {target}");
            let builds = vec![Program { path: file, version, target, state_format }];
            let request = ReleaseRequest { builds, ..ReleaseRequest::default() };
            let fleet = open(config)?;
            if let Some(out) = out {
                let proposal = fleet.prepare(request)?;
                keys::write(&out, &proposal)?;
                keys::tell(&proposal, &[], as_json)?;
                if as_json {
                    return Ok(());
                }
                return say(format!("now each holder: outpost-control keys sign {} --keys DIR", out.display()));
            }
            let released = fleet.release_by(&passphrase::open(&holders, &passphrase_file)?, request)?;
            if as_json {
                return say_json(&released);
            }
            say(format!("released: {what}, catalogue {} ({} bytes)", released.blake3, released.bytes))
        }
        Build::Ls => {
            let builds = open(config)?.builds()?;
            if as_json {
                return say_json(&builds);
            }
            builds.iter().try_for_each(|build| {
                let (version, target) = (build.version.as_str(), build.target.as_str());
                let wanted = match build.wanted_by {
                    0 => "no device was told to run it".to_owned(),
                    1 => "1 device was told to run it".to_owned(),
                    count => format!("{count} devices were told to run it"),
                };
                say(format!("{version:<16} {target:<32} {:>10}  {wanted}", size(build.bytes)))
            })
        }
    }
}

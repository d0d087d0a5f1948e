//! A model of a hub for a box of its own: looked at, planned for this machine, asked about, fetched, checked, taken in.
//!
//! ```text
//! hf:OWNER/REPO@REVISION#PATTERN ─► listing at one commit ─► headers of what might fit ─► plan ─► consent ─► file ─► store
//! qwen3-4b                       ─┘                          (each kept: a fetch goes on from it)
//! ```
//!
//! Nothing is kept that is not what the commit names, and nothing comes while the policy's hours or its day's budget say no.

use std::cmp::Reverse;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_contract::{TargetName, VariantFacts};
use outpost_engine::gguf::{Gguf, GgufError};
use outpost_hub::{Hub, HubAccess, HubReference, MOST_FILE_BYTES, Repository, RepositoryFile};
use outpost_planner::{Candidate, Constraints, Plan, given_back, plan};
use outpost_serve::{Consent, Found, Progress};
use tokio::sync::mpsc;

use super::sources;
use crate::curated;
use crate::facts::{self, MINIMUM_CONTEXT_TOKENS};
use crate::install::Installer;

/// Headers that are read at most of a repository: those of the largest files that could fit.
const MOST_HEADERS: usize = 8;

/// How much of a file is asked for to find its header's end: so much first, then four times as much, up to the last.
const FIRST_BYTES: u64 = 1024 * 1024;
const LAST_BYTES: u64 = 64 * 1024 * 1024;

/// How often a fetch looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The licence of what nobody names one for, as SPDX spells that.
const NO_LICENCE: &str = "noassertion";

/// What somebody wants of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    reference: HubReference,
    /// Patterns over the files; none lets the plan choose among all model files.
    patterns: Vec<String>,
}

impl Wish {
    /// `hf:OWNER/REPO[@REVISION][#PATTERN]`, or a well-known model by its name, as `qwen3-4b` or `qwen3-4b:q4_k_m`; nothing
    /// for any other name.
    ///
    /// # Errors
    /// If it begins like a hub's and is none.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>> {
        if text.starts_with("hf:") {
            let (reference, pattern) = match text.split_once('#') {
                Some((reference, pattern)) => (reference, Some(pattern.to_owned())),
                None => (text, None),
            };
            return Ok(Some(Self { reference: reference.parse()?, patterns: pattern.into_iter().collect() }));
        }
        let (name, variant) = text.split_once(':').unwrap_or((text, ""));
        let models = curated::models()?;
        let Some(model) = models.iter().find(|model| model.id.as_str() == name) else { return Ok(None) };
        let Some(repository) = model.files_at() else {
            bail!("`{name}` is well-known, but nobody is known to publish a file of it that is served here");
        };
        let patterns = if variant.is_empty() { Vec::new() } else { vec![format!("*{variant}*")] };
        Ok(Some(Self { reference: format!("hf:{repository}").parse()?, patterns }))
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(formatter)?;
        self.patterns.iter().try_for_each(|pattern| write!(formatter, "#{pattern}"))
    }
}

/// Fetches models of a hub, one at a time.
#[derive(Debug)]
pub(crate) struct FromHub {
    pub(crate) installer: Arc<Installer>,
    /// What came of files that are not whole yet.
    pub(crate) directory: PathBuf,
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// What the plan chose, or the one that was named.
struct Chosen<'a> {
    file: &'a RepositoryFile,
    path: PathBuf,
    facts: VariantFacts,
}

impl FromHub {
    /// Fetches what is wished for into the store, telling how far it is. Whoever stops listening stops it; what came stays,
    /// and the next time goes on from there.
    ///
    /// # Errors
    /// In words for whoever asked, without secrets.
    pub(crate) async fn fetch(&self, wish: &Wish, progress: &mpsc::Sender<Progress>) -> Result<()> {
        let Ok(_turn) = self.turn.try_lock() else {
            bail!("another model is being fetched: ask again when it is here");
        };
        if let Some(closed) = self.installer.gate.closed() {
            bail!(closed.detail);
        }
        let hub = Hub::new(HubAccess::from_environment()?)?;
        tell(progress, format!("asking for {wish}")).await;
        let repository = hub.repository(&wish.reference).await?;
        self.forget_other_commits(&repository, &wish.reference)?;
        let chosen = self.choose(wish, &repository, progress).await?;
        let consent = Consent::default();
        let found = Found {
            licence: chosen.facts.model.licence.clone(),
            family: chosen.facts.model.architecture.clone(),
            variant: chosen.facts.quantisation.clone(),
            parameters: chosen.facts.model.parameters,
            source: repository.source(),
            commit: repository.commit().to_owned(),
            path: chosen.file.path().to_owned(),
            consent: consent.clone(),
        };
        progress.send(Progress::Found(Box::new(found))).await.context("nobody waits for it any more")?;
        if !consent.given().await {
            bail!("the policy does not let it come");
        }
        let digest = match self.in_store(&chosen).await? {
            Some(digest) => {
                tell(progress, "this very file is in the store already".to_owned()).await;
                digest
            }
            None => {
                self.check_room(&chosen)?;
                let digest = self.bring(&repository, &chosen, progress).await?;
                sources::import(&self.installer.store, &chosen.path, progress).await?;
                digest
            }
        };
        progress.send(Progress::Verified(digest)).await.context("nobody waits for it any more")?;
        let kept = self.directory.join(wish.reference.directory_name());
        if let Err(error) = std::fs::remove_dir_all(&kept) {
            tracing::warn!(%error, directory = %kept.display(), "what was fetched is in the store and stays here, too");
        }
        let name = format!("{}:{}", chosen.facts.model.model, chosen.facts.quantisation.to_lowercase());
        progress.send(Progress::Called(name)).await.context("nobody waits for it any more")
    }

    /// The digest of the file, if it is in the store.
    async fn in_store(&self, chosen: &Chosen<'_>) -> Result<Option<String>> {
        let Some(wanted) = chosen.file.sha256() else { return Ok(None) };
        let store = self.installer.store.clone();
        let listed = tokio::task::spawn_blocking(move || store.list()).await??;
        Ok(listed.iter().any(|stored| stored.sha256 == wanted).then(|| wanted.to_hex()))
    }

    /// What was begun of other commits is of no use any more.
    fn forget_other_commits(&self, repository: &Repository<'_>, reference: &HubReference) -> Result<()> {
        let kept = self.directory.join(reference.directory_name());
        let entries = match std::fs::read_dir(&kept) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot look into `{}`", kept.display())),
        };
        for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_name() != repository.commit()) {
            std::fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove `{}`", entry.path().display()))?;
        }
        Ok(())
    }

    /// Reads how the files begin and plans among them.
    async fn choose<'a>(
        &self,
        wish: &Wish,
        repository: &'a Repository<'_>,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<Chosen<'a>> {
        let measurements = self.installer.measured.get().await;
        let (files, passed_over) =
            worth_a_look(repository.chosen(&wish.patterns, MOST_FILE_BYTES)?, measurements.memory_total_bytes)?;
        if passed_over > 0 {
            tell(
                progress,
                format!("{passed_over} larger files are more than this machine's memory and were not looked at"),
            )
            .await;
        }
        let (mut offered, mut refused) = (Vec::new(), Vec::new());
        for file in files {
            let path = repository.place(&self.directory, file);
            tell(progress, format!("reading how `{}` begins", file.path())).await;
            let before = here(&path);
            let looked = look(repository, file, &path).await;
            self.installer.gate.take(here(&path).saturating_sub(before));
            match looked? {
                Ok(facts) => offered.push(Chosen { file, path, facts }),
                Err(why) => {
                    // What is no model now is not gone on from.
                    let _ = std::fs::remove_file(part_of(&path));
                    refused.push(format!("`{}`: {why}", file.path()));
                }
            }
        }
        self.installer.gate.taken();
        if offered.is_empty() {
            bail!("no file of the repository is a model that is served here: {}", refused.join("; "));
        }
        let plan = self.plan(&offered, measurements).await?;
        tell(progress, plan.table()).await;
        let place = plan
            .choice
            .as_ref()
            .and_then(|choice| targets(&offered).position(|target| target == choice.target.as_str()));
        let chosen = match (place, &wish.patterns[..]) {
            (Some(place), _) => offered.swap_remove(place),
            // Somebody named this very file.
            (None, [_]) if offered.len() == 1 => {
                tell(progress, "it does not fit this machine as it is now, and comes since it was named".to_owned())
                    .await;
                offered.remove(0)
            }
            (None, _) => {
                let because: Vec<_> =
                    plan.verdicts.iter().map(|verdict| format!("{}: {}", verdict.target, verdict.because)).collect();
                bail!("no variant fits this machine: {}", because.join("; "));
            }
        };
        for other in offered {
            // A beginning that stays is in nobody's way.
            let _ = std::fs::remove_file(part_of(&other.path));
        }
        Ok(chosen)
    }

    /// The plan among what is offered, for the machine as it would be without what serves now.
    async fn plan(&self, offered: &[Chosen<'_>], measurements: outpost_contract::Measurements) -> Result<Plan> {
        let mut candidates = Vec::new();
        for (target, one) in targets(offered).zip(offered) {
            let target: TargetName = target.parse().with_context(|| format!("the name of `{}`", one.file.path()))?;
            candidates.push(Candidate { target, facts: one.facts.clone() });
        }
        let trained = offered.iter().map(|one| one.facts.model.context_tokens).min().unwrap_or(0);
        let constraints = Constraints {
            minimum_context_tokens: MINIMUM_CONTEXT_TOKENS.min(trained),
            slots: self.installer.settings.slots,
            draft: self.installer.draft()?,
            to_fetch: candidates.iter().map(|candidate| candidate.target.clone()).collect(),
            ..Constraints::default()
        };
        let mut measurements = self.installer.housekeeper.with_room_made(&measurements).await;
        if let Some(current) = self.installer.active.current() {
            let serving = facts::variant(current.card.model.clone(), 1, current.worker.model().info());
            measurements = given_back(&measurements, &serving, &constraints);
        }
        Ok(plan(&candidates, &measurements, &constraints))
    }

    /// The file lies on this disk twice until it is in the store.
    fn check_room(&self, chosen: &Chosen<'_>) -> Result<()> {
        let needed = chosen.file.bytes().saturating_mul(2).saturating_sub(here(&chosen.path));
        let free = outpost_disk::space::free_bytes(&self.directory)?;
        if free < needed {
            bail!(
                "no room: `{}` has {} bytes and lies here twice until it is in the store, {needed} more bytes, and {free} are \
                 free; free space on this disk",
                chosen.file.path(),
                chosen.file.bytes()
            );
        }
        Ok(())
    }

    /// Fetches the file, as long as somebody waits and the policy's hours and budget allow it. Its SHA-256.
    async fn bring(
        &self,
        repository: &Repository<'_>,
        chosen: &Chosen<'_>,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<String> {
        let gate = &self.installer.gate;
        let (total, name) = (chosen.file.bytes(), chosen.file.path());
        let mut counted = here(&chosen.path);
        let fetching = repository.fetch(chosen.file, &chosen.path, |completed| {
            if completed > counted {
                gate.take(completed - counted);
                counted = completed;
            }
            // A client who reads slowly misses steps, not the end.
            let _ = progress.try_send(Progress::Bytes { digest: name.to_owned(), total, completed });
        });
        tokio::pin!(fetching);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let fetched = loop {
            tokio::select! {
                fetched = &mut fetching => break fetched.map_err(anyhow::Error::from),
                () = progress.closed() => break Err(anyhow::anyhow!("nobody waits for it any more")),
                _ = looks.tick() => if let Some(closed) = gate.closed() {
                    break Err(anyhow::anyhow!("{}; what came stays, ask again then", closed.detail));
                },
            }
        };
        gate.taken();
        let (sha256, _) = fetched?;
        Ok(sha256.to_hex())
    }
}

/// A step for whoever waits.
async fn tell(progress: &mpsc::Sender<Progress>, step: String) {
    // Whoever left is noticed where something depends on it.
    let _ = progress.send(Progress::Step(step)).await;
}

/// The model files that may be chosen, largest first, and how many others are larger than the memory.
fn worth_a_look(files: Vec<&RepositoryFile>, memory_bytes: u64) -> Result<(Vec<&RepositoryFile>, usize)> {
    let mut files: Vec<_> = files.into_iter().filter(|file| is_model(file.path())).collect();
    if files.is_empty() {
        bail!("no such file of the repository is a model file of its own (`*.gguf`, not in parts)");
    }
    files.sort_by_key(|file| Reverse((file.bytes(), file.path().to_owned())));
    // The smallest is looked at in any case: the plan says what it lacks.
    let larger = files.iter().filter(|file| file.bytes() > memory_bytes).count().min(files.len() - 1);
    Ok((files.into_iter().skip(larger).take(MOST_HEADERS).collect(), larger))
}

/// Whether a file is a model of its own: no projector for pictures, no importance matrix, no part of one.
fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let in_parts = name.strip_suffix(".gguf").is_some_and(|stem| {
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        stem.rsplit_once("-of-").is_some_and(|(before, of)| digits(of) && before.rsplit('-').next().is_some_and(digits))
    });
    name.ends_with(".gguf") && !in_parts && !name.starts_with("mmproj") && !name.contains("imatrix")
}

/// What a file is, from how it begins, with the licence that file and card agree on; or why it cannot be chosen.
async fn look(repository: &Repository<'_>, file: &RepositoryFile, path: &Path) -> Result<Result<VariantFacts, String>> {
    let mut bytes = FIRST_BYTES;
    let gguf = loop {
        let begins = repository.beginning(file, path, bytes).await?;
        match Gguf::from_beginning(file.path(), &begins, file.bytes()) {
            Ok(gguf) => break gguf,
            Err(error) => {
                let goes_on =
                    matches!(error.fault(), GgufError::Truncated { .. }) && bytes < LAST_BYTES.min(file.bytes());
                if !goes_on {
                    return Ok(Err(error.fault().to_string()));
                }
            }
        }
        bytes = bytes.saturating_mul(4);
    };
    let info = gguf.info();
    let mut facts = facts::variant(facts::model_id(Path::new(file.path()), &info)?, 1, &info);
    match licence(&info.licence, &repository.card().licence) {
        Ok(licence) => facts.model.licence = licence,
        Err(why) => return Ok(Err(why)),
    }
    Ok(Ok(facts))
}

/// The licence that both name, or the one that one of them does; as the file spells it, since that is how it is called from then
/// on.
fn licence(of_file: &str, of_card: &str) -> Result<String, String> {
    match (of_file.trim(), of_card.trim()) {
        ("", "") => Ok(NO_LICENCE.to_owned()),
        ("", one) | (one, "") => Ok(one.to_owned()),
        (file, card) if file.eq_ignore_ascii_case(card) => Ok(file.to_owned()),
        (file, card) => Err(format!("the file says that its licence is `{file}`, the repository's card says `{card}`")),
    }
}

/// Names for the planner: the file's own, as far as they can be one.
fn targets<'a>(offered: &'a [Chosen<'_>]) -> impl Iterator<Item = String> + 'a {
    offered.iter().map(|one| {
        let spelled = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        one.file.path().chars().map(spelled).collect::<String>().trim_start_matches(['.', '-', '_']).to_owned()
    })
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Bytes of a file that are here already.
fn here(path: &Path) -> u64 {
    let length = |path: &Path| std::fs::metadata(path).map(|facts| facts.len());
    length(path).or_else(|_| length(&part_of(path))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(text: &str) -> Option<String> {
        Wish::parse(text).expect("it is one or none").map(|wish| wish.to_string())
    }

    #[test]
    fn a_wish_names_a_repository_or_a_well_known_model() {
        assert_eq!(wish("hf:a/b").as_deref(), Some("hf:a/b@main"));
        assert_eq!(wish("hf:a/b@v1#*Q4_K_M*").as_deref(), Some("hf:a/b@v1#*Q4_K_M*"));
        assert_eq!(wish("qwen3-4b").as_deref(), Some("hf:Qwen/Qwen3-4B-GGUF@main"));
        assert_eq!(wish("qwen3-4b:q4_k_m").as_deref(), Some("hf:Qwen/Qwen3-4B-GGUF@main#*q4_k_m*"));
        assert_eq!(wish("somebody-elses"), None);
        assert!(Wish::parse("hf:a").is_err() && Wish::parse("hf:../b#x").is_err());
    }

    #[test]
    fn every_well_known_model_has_files_or_says_that_it_has_none() {
        for model in curated::models().expect("the list is whole") {
            match model.files_at() {
                Some(_) => assert!(Wish::parse(model.id.as_str()).expect("its repository is one").is_some()),
                None => assert!(Wish::parse(model.id.as_str()).is_err(), "{}", model.id),
            }
        }
    }

    #[test]
    fn what_is_no_model_of_its_own_is_not_chosen() {
        assert!(is_model("Qwen3-4B-Q4_K_M.gguf") && is_model("q8/x-of-y.gguf"));
        for other in ["mmproj-F16.gguf", "x-00001-of-00003.gguf", "x.imatrix.gguf", "x.safetensors", "README.md"] {
            assert!(!is_model(other), "{other}");
        }
    }

    #[test]
    fn file_and_card_agree_on_a_licence_or_the_file_is_not_taken() {
        assert_eq!(licence("", ""), Ok("noassertion".to_owned()));
        assert_eq!(licence("", "apache-2.0"), Ok("apache-2.0".to_owned()));
        assert_eq!(licence("MIT", ""), Ok("MIT".to_owned()));
        assert_eq!(licence("Apache-2.0", "apache-2.0"), Ok("Apache-2.0".to_owned()));
        assert!(licence("mit", "gemma").is_err_and(|why| why.contains("`mit`") && why.contains("`gemma`")));
    }

    proptest! {
        #[test]
        fn any_wish_is_read_or_refused(text in "(hf:)?\\PC{0,40}") {
            if let Ok(Some(wish)) = Wish::parse(&text) {
                let again = Wish::parse(&wish.to_string()).expect("as it is shown");
                prop_assert_eq!(again, Some(wish));
            }
        }
    }
}

//! The variants of a model: the file itself, files that are given beside it, and what can be made of it here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_contract::{ModelId, VariantFacts};
use outpost_engine::gguf::Gguf;
use outpost_engine::quantize::{Progress, Quantisation, preview, quantize_with_progress};
use outpost_planner::{rounded_down, rounded_up};

use super::evidence::FileRow;
use crate::facts;

/// What is made of a file unless variants are named: those that are of use whatever the model was trained for.
const USUAL: [Quantisation; 6] = [
    Quantisation::F16,
    Quantisation::Q8_0,
    Quantisation::Q6_K,
    Quantisation::Q5_1,
    Quantisation::Q4_K_M,
    Quantisation::Q4_0,
];

/// Where a variant comes from. A further way to make one is a further line here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file that is there already.
    File(PathBuf),
    /// Quantised from the origin.
    Made(Quantisation),
}

/// A variant, as it is known before it is made.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// Its name, as in `Q4_0`.
    pub(crate) name: String,
    /// Where it comes from.
    pub(crate) source: Source,
    /// What the planner needs to know.
    pub(crate) facts: VariantFacts,
}

/// A model with all variants that are offered, the largest first.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) model: ModelId,
    /// The file that everything comes from, and its quantisation.
    pub(crate) origin: PathBuf,
    pub(crate) quantisation: String,
    pub(crate) variants: Vec<Variant>,
}

/// What can be had of a file: those that are `named`, or else itself, all `also` and whatever usual one is smaller.
pub(crate) fn offer(origin: &Path, also: &[PathBuf], named: &[String]) -> Result<Offer> {
    let gguf = open(origin)?;
    let info = gguf.info();
    let model = facts::model_id(origin, &info)?;
    let quantisation = info.quantisation.clone();
    let of = |info: &_| facts::variant(model.clone(), 1, info);
    let origins = Variant { name: quantisation.clone(), source: Source::File(origin.to_owned()), facts: of(&info) };
    let mut variants = vec![origins];
    for file in also {
        let beside = open(file)?.info();
        let is_other =
            |what: &str| format!("`{}` is no variant of `{}`: another {what}", file.display(), origin.display());
        if beside.architecture != info.architecture || beside.parameters != info.parameters {
            bail!(is_other("model"));
        }
        if beside.vocabulary != info.vocabulary {
            bail!(is_other("vocabulary"));
        }
        let mut name = beside.quantisation.clone();
        if variants.iter().any(|variant| variant.name == name) {
            // A second file of a quantisation is told apart by its own name.
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            name = stem.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(64).collect();
        }
        if variants.iter().any(|variant| variant.name == name) || name.is_empty() {
            bail!("`{}` needs a name of its own: there is another variant `{name}`", file.display());
        }
        variants.push(Variant { name, source: Source::File(file.clone()), facts: of(&beside) });
    }
    let made = |to: Quantisation| Variant {
        name: to.name().to_owned(),
        source: Source::Made(to),
        facts: of(&preview(&gguf, to)),
    };
    for to in USUAL {
        // A larger variant than the origin would have no more in it.
        let variant = made(to);
        let is_smaller = variant.facts.weight_bytes < info.weight_bytes;
        if is_smaller && !variants.iter().any(|other| other.name == variant.name) {
            variants.push(variant);
        }
    }
    if !named.is_empty() {
        let offered = variants;
        variants = Vec::new();
        for name in named {
            let known = offered.iter().find(|variant| variant.name.eq_ignore_ascii_case(name)).cloned();
            let variant = known.or_else(|| Quantisation::from_name(name).map(made)).with_context(|| {
                let names: Vec<_> = Quantisation::ALL.iter().map(|known| known.name()).collect();
                format!("`{name}` is no variant: choose of {}, or add its file with `--also`", names.join(", "))
            })?;
            if !variants.iter().any(|other: &Variant| other.name == variant.name) {
                variants.push(variant);
            }
        }
    }
    variants
        .sort_by(|one, other| other.facts.weight_bytes.cmp(&one.facts.weight_bytes).then(one.name.cmp(&other.name)));
    Ok(Offer { model, origin: origin.to_owned(), quantisation, variants })
}

fn open(file: &Path) -> Result<Gguf> {
    Gguf::open(file).with_context(|| format!("`{}` cannot be tuned", file.display()))
}

/// Where a variant lies, or will once it is made.
pub(crate) fn path(variant: &Variant, folder: &Path) -> PathBuf {
    match &variant.source {
        Source::File(file) => file.clone(),
        Source::Made(to) => folder.join(format!("{}.gguf", to.name())),
    }
}

/// Refuses where the disk has no room for what is missing of these.
pub(crate) fn check_room(variants: &[&Variant], folder: &Path) -> Result<()> {
    let missing = variants.iter().filter(|variant| !path(variant, folder).exists());
    let needed = missing.map(|variant| variant.facts.file_bytes).fold(0, u64::saturating_add);
    let free = outpost_disk::space::free_bytes(folder).context("cannot see how much of the disk is free")?;
    if needed > free {
        bail!(
            "the variants that are missing have {}, {} free on the disk in `{}`; name fewer with `--variant`",
            rounded_up(needed),
            rounded_down(free),
            folder.display()
        );
    }
    Ok(())
}

/// Makes a variant unless it is there. It appears whole or not at all.
pub(crate) fn make(
    variant: &Variant,
    origin: &Path,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    let path = path(variant, folder);
    if let Source::Made(to) = variant.source
        && !path.exists()
    {
        quantize_with_progress(origin, &path, to, progress)
            .with_context(|| format!("the variant `{}` cannot be made", variant.name))?;
    }
    Ok(path)
}

/// Removes what was made here and is not to stay.
pub(crate) fn clear(variants: &[Variant], folder: &Path, stays: Option<&str>) -> Result<()> {
    for variant in variants.iter().filter(|variant| Some(variant.name.as_str()) != stays) {
        if let Source::Made(_) = variant.source {
            outpost_disk::atomic::remove(path(variant, folder))?;
        }
    }
    Ok(())
}

/// What is in a file.
pub(crate) fn row(name: &str, file: &Path) -> Result<FileRow> {
    let bytes = fs::metadata(file).with_context(|| format!("cannot read `{}`", file.display()))?.len();
    let found =
        outpost_store::manifest::of_file(file, &[]).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(FileRow { variant: name.to_owned(), sha256: found.sha256, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/outpost-demo-f16.gguf")
    }

    fn names(offer: &Offer) -> Vec<&str> {
        offer.variants.iter().map(|variant| variant.name.as_str()).collect()
    }

    #[test]
    fn a_file_offers_itself_and_what_is_smaller_the_largest_first() {
        let all = offer(&demo(), &[], &[]).unwrap();
        assert_eq!(names(&all)[..4], ["F16", "Q8_0", "Q6_K", "Q5_1"]);
        let bytes: Vec<_> = all.variants.iter().map(|variant| variant.facts.weight_bytes).collect();
        assert!(bytes.len() == 6 && bytes.is_sorted_by(|one, other| one >= other), "{bytes:?}");
        let two = offer(&demo(), &[], &["q4_0".into(), "F16".into(), "Q4_0".into()]).unwrap();
        assert_eq!(names(&two), ["F16", "Q4_0"]);
        let refused = offer(&demo(), &[], &["Q3_K".into()]).unwrap_err().to_string();
        assert!(refused.starts_with("`Q3_K` is no variant: choose of F16, Q8_0"), "{refused}");
    }

    #[test]
    fn a_given_file_takes_the_place_of_what_would_be_made_and_a_smaller_origin_offers_less() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("mine.gguf");
        let all = offer(&demo(), &[], &["Q4_0".into()]).unwrap();
        let made = make(&all.variants[0], &demo(), folder.path(), &mut |_| ()).unwrap();
        std::fs::copy(made, &given).unwrap();
        let beside = offer(&demo(), std::slice::from_ref(&given), &[]).unwrap();
        let q4 = beside.variants.iter().find(|variant| variant.name == "Q4_0").unwrap();
        assert_eq!(q4.source, Source::File(given.clone()));
        let of_given = offer(&given, &[], &[]).unwrap();
        assert!(names(&of_given)[0] == "Q4_0" && !names(&of_given).contains(&"Q8_0"), "{:?}", names(&of_given));
        let twice = offer(&demo(), &[given.clone(), given.clone()], &[]).unwrap();
        assert!(names(&twice).contains(&"mine"), "{:?}", names(&twice));
        clear(&all.variants, folder.path(), Some("Q4_0")).unwrap();
        assert!(folder.path().join("Q4_0.gguf").exists());
        clear(&all.variants, folder.path(), None).unwrap();
        assert!(!folder.path().join("Q4_0.gguf").exists() && given.exists(), "what was given is never removed");
    }
}

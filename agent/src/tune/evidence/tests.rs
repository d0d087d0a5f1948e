//! Evidence is read back as it was signed, by who trusts the key; any other byte, key or kind is refused.

use proptest::prelude::*;

use super::super::choice::choose;
use super::super::figures::Point;
use super::super::figures::tests::points;
use super::super::pareto::pareto;
use super::super::setting::Kv;
use super::*;

fn file(variant: &str, byte: u8) -> FileRow {
    let sha256 = hex::encode([byte; 32]).parse().unwrap();
    FileRow { variant: variant.to_owned(), sha256, bytes: 1_000 }
}

pub(crate) fn class() -> HardwareClass {
    HardwareClass {
        cpu: "Edge 4".to_owned(),
        cores: 4,
        kinds: Vec::new(),
        kernels: "avx2".to_owned(),
        last_cache_bytes: Some(8 << 20),
        memory_mib: 4_096,
        memory_speed: Some(3),
    }
}

/// The evidence that these points are.
pub(crate) fn evidence(points: &[Point]) -> Evidence {
    let mut variants: Vec<FileRow> =
        points.iter().zip(1..).map(|(point, byte)| file(&point.setting.variant, byte)).collect();
    if variants.is_empty() {
        variants.push(file("F16", 1));
    }
    let reference = variants[0].variant.clone();
    let effort = Effort {
        prompt_tokens: 128,
        answer_tokens: 64,
        repeats: 3,
        window_tokens: 256,
        text_sha256: file("", 9).sha256,
        tasks_sha256: None,
    };
    let (limits, model) = (Limits::default(), "demo".parse().unwrap());
    let mut made =
        Evidence::new(1_700_000_000, "b1", class(), model, file("F16", 1), variants, reference, effort, limits);
    let (chosen, set) = (choose(points, &made.limits), pareto(points));
    made.runs = points.iter().map(|point| point.speed.clone()).collect();
    made.qualities = points.iter().map(|point| point.quality.clone()).collect();
    made.settings = points
        .iter()
        .zip(chosen.because)
        .zip(set)
        .map(|((point, because), pareto)| SettingRow {
            setting: point.setting.clone(),
            needs_bytes: point.needs_bytes,
            pareto,
            because,
        })
        .collect();
    let setting = Setting { variant: "F16".into(), kv: Kv::F32, context_tokens: 512, slots: 1, threads: 1 };
    made.pruned = vec![Pruned { setting, because: "needs 2 GiB, 1 GiB available: 1 GiB missing".into() }];
    made.choice = chosen.index.and_then(|index| u32::try_from(index).ok());
    made
}

#[test]
fn what_differs_is_named() {
    let made = evidence(&[]);
    assert_eq!(made.differences(&class(), "b1", &file("F16", 1)), Vec::<String>::new());
    let other = HardwareClass { cpu: "Edge 5".into(), ..class() };
    let found = made.differences(&other, "b2", &file("F16", 7));
    assert_eq!(found[0], "processor: measured on `Edge 4`, this box has `Edge 5`");
    assert_eq!(found[1], "build of the kernels: measured with `b1`, this agent has `b2`");
    assert!(found[2].starts_with("file: measured was the one with SHA-256 0101"), "{}", found[2]);
}

#[test]
fn a_key_that_nobody_trusts_proves_nothing_and_another_document_is_no_evidence() {
    let (own, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let bytes = evidence(&[]).sign(&own).unwrap().to_bytes();
    assert!(Evidence::open(&bytes, &[other.verifying_key(), own.verifying_key()]).is_ok());
    let refused = Evidence::open(&bytes, &[other.verifying_key()]).unwrap_err().to_string();
    assert_eq!(refused, "no valid signature by any of the 1 keys that may sign this");
    let locks = Envelope::sign("application/vnd.outpost.locks+json", b"{}", &[&own]).unwrap().to_bytes();
    assert!(Evidence::open(&locks, &[own.verifying_key()]).unwrap_err().to_string().contains("expected"));
}

#[test]
fn what_is_signed_and_contradicts_itself_is_refused() {
    let key = SigningKey::generate().unwrap();
    let refused = |change: &dyn Fn(&mut Evidence)| {
        let mut made = evidence(&[super::super::figures::tests::point("Q8_0", 1, 2, 3)]);
        change(&mut made);
        let bytes = made.sign(&key).unwrap().to_bytes();
        Evidence::open(&bytes, &[key.verifying_key()]).map(|_| ()).map_err(|refused| refused.to_string())
    };
    assert_eq!(refused(&|_| ()), Ok(()));
    let changes: [fn(&mut Evidence); 10] = [
        |made| made.v = 2,
        |made| made.choice = Some(1),
        |made| made.runs.clear(),
        |made| made.qualities.clear(),
        |made| made.variants.clear(),
        |made| made.variants.push(made.variants[0].clone()),
        |made| made.reference = "Q9".to_owned(),
        |made| made.class.cpu = "a\u{1b}[2J".to_owned(),
        |made| made.settings[0].because = "x".repeat(2_000),
        |made| made.pruned = vec![made.pruned[0].clone(); 5_000],
    ];
    for change in changes {
        let said = refused(&change).unwrap_err();
        assert!(said.starts_with("it is signed, but no evidence that this version reads: "), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_signed_is_read_back_and_a_flipped_byte_is_refused(points in points(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let key = SigningKey::generate().unwrap();
        let made = evidence(&points);
        let mut bytes = made.sign(&key).unwrap().to_bytes();
        let (read, _) = Evidence::open(&bytes, &[key.verifying_key()]).unwrap();
        prop_assert_eq!(&read, &made);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // The key's name in the envelope is a hint that decides nothing; everything else does.
        if let Ok((read, _)) = Evidence::open(&bytes, &[key.verifying_key()]) {
            prop_assert_eq!(&read, &made);
        }
    }

    #[test]
    fn any_bytes_are_evidence_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let key = SigningKey::generate().unwrap();
        prop_assert!(Evidence::open(&bytes, &[key.verifying_key()]).is_err());
        prop_assert!(Evidence::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_document_is_read_within_its_limits_or_refused(points in points(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = serde_json::to_vec(&evidence(&points)).unwrap();
        let at = at.index(payload.len());
        payload[at] = byte;
        if let Ok(read) = Evidence::parse(&payload) {
            prop_assert!(read.settings.len() <= MOST_ROWS);
            prop_assert!(read.choice.is_none() || read.chosen().is_some());
        }
    }
}

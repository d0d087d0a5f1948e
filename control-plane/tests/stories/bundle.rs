//! What goes onto a stick is what would go over the network, and a stick that is not whole is made whole.

use std::path::Path;

use outpost_contract::bundle::BundleIndex;
use outpost_control::{Assignment, BundleError, BundleRequest, BundleSummary, FleetError};

use crate::site::{Device, Site, chunk_ids};

/// A release of one model, and a device that it is assigned to.
async fn site_with_model(content: &[u8]) -> (Site, Device) {
    let site = Site::start().await;
    site.release(Some(content)).await;
    let till = site.enrol("till-1").await;
    let (name, model) = (till.name.clone(), Some("demo".parse().unwrap()));
    let assignment = Assignment { model, minimum_context_tokens: 128 };
    site.fleet.run(move |fleet| fleet.assign(&name, &assignment)).await.unwrap();
    (site, till)
}

async fn export(site: &Site, stick: &Path, request: BundleRequest) -> Result<BundleSummary, FleetError> {
    let stick = stick.to_owned();
    site.fleet.run(move |fleet| fleet.export_bundle(&stick, &request)).await
}

fn index(stick: &Path) -> BundleIndex {
    BundleIndex::parse(&std::fs::read(stick.join("bundle.json")).unwrap()).unwrap()
}

fn content() -> Vec<u8> {
    (0..700_000_u32).map(|at| (at / 7 % 251) as u8).collect()
}

#[tokio::test]
async fn a_stick_carries_the_bytes_that_the_broker_would_and_every_chunk_of_the_model() {
    let (site, till) = site_with_model(&content()).await;
    let stick = tempfile::tempdir().unwrap();
    let summary = export(&site, stick.path(), BundleRequest::default()).await.unwrap();
    assert_eq!((summary.desired.len(), summary.present_bytes), (1, 0));

    let carried = std::fs::read(stick.path().join("desired/till-1.dsse")).unwrap();
    let mut link = site.connect(&till).await.unwrap();
    assert!(link.subscribe("op/1/acme/d/till-1/down/#").await);
    assert_eq!(link.hear().await.unwrap().payload, carried);

    let index = index(stick.path());
    let listed = index.desired_of(&"acme".parse().unwrap(), &till.name).unwrap();
    assert_eq!((listed.bytes, listed.blake3.0), (carried.len() as u64, *blake3::hash(&carried).as_bytes()));
    let chunks: Vec<_> = std::fs::read_dir(stick.path().join("chunks")).unwrap().map(Result::unwrap).collect();
    assert_eq!(chunks.len() as u64, index.chunks);
    for chunk in &chunks {
        let bytes = std::fs::read(chunk.path()).unwrap();
        assert_eq!(chunk.file_name().to_str(), Some(&*blake3::hash(&bytes).to_hex()));
    }
    let joined = chunk_ids(&content())
        .into_iter()
        .flat_map(|id| std::fs::read(stick.path().join("chunks").join(id.to_hex())).unwrap());
    assert!(joined.eq(content()));
}

#[tokio::test]
async fn a_stick_is_brought_up_to_date_and_only_what_is_missing_or_damaged_is_copied() {
    let (site, _) = site_with_model(&content()).await;
    let stick = tempfile::tempdir().unwrap();
    let all = export(&site, stick.path(), BundleRequest::default()).await.unwrap().copied_bytes;
    assert_eq!(export(&site, stick.path(), BundleRequest::default()).await.unwrap().copied_bytes, 0);

    // Pulled out in the middle: no table of contents, one chunk cut, one that was changed, one never written.
    let ids: Vec<_> = chunk_ids(&content()).iter().map(|id| stick.path().join("chunks").join(id.to_hex())).collect();
    let lengths: Vec<_> = ids.iter().map(|path| std::fs::metadata(path).unwrap().len()).collect();
    std::fs::remove_file(stick.path().join("bundle.json")).unwrap();
    std::fs::File::options().write(true).open(&ids[0]).unwrap().set_len(9).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
    std::fs::write(&ids[1], vec![7; usize::try_from(lengths[1]).unwrap()]).unwrap();
    std::fs::remove_file(&ids[2]).unwrap();
    // A link that never ends, in the place of a desired state: replaced, not followed.
    let desired = stick.path().join("desired/till-1.dsse");
    std::fs::remove_file(&desired).unwrap();
    std::os::unix::fs::symlink("/dev/full", &desired).unwrap();
    let again = export(&site, stick.path(), BundleRequest::default()).await.unwrap();
    assert_eq!(again.copied_bytes, lengths.iter().take(3).sum::<u64>());
    assert_eq!(again.copied_bytes + again.present_bytes, all);
    assert!(std::fs::symlink_metadata(&desired).unwrap().is_file());

    let light = tempfile::tempdir().unwrap();
    let request = BundleRequest { without_models: true, ..BundleRequest::default() };
    let light = export(&site, light.path(), request).await.unwrap();
    assert_eq!(light.copied_bytes + lengths.iter().sum::<u64>(), all);
}

#[tokio::test]
async fn a_stick_is_for_the_devices_that_were_named_and_never_replaces_what_belongs_to_others() {
    let (site, _) = site_with_model(&content()).await;
    let spare = site.enrol("spare").await;
    let stick = tempfile::tempdir().unwrap();
    let named = |name: &str| BundleRequest { devices: vec![name.parse().unwrap()], ..BundleRequest::default() };
    let nothing = export(&site, stick.path(), named("spare")).await;
    assert!(matches!(nothing, Err(FleetError::Bundle(BundleError::NothingSigned(device))) if device == spare.name));
    let unknown = export(&site, stick.path(), named("stranger")).await;
    assert!(matches!(unknown, Err(FleetError::UnknownDevice(_))));
    assert!(!stick.path().join("bundle.json").exists());

    export(&site, stick.path(), named("till-1")).await.unwrap();
    let path = stick.path().join("bundle.json");
    let theirs = std::fs::read_to_string(&path).unwrap().replace("\"acme\"", "\"other\"");
    #[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
    std::fs::write(&path, &theirs).unwrap();
    let refused = export(&site, stick.path(), named("till-1")).await;
    assert!(matches!(refused, Err(FleetError::Bundle(BundleError::OtherTenant(..)))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);

    // A revoked device gets nothing by hand either.
    let stick = tempfile::tempdir().unwrap();
    site.fleet.run(|fleet| fleet.revoke(&"till-1".parse().unwrap())).await.unwrap();
    let revoked = export(&site, stick.path(), BundleRequest::default()).await;
    assert!(matches!(revoked, Err(FleetError::Bundle(BundleError::Nothing))));
}

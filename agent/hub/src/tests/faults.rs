//! Must show: whatever a hub does wrong, one fault a test; the table of them stands in this crate's README.

use std::time::Duration;

use super::fake::Manners;
use super::*;

/// Fetches the large file from a hub of these manners.
async fn outcome(manners: Manners) -> (Result<Fetched, HubError>, FakeHub, tempfile::TempDir) {
    let (hub, dir) = hub(manners);
    let fetched = fetch_from(&hub, dir.path(), &[]).await;
    (fetched, hub, dir)
}

fn is_whole(fetched: &Result<Fetched, HubError>) -> bool {
    fetched.as_ref().is_ok_and(|fetched| std::fs::read(&fetched.files[0].path).unwrap() == file())
}

#[tokio::test]
async fn who_is_asked_to_wait_waits_in_seconds_or_until_a_date_and_then_has_it() {
    // The date is held against the hub's own, not against the clock of this box.
    let date = "Date: Thu, 27 Nov 1986 08:00:00 GMT\r\nRetry-After: Thu, 27 Nov 1986 08:00:01 GMT\r\n";
    for headers in ["Retry-After: 1\r\n", date, "RateLimit: \"resolvers\";r=0;t=1\r\n"] {
        let began = std::time::Instant::now();
        let (fetched, hub, _dir) = outcome(Manners { refusals: vec![(429, headers)], ..Manners::default() }).await;
        assert!(is_whole(&fetched), "{headers}: {fetched:?}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{headers}: it did not wait");
        assert_eq!(hub.seen().requests.len(), 3, "refused once, listing, file");
    }
}

#[tokio::test]
async fn who_is_asked_to_wait_for_an_hour_is_told_so_instead() {
    let (fetched, hub, _dir) =
        outcome(Manners { refusals: vec![(429, "Retry-After: 3600\r\n")], ..Manners::default() }).await;
    let said = fetched.unwrap_err().to_string();
    assert!(said.contains("429") && said.contains("asks for 3600 s"), "{said}");
    assert_eq!(hub.seen().requests.len(), 1, "it is left alone");
}

#[tokio::test]
async fn a_fault_of_the_hub_that_passes_is_waited_for_and_one_that_stays_is_told() {
    for status in [500, 502, 503, 504] {
        let (fetched, _hub, _dir) = outcome(Manners { refusals: vec![(status, ""); 2], ..Manners::default() }).await;
        assert!(is_whole(&fetched), "{status}: {fetched:?}");
        let (fetched, hub, _dir) = outcome(Manners { refusals: vec![(status, ""); 9], ..Manners::default() }).await;
        let said = fetched.unwrap_err().to_string();
        assert!(said.contains(&status.to_string()) && said.contains("the fault is there"), "{said}");
        assert_eq!(hub.seen().requests.len(), 3, "{status}: tries are limited");
    }
    let (fetched, hub, _dir) = outcome(Manners { refusals: vec![(400, ""); 9], ..Manners::default() }).await;
    assert!(fetched.is_err());
    assert_eq!(hub.seen().requests.len(), 1, "what will not pass is not tried again");
}

#[tokio::test]
async fn a_connection_that_is_cut_before_the_answer_is_made_anew() {
    let (fetched, _hub, _dir) = outcome(Manners { hangs_up: 2, ..Manners::default() }).await;
    assert!(is_whole(&fetched), "{fetched:?}");
    let (fetched, hub, _dir) = outcome(Manners { hangs_up: 99, ..Manners::default() }).await;
    assert!(matches!(fetched, Err(HubError::Unreachable { .. })), "{fetched:?}");
    assert_eq!(hub.seen().requests.len(), 3);
}

#[tokio::test]
async fn a_trickle_is_cut_gone_on_from_and_given_up_when_it_stays_one() {
    let (hub, dir) = hub(Manners { trickle: Some((100, Duration::from_millis(100))), ..Manners::default() });
    let said = fetch_from(&hub, dir.path(), &[]).await.unwrap_err();
    assert!(matches!(&said, HubError::BrokeOff { done, .. } if *done > 0), "{said:?}");
    assert!(said.to_string().contains("less than 1 KiB came"), "{said}");
    assert!(hub.seen().requests.len() >= 4, "it was tried again from where it stopped");
    hub.seen().manners.trickle = None;
    assert!(is_whole(&fetch_from(&hub, dir.path(), &[]).await));
}

#[tokio::test]
async fn a_gated_repository_says_whose_terms_are_to_be_accepted_and_where() {
    for (code, without, with) in [
        ("GatedRepo", "accept its terms on the model's page, then set `HF_TOKEN`", "accept them on the model's page"),
        ("RepoNotFound", "or it is private: set `HF_TOKEN`", "or the token does not open it"),
        ("", "set `HF_TOKEN`, or write the token file", "the token does not open it"),
    ] {
        let (hub, _dir) = hub(Manners { gated: Some(code), ..Manners::default() });
        for (token, hint, status) in [(None, without, "401"), (Some("hf_denied".to_owned()), with, "403")] {
            let access = HubAccess::new(&hub.address, token).unwrap().with_patience(quick());
            let asked = Hub::new(access).unwrap();
            let refusal = asked.repository(&"hf:tiny/model".parse().unwrap()).await.unwrap_err().to_string();
            assert!(refusal.contains(status) && refusal.contains(hint), "{code}: {refusal}");
            assert!(!refusal.contains("hf_denied"), "{refusal}");
        }
        assert_eq!(hub.seen().requests.len(), 2, "{code}: nobody asks again");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (hub, dir) = hub(Manners::default());
    for (status, code, hint) in [
        (404, "X-Error-Code: RevisionNotFound\r\n", "no such revision"),
        (404, "X-Error-Code: RepoNotFound\r\n", "no such repository"),
        (404, "", "is the name right"),
    ] {
        hub.seen().manners.refusals = vec![(status, code)];
        let said = fetch_from(&hub, dir.path(), &[]).await.unwrap_err().to_string();
        assert!(
            said.contains("404") && said.contains("`hf:tiny/model@main`") | said.contains("hf:tiny/model@main"),
            "{said}"
        );
        assert!(said.contains(hint), "{said}");
    }
    hub.seen().files.pop();
    let said = fetch_from(&hub, dir.path(), &[]).await.unwrap_err().to_string();
    assert!(said.contains("`q4/tiny-Q4_0.gguf`") && said.contains("no such file"), "{said}");
}

#[tokio::test]
async fn a_part_that_is_longer_than_what_the_store_has_is_forgotten() {
    let (hub, dir) = hub(Manners::default());
    std::fs::create_dir(dir.path().join("q4")).unwrap();
    std::fs::write(dir.path().join("q4/tiny-Q4_0.gguf.part"), &file()[..600_000]).unwrap();
    hub.seen().files[LARGE].bytes.truncate(500_000);
    let said = fetch_from(&hub, dir.path(), &[]).await.unwrap_err();
    assert!(matches!(said, HubError::Other { .. }), "{said:?}");
    assert!(names(dir.path()).is_empty());
}

#[tokio::test]
async fn a_full_disk_is_said_before_a_byte_is_asked_for() {
    let (hub, dir) = hub(Manners::default());
    hub.seen().listing["siblings"][LARGE]["lfs"]["size"] = json!(1_u64 << 55);
    let access = HubAccess::new(&hub.address, None).unwrap().with_patience(quick());
    let asked = Hub::new(access).unwrap();
    let repository = asked.repository(&"hf:tiny/model".parse().unwrap()).await.unwrap();
    let file = repository.chosen(&[], u64::MAX).unwrap()[0];
    let path = repository.place(dir.path(), file);
    let said = repository.fetch(file, &path, |_| ()).await.unwrap_err().to_string();
    assert!(said.contains("no room") && said.contains("are free"), "{said}");
    assert_eq!(hub.seen().requests.len(), 1, "the listing alone");
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_is_told_apart_from_other_trouble() {
    let full = files::failed("write", Path::new("x.part"))(std::io::ErrorKind::StorageFull.into());
    assert!(matches!(full, HubError::Full { .. }) && full.to_string().contains("goes on from there"), "{full}");
    let other = files::failed("write", Path::new("x.part"))(std::io::ErrorKind::PermissionDenied.into());
    assert!(matches!(other, HubError::File { .. }), "{other}");
}

#[tokio::test]
async fn how_a_file_begins_is_kept_and_gone_on_from() {
    for no_ranges in [false, true] {
        let (hub, dir) = hub(Manners { no_ranges, breaks: Some((700, 1)), ..Manners::default() });
        let access = HubAccess::new(&hub.address, None).unwrap().with_patience(quick());
        let asked = Hub::new(access).unwrap();
        let repository = asked.repository(&"hf:tiny/model".parse().unwrap()).await.unwrap();
        let wanted = repository.chosen(&[], u64::MAX).unwrap()[0];
        let path = repository.place(dir.path(), wanted);
        for bytes in [1000, 5000, 3000] {
            let begins = repository.beginning(wanted, &path, bytes).await.unwrap();
            assert_eq!(begins, &file()[..usize::try_from(bytes).unwrap()], "{no_ranges}");
        }
        let (_, resumed) = repository.fetch(wanted, &path, |_| ()).await.unwrap();
        assert_eq!((resumed, std::fs::read(&path).unwrap() == file()), (5000, true));
        let before = hub.seen().requests.len();
        assert_eq!(repository.beginning(wanted, &path, 9).await.unwrap(), &file()[..9]);
        assert_eq!(hub.seen().requests.len(), before, "it is here");
    }
}

//! The generated Rust client against a server that runs: it enrols, assigns and lists; what is sent twice is done once.

use outpost_client::{
    Assignment, Client, ClientError, ListDevices, NewApiToken, Options, Site as WantedSite, WantedCode, WantedGroup,
};

use crate::site::{Site, new_key};

fn client(site: &Site, roles: &[&str]) -> Client {
    let roles: Vec<_> = roles.iter().map(|role| (*role).to_owned()).collect();
    let name = format!("client-{}", roles.join("-"));
    let token = site.fleet.create_api_token(&name, &roles, &[], 1).unwrap();
    Client::new(site.https(None), &site.running().url(), &token)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (u16, String) {
    match answer {
        Err(ClientError::Refused { status, code, .. }) => (status, code),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_client_written_from_the_description_runs_a_fleet() {
    let mut site = Site::start().await;
    site.release(Some(&[7; 1000])).await;
    let control = client(&site, &["administrator"]);
    let always = Options::default();
    assert_eq!(control.health(&always).await.unwrap().value.status, "ok");

    // A code is made once, however often it is asked for with one key, also of a server that started anew.
    let (wanted, once) = (WantedCode { device: "till-1".to_owned(), valid_s: None }, Options::once("order-4711"));
    let code = control.create_code(&wanted, &once).await.unwrap();
    assert!(!code.is_replayed);
    site.restart().await;
    let again = control.create_code(&wanted, &once).await.unwrap();
    assert_eq!((&again.value, again.is_replayed), (&code.value, true));
    let identity = site.ask(&code.value.code, &new_key()).await.unwrap();
    assert_eq!(identity.device.as_str(), "till-1");
    site.enrol("till-2").await;

    let known = control.show_assignment("till-1", &always).await.unwrap();
    let assignment = Assignment { model: Some("demo".to_owned()), minimum_context_tokens: 128 };
    let unless_changed = Options::unless_changed(known.tag.as_deref().unwrap());
    let assigned = control.assign("till-1", &assignment, &unless_changed).await.unwrap().value;
    assert_eq!((assigned.assignment.unwrap().model.as_deref(), assigned.desired_version > 0), (Some("demo"), true));
    let overtaken = control.assign("till-1", &assignment, &unless_changed).await;
    assert_eq!(refused(overtaken), (412, "precondition_failed".to_owned()));

    let at = WantedSite { site: Some("store-12".to_owned()) };
    assert_eq!(control.set_site("till-1", &at, &always).await.unwrap().value.site.as_deref(), Some("store-12"));
    let group = WantedGroup {
        name: "canary".to_owned(),
        selector: Some("site = store-12".to_owned()),
        description: None,
        members: None,
    };
    control.put_group("canary", &group, &always).await.unwrap();
    let chosen = ListDevices { r#where: Some("group = canary".to_owned()), ..ListDevices::default() };
    let devices = control.list_devices(&chosen, &always).await.unwrap().value;
    assert_eq!(devices.entries.iter().map(|one| one.device.as_str()).collect::<Vec<_>>(), ["till-1"]);

    // Every device once, a page at a time.
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = ListDevices { after, limit: Some(1), ..ListDevices::default() };
        let page = control.list_devices(&page, &always).await.unwrap().value;
        names.extend(page.entries.into_iter().map(|one| one.device));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["till-1", "till-2"]);
    let shown = control.show_inventory("till-2", &always).await.unwrap();
    let unchanged = control.show_inventory("till-2", &Options::if_new(shown.tag.as_deref().unwrap())).await;
    assert!(matches!(unchanged, Err(ClientError::Unchanged)), "{unchanged:?}");

    assert_eq!(refused(control.show_device("../people", &always).await).0, 400);
    assert_eq!(refused(control.show_device("till-9", &always).await), (404, "unknown_device".to_owned()));
    let viewer = client(&site, &["viewer"]);
    let token =
        NewApiToken { name: "mine".to_owned(), roles: vec!["administrator".to_owned()], scope: None, days: None };
    assert_eq!(refused(viewer.create_api_token(&token, &always).await), (403, "forbidden".to_owned()));
    let made = control.create_api_token(&token, &always).await.unwrap().value;
    let stranger = Client::new(site.https(None), &site.running().url(), &format!("{}0", made.token));
    assert_eq!(refused(stranger.overview(&always).await), (401, "unauthenticated".to_owned()));
}

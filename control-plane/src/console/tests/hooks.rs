//! Webhooks with forms: made, tried, paused and removed by those who administer, with a receiver on this machine.

use super::*;
use crate::signals::NewWebhook;

/// A console whose webhooks may go to this machine.
fn console() -> Console {
    Console::with(|config| {
        config.webhooks.allow = vec!["127.0.0.0/8".parse().unwrap()];
        config.webhooks.http = true;
    })
}

/// Somebody who answers with this, whatever comes.
async fn receiver(status: StatusCode) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/", axum::routing::post(move || async move { status }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

fn typed(name: &str, url: &str, kinds: &str) -> String {
    let pairs = [("name", name), ("url", url), ("kinds", kinds)];
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

const HOOKS: &str = "/console/webhooks";
const PAGER: &str = "/console/webhooks/pager";

#[tokio::test]
async fn a_webhook_is_made_with_its_secret_shown_once_tried_paused_and_removed() {
    let console = console();
    let made = console.post(HOOKS, &typed("pager", &receiver(StatusCode::OK).await, "device.*, audit.incident")).await;
    assert_eq!((made.status(), made.headers()[header::CACHE_CONTROL].to_str().unwrap()), (StatusCode::OK, "no-store"));
    let made = text(made).await;
    check("made", &made);
    let secret = made.split("<pre class=\"command\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && made.matches(&secret).count() == 1, "{made}");
    for page in [HOOKS, PAGER] {
        let page = console.get(page).await;
        check("later", &page);
        assert!(!page.contains(&secret) && page.contains("device.*, audit.incident"), "{page}");
    }
    let tested = console.post(&format!("{PAGER}/test"), "").await;
    assert_eq!(tested.status(), StatusCode::OK);
    let tested = text(tested).await;
    check("tested", &tested);
    assert!(tested.contains("The receiver took it") && tested.contains("badge good\">200<"), "{tested}");

    let paused = console.post(&format!("{PAGER}/pause"), "").await;
    assert_eq!(paused.headers()[header::LOCATION], "/console/webhooks/pager?done=hook-paused");
    let page = console.get(PAGER).await;
    assert!(page.contains("administrator paused it") && page.contains("stands still") && !page.contains("/pause\""));
    assert!(console.get(HOOKS).await.contains("stands still"));
    let goes_on = console.post(&format!("{PAGER}/retry"), "").await;
    assert_eq!(goes_on.headers()[header::LOCATION], "/console/webhooks/pager?done=hook-goes-on");
    assert!(console.get(PAGER).await.contains("badge good\">well<"));

    let stays = console.post(&format!("{PAGER}/remove"), "confirm=other").await;
    assert_eq!(stays.status(), StatusCode::BAD_REQUEST);
    let stays = text(stays).await;
    check("stays", &stays);
    assert!(stays.contains("id=\"problem-confirm\" role=\"alert\"") && stays.contains("the webhook stays"), "{stays}");
    let removed = console.post(&format!("{PAGER}/remove"), "confirm=pager").await;
    assert_eq!(removed.headers()[header::LOCATION], "/console/webhooks?done=hook-removed");
    assert!(console.get("/console/webhooks?done=hook-removed").await.contains("No webhook yet."));
    for act in ["", "/test", "/pause", "/retry", "/remove"] {
        let refused = match act {
            "" => {
                let asked = Request::get(PAGER).header(header::AUTHORIZATION, format!("Bearer {}", console.token));
                console.ask(asked, "").await
            }
            act => console.post(&format!("{PAGER}{act}"), "confirm=pager").await,
        };
        assert_eq!(refused.status(), StatusCode::NOT_FOUND, "{act}");
        check(act, &text(refused).await);
    }
}

#[tokio::test]
async fn what_cannot_be_made_is_said_beside_its_field_and_what_was_typed_stays() {
    let console = console();
    console.post(HOOKS, &typed("taken", "https://pager.example/", "")).await;
    for (field, name, url, kinds, words) in [
        ("name", "Pager!", "https://pager.example/", "", "no name for a webhook"),
        ("name", HOSTILE, "https://pager.example/", "", "no name for a webhook"),
        ("name", "taken", "https://pager.example/", "", "there is a webhook `taken` already"),
        ("url", "pager", "https://10.0.0.1/", "", "not a public address"),
        ("url", "pager", "https://169.254.169.254/latest", "", "not a public address"),
        ("url", "pager", HOSTILE, "", "no address to send to"),
        ("kinds", "pager", "https://pager.example/", "device", "kinds are written as"),
        ("kinds", "pager", "https://pager.example/", HOSTILE, "kinds are written as"),
    ] {
        let refused = console.post(HOOKS, &typed(name, url, kinds)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{field} {words}");
        let page = text(refused).await;
        check("refused", &page);
        assert!(page.contains(words), "{words}: {page}");
        let input = page.split(&format!("<input id=\"{field}\"")).nth(1).unwrap().split('>').next().unwrap();
        assert!(input.contains(&format!("aria-describedby=\"problem-{field}")), "{input}");
        assert!(page.contains(&format!("id=\"problem-{field}\" role=\"alert\"")) && !page.contains("whsec_"), "{page}");
    }
    assert_eq!(console.fleet.webhooks().unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_in_its_own_words_and_hostile_ones_are_only_shown() {
    let console = console();
    let url = receiver(StatusCode::SERVICE_UNAVAILABLE).await;
    console.fleet.add_webhook(&NewWebhook { name: "pager".into(), url, kinds: Vec::new() }).unwrap();
    let tested = text(console.post(&format!("{PAGER}/test"), "").await).await;
    check("tested", &tested);
    assert!(tested.contains("the receiver answered 503") && tested.contains("badge bad\">503<"), "{tested}");
    let written = console.fleet.inner.database.write(|connection| {
        for sql in [
            "UPDATE webhooks SET url = ?1, kinds = ?1, failures = 3, due_s = 1800000090",
            "INSERT INTO webhook_deliveries (hook, attempt, number, at_s, status, took_ms, error) VALUES ('pager', 1, 7, 1, 500, 3, ?1)",
            "INSERT INTO webhook_dead (hook, number, at_s, why) VALUES ('pager', 6, 1, ?1)",
        ] {
            connection.execute(sql, params![HOSTILE])?;
        }
        Ok(())
    });
    written.unwrap();
    for path in [HOOKS, PAGER] {
        let page = console.get(path).await;
        check(path, &page);
        assert!(
            page.contains("3 attempts failed; the next one is in 90 s") && page.contains("&lt;script&gt;"),
            "{page}"
        );
    }
    assert!(console.get(PAGER).await.contains("Try again now"));
    let plant = "UPDATE webhooks SET name = ?1, disabled = ?1";
    console.fleet.inner.database.write(|connection| Ok(connection.execute(plant, params![HOSTILE])?)).unwrap();
    check("planted", &console.get(HOOKS).await);
}

#[tokio::test]
async fn who_does_not_administer_sees_no_webhook_and_changes_none() {
    let console = console();
    console
        .fleet
        .add_webhook(&NewWebhook { name: "pager".into(), url: "https://pager.example/".into(), kinds: vec![] })
        .unwrap();
    assert!(console.get("/console").await.contains("href=\"/console/webhooks\""));
    for role in ["operator", "approver", "auditor", "viewer"] {
        let other = console.seen_by(role);
        assert!(!other.get("/console").await.contains("/console/webhooks"), "{role} is shown a way there");
        for path in [HOOKS, PAGER] {
            let asked = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {}", other.token));
            let refused = other.ask(asked, "").await;
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{role}: {path}");
            assert!(!text(refused).await.contains("pager.example"), "{role}: {path}");
        }
        for (path, form) in [
            (HOOKS.to_owned(), typed("other", "https://pager.example/", "")),
            (format!("{PAGER}/test"), String::new()),
            (format!("{PAGER}/pause"), String::new()),
            (format!("{PAGER}/retry"), String::new()),
            (format!("{PAGER}/remove"), "confirm=pager".to_owned()),
        ] {
            assert_eq!(other.post(&path, &form).await.status(), StatusCode::FORBIDDEN, "{role}: {path}");
        }
    }
    let hooks = console.fleet.webhooks().unwrap();
    assert_eq!((hooks.len(), &hooks[0].disabled), (1, &None));
}

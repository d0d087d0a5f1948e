//! Who may act on the fleet; so far the page says who is signed in.

use axum::extract::State;
use axum::response::Html;
use maud::html;

use super::layout::{self, Section};
use super::viewer::{PageError, Viewer};
use crate::fleet::Fleet;
use crate::people::Act;

pub(super) async fn show(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Html<String>, PageError> {
    fleet.run_as(viewer.actor.clone(), Act::See, "people", |_| Ok(())).await?;
    let body = html! {
        section.card {
            h2 { "You" }
            dl { dt { "Name" } dd { (viewer.actor.name) } }
        }
    };
    Ok(layout::page(&viewer, "People", Section::People, body))
}

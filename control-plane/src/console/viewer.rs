//! Who looks at a page, in which colours, and what a page says when it cannot be shown.

use axum::extract::FromRequestParts;
use axum::extract::rejection::{ExtensionRejection, FormRejection, PathRejection, QueryRejection};
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use super::format;
use super::layout::{self, Notice, Section};
use crate::api::{ApiError, Operator, from_fleet};
use crate::fleet::{Fleet, FleetError};
use crate::people::{Act, Actor};

/// Longest words about why there is no page, characters.
const MOST_WORDS: usize = 2000;

/// The person before the page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    pub(super) actor: Actor,
    pub(super) theme: Theme,
    /// What was just done, as the address says it.
    pub(super) notice: Option<Notice>,
}

/// Light or dark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Theme {
    /// As the system is.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::System, Self::Light, Self::Dark].into_iter().find(|theme| theme.name() == name)
    }

    pub(super) fn from_cookies(headers: &HeaderMap) -> Self {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).map(str::trim);
        pairs.find_map(|pair| Self::from_name(pair.strip_prefix("theme=")?)).unwrap_or_default()
    }
}

impl Viewer {
    /// Whether a button for `act` is shown. The fleet decides again when it is pressed.
    pub(super) fn may(&self, act: Act) -> bool {
        self.actor.may(act)
    }
}

impl FromRequestParts<Fleet> for Viewer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, fleet: &Fleet) -> Result<Self, PageError> {
        let Operator(actor) = Operator::from_request_parts(parts, fleet).await.map_err(PageError::Api)?;
        let said = parts.uri.query().unwrap_or_default().split('&');
        let notice = said.filter_map(|pair| pair.strip_prefix("done=")).find_map(Notice::from_name);
        Ok(Self { actor, theme: Theme::from_cookies(&parts.headers), notice })
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// Nobody known asks, or the request is refused before the page is reached.
    Api(ApiError),
    /// The address or the form cannot be read.
    Unreadable { status: StatusCode, message: String },
    /// The fleet refused or failed.
    Fleet(FleetError),
}

impl From<FleetError> for PageError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(error)
    }
}

macro_rules! unreadable {
    ($($rejection:ty),+) => {$(
        impl From<$rejection> for PageError {
            fn from(rejection: $rejection) -> Self {
                Self::Unreadable { status: rejection.status(), message: rejection.body_text() }
            }
        }
    )+};
}

unreadable!(ExtensionRejection, FormRejection, PathRejection, QueryRejection);

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Api(ApiError::Unauthenticated(_)) => return Redirect::to("/login").into_response(),
            Self::Api(ApiError::Fleet(error)) | Self::Fleet(error) => {
                let (status, _, message) = from_fleet(error);
                (status, message)
            }
            Self::Api(other) => return other.into_response(),
            Self::Unreadable { status, message } => (status, message),
        };
        let body = html! {
            section.card {
                p.lead { (format::shown(&message, MOST_WORDS)) }
                p { a href="/console" { "Back to the overview" } }
            }
        };
        let title = if status.is_server_error() { "Something failed here" } else { "That cannot be done" };
        (status, layout::bare(title, Section::Overview, body)).into_response()
    }
}

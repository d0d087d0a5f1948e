//! Forms as a page takes them: what was sent with who sent it, and a mistake beside its field.

use axum::Form;
use axum::extract::{FromRequest, FromRequestParts, Request};
use maud::{Markup, html};
use serde::de::DeserializeOwned;

use super::format;
use super::viewer::{PageError, Viewer};
use crate::fleet::Fleet;

/// Longest words about a mistake, characters.
const WORDS: usize = 600;

/// A form that somebody sent. Who sends it is looked at before anything of it is read.
#[derive(Debug)]
pub(super) struct Sent<F, W = Viewer> {
    /// Who sent it.
    pub(super) by: W,
    pub(super) fleet: Fleet,
    pub(super) form: F,
}

impl<F, W> FromRequest<Fleet> for Sent<F, W>
where
    F: DeserializeOwned,
    W: FromRequestParts<Fleet, Rejection = PageError> + Send,
{
    type Rejection = PageError;

    async fn from_request(request: Request, fleet: &Fleet) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let by = W::from_request_parts(&mut parts, fleet).await?;
        let Form(form) = Form::from_request(Request::from_parts(parts, body), fleet).await?;
        Ok(Self { by, fleet: fleet.clone(), form })
    }
}

/// What is wrong with what somebody typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The field that it is about.
    pub(super) field: &'static str,
    pub(super) message: String,
}

impl Mistake {
    pub(super) fn new(field: &'static str, message: impl ToString) -> Self {
        Self { field, message: message.to_string() }
    }
}

/// What stands beside a field: nothing, or what is wrong with it, for whoever sees it and whoever hears it.
#[derive(Debug)]
pub(super) struct Beside {
    /// The words' name, which the field is described by.
    id: Option<String>,
    /// The words.
    pub(super) words: Markup,
}

impl Beside {
    /// What stands beside `field`.
    pub(super) fn of(mistake: Option<&Mistake>, field: &str) -> Self {
        match mistake {
            Some(mistake) if mistake.field == field => {
                let id = format!("problem-{field}");
                // A selector is shown with a mark below its fault, which wants letters of one width.
                let is_drawn = mistake.message.contains('\n');
                let words = html! {
                    p.misread.code[is_drawn] id=(id) role="alert" { (format::shown(&mistake.message, WORDS)) }
                };
                Self { id: Some(id), words }
            }
            _ => Self { id: None, words: html! {} },
        }
    }

    /// Whether something is wrong.
    pub(super) fn is_wrong(&self) -> bool {
        self.id.is_some()
    }

    /// The value of the field's `aria-invalid`.
    pub(super) fn invalid(&self) -> Option<&'static str> {
        self.id.as_ref().map(|_| "true")
    }

    /// The value of the field's `aria-describedby`: the mistake, then the hint that it always has.
    pub(super) fn described(&self, hint: Option<&str>) -> Option<String> {
        let names: Vec<&str> = self.id.as_deref().into_iter().chain(hint).collect();
        (!names.is_empty()).then(|| names.join(" "))
    }
}

/// What was typed, as it stands in its field again.
pub(super) fn again(typed: &str) -> String {
    format::shown(typed, 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_stands_beside_its_field_alone_and_is_only_words() {
        let mistake = Mistake::new("until", "<b>\u{202e}no day");
        let (beside, other) = (Beside::of(Some(&mistake), "until"), Beside::of(Some(&mistake), "note"));
        assert_eq!(beside.described(Some("until-hint")).as_deref(), Some("problem-until until-hint"));
        assert_eq!((beside.invalid(), beside.is_wrong()), (Some("true"), true));
        let words = beside.words.into_string();
        assert!(words.contains("id=\"problem-until\" role=\"alert\">&lt;b&gt;no day<"), "{words}");
        assert_eq!((other.described(None), other.invalid(), other.is_wrong()), (None, None, false));
        assert!(other.words.into_string().is_empty());
    }
}

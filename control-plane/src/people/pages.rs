//! The pages of signing in, in the console's style: without scripts, and every word of them ours.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::console::{STYLE_PATH, mark};

/// What a browser may do with them: show them in our style, and send their forms back.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'";

/// What is wrong, for whoever sees the page and for whoever hears it.
const PROBLEM: &str = "problem";

/// How a page looks and what it tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look<'a> {
    /// The colours that the browser's cookie asks for.
    pub(crate) theme: &'a str,
    /// What went wrong; empty if nothing did.
    pub(crate) message: &'a str,
    /// How the button of the provider goes on, if there is one.
    pub(crate) provider: Option<&'a str>,
}

/// The form that signs in.
pub(crate) fn sign_in(look: Look<'_>) -> String {
    let told = (!look.message.is_empty()).then_some(PROBLEM);
    let body = html! {
        @if let Some(provider) = look.provider {
            p { a.button.primary.whole href="/login/oidc" { "Sign in with " (provider) } }
            p.or { span { "or with a password of this fleet" } }
        }
        form method="post" action="/login" {
            label for="name" { "Name" }
            input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required
                maxlength="64" aria-describedby=[told] aria-invalid=[told.map(|_| "true")];
            label for="password" { "Password" }
            input id="password" name="password" type="password" autocomplete="current-password" required
                aria-describedby=[told] aria-invalid=[told.map(|_| "true")];
            label for="code" { "Code" }
            input id="code" name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck="false" maxlength="64"
                aria-describedby="code-hint";
            p.hint #code-hint { "Of your authenticator, or a recovery code, if you were given one." }
            button.whole.primary[look.provider.is_none()] type="submit" { "Sign in" }
        }
        p.small.below { "New here? " a href="/login/first" { "Set your password with a one-time code" } "." }
    };
    page("Sign in", look, &body)
}

/// The form that sets a password with a one-time code.
pub(crate) fn first(look: Look<'_>) -> String {
    let told = (!look.message.is_empty()).then_some(PROBLEM);
    let about_password = if told.is_some() { "password-hint problem" } else { "password-hint" };
    let body = html! {
        form method="post" action="/login/first" {
            label for="name" { "Name" }
            input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required
                maxlength="64" aria-describedby=[told] aria-invalid=[told.map(|_| "true")];
            label for="code" { "One-time code" }
            input id="code" name="code" autocomplete="off" autocapitalize="none" spellcheck="false" required maxlength="64"
                aria-describedby={"first-hint" @if told.is_some() { " " (PROBLEM) }} aria-invalid=[told.map(|_| "true")];
            p.hint #first-hint { "From whoever entered you; it is good for 24 hours, and once." }
            label for="password" { "New password" }
            input id="password" name="password" type="password" autocomplete="new-password" minlength="12" maxlength="256"
                required aria-describedby=(about_password) aria-invalid=[told.map(|_| "true")];
            p.hint #password-hint { "12 characters or more, without your name." }
            button.primary.whole type="submit" { "Set password" }
        }
        p.small.below { "You have one? " a href="/login" { "Sign in" } "." }
    };
    page("Set your password", look, &body)
}

/// What a browser sees on its way from the provider into the console. A redirect would not do: it belongs to the provider's page,
/// and a cookie that is for no other site's requests stays at home.
pub(crate) fn welcome(look: Look<'_>) -> String {
    let body = html! {
        p.lead { "The console opens." }
        p { a.button.primary.whole href="/console" { "Go on" } }
    };
    let head = html! { meta http-equiv="refresh" content="0;url=/console"; };
    framed("You are signed in", look, &head, &body)
}

/// An error's words as a sentence.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

fn page(title: &str, look: Look<'_>, body: &Markup) -> String {
    framed(title, look, &PreEscaped(String::new()), body)
}

fn framed(title: &str, look: Look<'_>, head: &Markup, body: &Markup) -> String {
    let theme = if look.theme.is_empty() { "system" } else { look.theme };
    let page = html! {
        (DOCTYPE)
        html lang="en" data-theme=(theme) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                (head)
                title { (title) " · Outpost" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(*STYLE_PATH);
            }
            body.door {
                main id="content" {
                    p.brand { (mark()) "Outpost" }
                    section.card {
                        h1 { (title) }
                        @if !look.message.is_empty() { p.misread #problem role="alert" { (sentence(look.message)) } }
                        (body)
                    }
                }
            }
        }
    };
    page.into_string()
}

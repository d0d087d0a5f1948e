//! How a device stands, in a word and a colour; where the devices of a kind are listed.

use maud::{Markup, html};
use outpost_selector::Selector;
use url::form_urlencoded;

use super::format;
use super::layout::badge;
use crate::inventory::DeviceView;

/// Every state with its colour, from what is as it should be to what is over. The names are those of selectors.
pub(super) const STATES: [(&str, &str, &str); 10] = [
    ("in-step", "in step", "good"),
    ("pending", "on its way", "accent"),
    ("waiting", "waits", "violet"),
    ("refused", "refused", "warn"),
    ("differs", "runs something else", "orange"),
    ("ahead", "ahead of this database", "bad"),
    ("behind", "behind, out of reach", "dim"),
    ("never-seen", "never heard of", "faint"),
    ("not-assigned", "nothing assigned", "pale"),
    ("revoked", "revoked", "dark"),
];

/// The word and the colour of a state.
pub(super) fn shown(state: &str) -> (&str, &'static str) {
    STATES.iter().find(|(name, ..)| *name == state).map_or((state, "dim"), |(_, words, tone)| (*words, *tone))
}

/// The badge of a device's state.
pub(super) fn state(view: &DeviceView) -> Markup {
    let (words, tone) = shown(view.drift.state());
    badge(tone, words)
}

/// Whether a device is connected, and since when it is not.
pub(super) fn presence(view: &DeviceView, now_s: i64) -> Markup {
    let (tone, words) = match (view.online, view.seen_s) {
        (true, _) => ("good", "online".to_owned()),
        (false, Some(seen_s)) => ("dim", format!("off, seen {}", format::from_now(seen_s, now_s))),
        (false, None) => ("faint", "never seen".to_owned()),
    };
    html! { span.presence { span.dot.(tone) aria-hidden="true" {} (words) } }
}

/// A name out of a machine's table as people read it: `does_not_fit` is `does not fit`.
pub(super) fn plain(name: &str) -> String {
    format::shown(&name.replace('_', " "), 60)
}

/// Where the devices that a selector means are listed; nowhere, if a device's words made it one that cannot be read.
pub(super) fn devices_where(selector: &str) -> Option<String> {
    selector.parse::<Selector>().ok()?;
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("filter", selector).finish();
    Some(format!("/console/devices?{query}"))
}

/// A text as a value in a selector.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_selectors_has_a_word_and_a_colour() {
        for state in outpost_selector::STATES {
            assert!(STATES.iter().any(|(name, ..)| name == state), "{state}");
            assert!(devices_where(&format!("state={state}")).is_some());
        }
        assert_eq!(STATES.len(), outpost_selector::STATES.len());
    }

    #[test]
    fn what_a_device_calls_itself_leads_to_itself_or_nowhere() {
        for name in ["store-1", "a\"b\\c", "*", "\u{0}", ""] {
            if let Some(link) = devices_where(&format!("site={}", quoted(name))) {
                assert!(link.starts_with("/console/devices?filter=site%3D%22"), "{link}");
                assert!(!link.contains(['"', '<', '\\']), "{link}");
            }
        }
        assert_eq!(devices_where("nonsense"), None);
    }
}

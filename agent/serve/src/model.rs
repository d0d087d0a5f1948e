//! The model that a name means, as policies see it and as the queue calls it: found once for each request.

use outpost_policies::{ModelClass, ModelFacts, Resource};

use crate::ModelCard;
use crate::app::App;

/// What a name means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meant {
    /// By the name of what it was made from: no alias gets around a rule about a model. Of one that is not here nothing
    /// is known but its name.
    pub(crate) resource: Resource,
    /// What names it in the queue: all names of one file have the same slots.
    pub(crate) lane: String,
}

/// Finds the model that a name means. Asks the backend for its list, so once is enough.
pub(crate) async fn find(app: &App, name: &str) -> Meant {
    let cards = app.serving.backend.models().await;
    let Some(mut card) = called(&cards, name) else {
        let facts = ModelFacts { id: name.to_owned(), ..ModelFacts::default() };
        return Meant { resource: Resource::Model(facts), lane: name.to_owned() };
    };
    // A chain of parents is no longer than the list.
    for _ in 0..cards.len() {
        match card.parent.as_deref().and_then(|parent| called(&cards, parent)) {
            Some(parent) => card = parent,
            None => break,
        }
    }
    let lane = if card.file_sha256.is_empty() { &card.id } else { &card.file_sha256 };
    Meant { resource: resource(card), lane: lane.clone() }
}

/// The model that a file is; none if no file here has this digest.
pub(crate) async fn of_file(app: &App, sha256: &str) -> Option<Resource> {
    let cards = app.serving.backend.models().await;
    cards.iter().find(|card| card.parent.is_none() && card.file_sha256 == sha256).map(resource)
}

fn resource(card: &ModelCard) -> Resource {
    Resource::Model(ModelFacts {
        id: plain(card).to_owned(),
        licence: card.licence.clone(),
        family: card.family.clone(),
        quantisation: card.variant.clone(),
        class: ModelClass::of_parameters(card.parameters),
        // Whether it is approved is the bundle's to say.
        ..ModelFacts::default()
    })
}

/// The model of this name, with a tag or without; of several variants without a tag, one of them.
fn called<'a>(cards: &'a [ModelCard], name: &str) -> Option<&'a ModelCard> {
    let name = name.strip_suffix(":latest").unwrap_or(name);
    let tagged = |card: &ModelCard| is_tag(name.strip_prefix(plain(card)), &card.variant);
    let untagged = |card: &ModelCard| plain(card) == name;
    let first = |fits: &dyn Fn(&ModelCard) -> bool| cards.iter().find(|card| fits(card));
    first(&|card: &ModelCard| card.id == name).or_else(|| first(&tagged)).or_else(|| first(&untagged))
}

/// The name of a card's model: rules, limits and approvals name models, and of variants they say so by `quantisation`.
fn plain(card: &ModelCard) -> &str {
    match card.id.rfind(':').map(|colon| card.id.split_at(colon)) {
        Some((name, tag)) if is_tag(Some(tag), &card.variant) => name,
        _ => &card.id,
    }
}

/// Whether what follows a name names this variant.
fn is_tag(rest: Option<&str>, variant: &str) -> bool {
    let tag = rest.and_then(|rest| rest.strip_prefix(':'));
    tag.is_some_and(|tag| !tag.is_empty() && tag.eq_ignore_ascii_case(variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: &str, variant: &str) -> ModelCard {
        ModelCard { id: id.to_owned(), variant: variant.to_owned(), ..ModelCard::default() }
    }

    #[test]
    fn every_name_of_a_model_is_the_models_to_a_rule() {
        let cards =
            [card("alone", "Q4_0"), card("twin:q4_0", "Q4_0"), card("twin:q8_0", "Q8_0"), card("own:tag", "Q4_0")];
        let named = |name: &str| called(&cards, name).map(|card| (plain(card), card.variant.as_str()));
        for name in ["alone", "alone:latest", "alone:q4_0", "alone:Q4_0"] {
            assert_eq!(named(name), Some(("alone", "Q4_0")), "{name}");
        }
        for (name, variant) in [("twin", "Q4_0"), ("twin:latest", "Q4_0"), ("twin:q4_0", "Q4_0"), ("twin:Q8_0", "Q8_0")]
        {
            assert_eq!(named(name), Some(("twin", variant)), "{name}");
        }
        assert_eq!(named("own:tag"), Some(("own:tag", "Q4_0")), "a tag that names no variant is part of the name");
        for unknown in ["alone:q8_0", "own", "al", "twin:", ":q4_0", ""] {
            assert_eq!(named(unknown), None, "{unknown}");
        }
    }
}

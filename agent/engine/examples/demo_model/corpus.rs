//! Writes conversations from the facts: every question in many dresses, with the one answer that is true.

use super::facts::Fact;
use super::frames;
use super::random::Random;
use super::words::{ASIDES, CLOSINGS, COMMON, FILLERS, OPENINGS, SYNONYMS};

/// A short conversation, as a chat would send it.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Conversation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<String>,
    /// Questions with their answers, oldest first.
    pub(crate) turns: Vec<(String, String)>,
}

/// How often a word takes its neighbour's place.
const SYNONYM_SHARE: f64 = 0.25;
const SYSTEMS: &[&str] = &[
    "You are a helpful assistant.",
    "You are Outpost.",
    "Answer briefly.",
    "You are a friendly assistant for Outpost.",
    "You are a helpful assistant. Be concise.",
    "Answer questions about Outpost.",
];

/// One conversation drawn from the facts.
pub(crate) fn draw(facts: &[Fact], random: &mut Random) -> Conversation {
    let turns = match random.below(100) {
        0..=87 => 1,
        88..=95 => 2,
        96..=98 => 3,
        _ => 4,
    };
    let system = random.chance(0.08).then(|| (*random.pick(SYSTEMS)).to_owned());
    let turns = (0..turns).map(|_| ask(facts, random)).collect();
    Conversation { system, turns }
}

fn ask(facts: &[Fact], random: &mut Random) -> (String, String) {
    let mut ticket = random.below(facts.iter().map(|fact| fact.weight).sum());
    let fact = facts
        .iter()
        .find(|fact| {
            let found = ticket < fact.weight;
            ticket = ticket.saturating_sub(fact.weight);
            found
        })
        .expect("the ticket is below the sum of all weights");
    let question = random.pick(fact.questions.as_slice()).clone();
    let question = match random.below(100) {
        0..=11 => keywords(&question, random),
        12..=21 => {
            let other = random.pick(fact.questions.as_slice()).clone();
            mingle(&question, &other, random)
        }
        _ => question,
    };
    (dress(&question, random), fact.answer.clone())
}

/// Only the words that matter, sometimes in disorder, as into a search box.
fn keywords(question: &str, random: &mut Random) -> String {
    let mut kept: Vec<&str> =
        question.split_whitespace().filter(|word| !COMMON.contains(&word.to_lowercase().as_str())).collect();
    if kept.is_empty() {
        return question.to_owned();
    }
    if random.chance(0.5) {
        shuffle(&mut kept, random);
    }
    kept.join(" ").trim_end_matches('?').to_owned()
}

/// Two questions of one fact in one breath, or words from both.
fn mingle(one: &str, other: &str, random: &mut Random) -> String {
    if random.chance(0.4) {
        return format!("{one} {other}");
    }
    let mut words: Vec<&str> =
        one.split_whitespace().chain(other.split_whitespace()).filter(|_| random.chance(0.6)).collect();
    if random.chance(0.5) {
        shuffle(&mut words, random);
    }
    if words.is_empty() { one.to_owned() } else { words.join(" ") }
}

fn shuffle(words: &mut [&str], random: &mut Random) {
    for last in (1..words.len()).rev() {
        words.swap(last, random.below(last + 1));
    }
}

/// The question as somebody else would type it: the same meaning, another surface.
pub(crate) fn dress(question: &str, random: &mut Random) -> String {
    let framed = if random.chance(0.4) { frames::reframe(question, random) } else { question.to_owned() };
    let mut words: Vec<String> = framed.split_whitespace().map(str::to_owned).collect();
    replace_words(&mut words, random);
    disturb_words(&mut words, random);
    let mut text = words.join(" ");
    if random.chance(0.1) {
        text = contract(&text);
    }
    if random.chance(0.22) {
        text = format!("{} {}", random.pick(OPENINGS), lower_first(&text));
    }
    if random.chance(0.14) {
        let mark = if text.ends_with('?') { "?" } else { "" };
        text = format!("{} {}{mark}", text.trim_end_matches(['?', '.', '!']), random.pick(CLOSINGS));
    }
    if random.chance(0.2) {
        text = put_aside(&text, random);
    }
    if random.chance(0.3) {
        text = text.to_lowercase();
    } else if random.chance(0.6) {
        text = upper_first(&text);
    }
    if random.chance(0.3) {
        text = text.trim_end_matches(['?', '.', '!']).to_owned();
    }
    text
}

/// Leaves a word out, puts words in that say nothing, swaps neighbours, misspells: what is left must still be understood.
fn disturb_words(words: &mut Vec<String>, random: &mut Random) {
    while words.len() > 4 && random.chance(0.25) {
        words.remove(random.below(words.len()));
    }
    if random.chance(0.25) {
        for _ in 0..1 + random.below(3) {
            words.insert(random.below(words.len()), (*random.pick(FILLERS)).to_owned());
        }
    }
    if words.len() > 2 && random.chance(0.1) {
        let at = random.below(words.len() - 1);
        words.swap(at, at + 1);
    }
    if random.chance(0.12) {
        let at = random.below(words.len());
        words[at] = misspell(&words[at], random);
    }
    for word in words {
        let other = match word.as_str() {
            "my" => "our",
            "My" => "Our",
            "our" => "my",
            "I" => "we",
            _ => continue,
        };
        if random.chance(0.15) {
            *word = other.to_owned();
        }
    }
}

fn put_aside(text: &str, random: &mut Random) -> String {
    let aside = random.pick(ASIDES);
    match random.below(3) {
        0 => format!("{}. {}", upper_first(aside), upper_first(text)),
        1 => format!("{aside}, {}", lower_first(text)),
        _ => format!("{}, {aside}?", text.trim_end_matches(['?', '.', '!'])),
    }
}

fn replace_words(words: &mut [String], random: &mut Random) {
    for word in words {
        let bare = word.trim_end_matches(['?', '.', ',', '!']).to_owned();
        let lower = bare.to_lowercase();
        let Some(group) = SYNONYMS.iter().find(|group| group.contains(&lower.as_str())) else { continue };
        if random.chance(SYNONYM_SHARE) {
            let tail = word[bare.len()..].to_owned();
            *word = format!("{}{tail}", random.pick(group));
        }
    }
}

fn misspell(word: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() < 4 {
        return word.to_owned();
    }
    let at = 1 + random.below(letters.len() - 2);
    match random.below(3) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        _ => letters.insert(at, letters[at]),
    }
    letters.into_iter().collect()
}

fn contract(text: &str) -> String {
    [
        ("What is ", "What's "),
        ("what is ", "what's "),
        ("do not", "don't"),
        ("does not", "doesn't"),
        ("is not", "isn't"),
        ("cannot", "can't"),
        ("I am", "I'm"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (long, short)| text.replace(long, short))
}

fn lower_first(text: &str) -> String {
    let keeps =
        text.starts_with("I ") || text.starts_with("Outpost") || text.starts_with("MQTT") || text.starts_with("TUF");
    if keeps { text.to_owned() } else { change_first(text, |first| first.to_lowercase().collect()) }
}

fn upper_first(text: &str) -> String {
    change_first(text, |first| first.to_uppercase().collect())
}

fn change_first(text: &str, change: impl Fn(char) -> String) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| change(first) + letters.as_str()).unwrap_or_default()
}

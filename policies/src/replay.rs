//! What other rules would have said to a decision that a device recorded, and whether that can be known from the record.
//!
//! A record does not hold everything that rules look at: not from which network a call came, nor how long the device had
//! been offline, nor who the caller was by name. Each such blank that a rule reads is filled in with every value that
//! could matter, one blank at a time. Where the rules that decided are known, fillings by which they would have decided
//! otherwise than they did are left out: it was not so. If what is left gives one answer, that is the answer; if not, the
//! record does not say enough, and this says what is missing.

use std::collections::{BTreeSet, HashMap};

use cedar_policy_core::ast::EntityUID;

use crate::situation::spoken;
use crate::{Ask, ModelClass, ModelFacts, Network, Policies, PrincipalKind, Resource};

/// Decisions whose outcome is remembered: most are asked for again and again.
const REMEMBERED: usize = 20_000;

/// Hours that local time can be away from UTC.
const OFFSETS_H: std::ops::RangeInclusive<i32> = -12..=14;

/// Something that a record does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blank {
    /// The caller's name: records hold pseudonyms.
    Caller,
    /// From where the call came.
    Network,
    /// How long the device had been out of reach.
    OfflineFor,
    /// How old its policy was.
    PolicyAge,
    /// How far its clock is from UTC.
    LocalTime,
    /// Whether the caller asked for so many tokens, or got its limit.
    MaxTokens,
    /// Whether the answer was wanted as a stream.
    Stream,
    /// Whether tools were offered.
    Tools,
    /// Tokens that the caller had had that day.
    TokensToday,
    /// What is known of the model.
    Model,
    /// Its quantisation.
    Quantisation,
}

impl Blank {
    /// Every blank.
    pub const ALL: [Self; 11] = [
        Self::Caller,
        Self::Network,
        Self::OfflineFor,
        Self::PolicyAge,
        Self::LocalTime,
        Self::MaxTokens,
        Self::Stream,
        Self::Tools,
        Self::TokensToday,
        Self::Model,
        Self::Quantisation,
    ];

    /// In plain words, as what a record does not say.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Caller => "the caller's name",
            Self::Network => "from which network",
            Self::OfflineFor => "how long the device was offline",
            Self::PolicyAge => "how old its policy was",
            Self::LocalTime => "its local time",
            Self::MaxTokens => "how many tokens the caller asked for",
            Self::Stream => "whether it was streamed",
            Self::Tools => "whether tools were offered",
            Self::TokensToday => "tokens the caller had that day",
            Self::Model => "licence, class and family of the model",
            Self::Quantisation => "the quantisation of the model",
        }
    }

    /// The attributes that rules read it by; none for the caller's name.
    fn attributes(self) -> &'static [&'static str] {
        match self {
            Self::Caller => &[],
            Self::Network => &["network"],
            Self::OfflineFor => &["offline_for"],
            Self::PolicyAge => &["policy_age"],
            Self::LocalTime => &["weekday", "minute_of_day", "within_hours"],
            Self::MaxTokens => &["max_tokens"],
            Self::Stream => &["stream"],
            Self::Tools => &["tools"],
            Self::TokensToday => &["tokens_today"],
            Self::Model => &["licence", "class", "family"],
            Self::Quantisation => &["quantisation"],
        }
    }
}

/// A decision as a device recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// The question, as far as it is on record; blanks hold the usual.
    pub ask: Ask,
    /// What is not on record.
    pub blanks: BTreeSet<Blank>,
    /// What was decided.
    pub allowed: bool,
    /// By which rules.
    pub rules: Vec<String>,
    /// Of which version.
    pub policy_version: Option<u64>,
}

/// What other rules say to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejudged {
    /// The same.
    Same,
    /// It was allowed and would be refused, by these rules; none if it is only that no rule permits it.
    Refused(Vec<String>),
    /// It was refused and would be allowed, by these rules.
    Allowed(Vec<String>),
    /// That depends on what is not on record.
    Depends(Vec<Blank>),
    /// It was not the rules that decided, but something beside them: a key's scope, an open override.
    Beside,
    /// By no filling of the blanks do the rules that decided decide so: the record does not hold what mattered.
    Unexplained,
}

/// Whether it is allowed, and by which rules that is so.
type Answer = (bool, Vec<String>);

/// Rules that are put in the place of those that decided.
#[derive(Debug)]
pub struct Replay<'a> {
    other: &'a Policies,
    /// The rules that decided, for records of their version.
    decided: Option<&'a Policies>,
    /// The blanks that either of them reads.
    read: BTreeSet<Blank>,
    seconds: Vec<u64>,
    tokens: Vec<u32>,
    tokens_today: Vec<u64>,
    licences: Vec<String>,
    families: Vec<String>,
    quantisations: Vec<String>,
    names: Vec<(PrincipalKind, String)>,
    reads_time: bool,
    known: HashMap<Recorded, Rejudged>,
}

impl<'a> Replay<'a> {
    /// Puts `other` in the place of `decided`, which are the rules of one version, if they are still known.
    #[must_use]
    pub fn new(other: &'a Policies, decided: Option<&'a Policies>) -> Self {
        let both: Vec<&Policies> = std::iter::once(other).chain(decided).collect();
        let spoken = spoken(&both);
        let names: Vec<(PrincipalKind, String)> = both.iter().flat_map(|policies| named_callers(policies)).collect();
        let reads = |attribute: &str| both.iter().any(|policies| policies.compiled().judge.reads(attribute));
        let has_hours = both.iter().any(|policies| policies.roles().values().any(|role| role.hours.is_some()));
        let is_read = |blank: &Blank| match blank {
            Blank::Caller => !names.is_empty(),
            // The default rules read it whether or not a role has hours.
            Blank::LocalTime => reads("weekday") || reads("minute_of_day") || (has_hours && reads("within_hours")),
            other => other.attributes().iter().any(|attribute| reads(attribute)),
        };
        let read: BTreeSet<Blank> = Blank::ALL.into_iter().filter(is_read).collect();
        let reads_time = read.contains(&Blank::LocalTime)
            || ["now", "approved_until"].into_iter().any(reads)
            || both
                .iter()
                .any(|policies| policies.compiled().models.values().any(|model| model.approved_until_s.is_some()));
        let texts = |attribute: &str| spoken.texts.get(attribute).into_iter().flatten().cloned().collect::<Vec<_>>();
        Self {
            read,
            // Just what a rule names, and a second more.
            seconds: spoken.seconds.iter().flat_map(|seconds| [*seconds, seconds + 1]).chain([0]).collect(),
            tokens: spoken.tokens.iter().flat_map(|tokens| [*tokens, tokens.saturating_add(1)]).chain([1]).collect(),
            tokens_today: spoken.tokens_today.iter().copied().chain([0, u64::from(u32::MAX)]).collect(),
            licences: texts("licence").into_iter().chain([String::new(), "Apache-2.0".to_owned()]).collect(),
            families: texts("family").into_iter().chain([String::new()]).collect(),
            quantisations: texts("quantisation").into_iter().chain([String::new()]).collect(),
            names,
            reads_time,
            other,
            decided,
            known: HashMap::new(),
        }
    }

    /// What the other rules say to a recorded decision.
    pub fn rejudge(&mut self, recorded: &Recorded) -> Rejudged {
        // But for who it was and when, as far as no rule looks at that.
        let mut key = recorded.clone();
        let caller = &mut key.ask.principal;
        if !self.names.iter().any(|(kind, name)| *kind == caller.kind && *name == caller.id) {
            caller.id = String::new();
        }
        let now_s = key.ask.context.now_s;
        key.ask.context.now_s = if self.reads_time { now_s - now_s.rem_euclid(60) } else { 0 };
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let rejudged = self.judge(recorded);
        if self.known.len() < REMEMBERED {
            self.known.insert(key, rejudged.clone());
        }
        rejudged
    }

    fn judge(&self, recorded: &Recorded) -> Rejudged {
        let decided = self.decided.filter(|policies| recorded.policy_version == Some(policies.version()));
        let is_rule = |id: &String| {
            self.other.rule(id).is_some() || self.decided.is_some_and(|policies| policies.rule(id).is_some())
        };
        let beside = |id: &String| id.contains(':') || id == "api-key-scope";
        if recorded.rules.iter().any(beside)
            || (!recorded.allowed && decided.is_some() && recorded.rules.iter().any(|id| !is_rule(id)))
        {
            return Rejudged::Beside;
        }
        let mut answers: Vec<(Option<Blank>, bool, Vec<String>)> = Vec::new();
        for (blank, ask) in self.fillings(recorded, decided) {
            if decided.is_some_and(|policies| !said_so(&answer(policies, &ask), recorded)) {
                continue;
            }
            let (allowed, rules) = answer(self.other, &ask);
            answers.push((blank, allowed, rules));
        }
        let Some((_, first, rules)) = answers.first().cloned() else { return Rejudged::Unexplained };
        let otherwise = answers.iter().filter(|(_, allowed, _)| *allowed != first);
        let depends: BTreeSet<Blank> = otherwise.filter_map(|(blank, ..)| *blank).collect();
        match (depends.is_empty(), first == recorded.allowed) {
            (false, _) => Rejudged::Depends(depends.into_iter().collect()),
            (true, true) => Rejudged::Same,
            (true, false) if first => Rejudged::Allowed(rules),
            (true, false) => Rejudged::Refused(rules),
        }
    }

    /// The question as it is on record, and with each blank that matters filled in otherwise.
    fn fillings(&self, recorded: &Recorded, decided: Option<&Policies>) -> Vec<(Option<Blank>, Ask)> {
        let mut fillings = vec![(None, recorded.ask.clone())];
        for blank in recorded.blanks.intersection(&self.read).copied() {
            let mut fill = |change: &dyn Fn(&mut Ask)| {
                let mut ask = recorded.ask.clone();
                change(&mut ask);
                fillings.push((Some(blank), ask));
            };
            match blank {
                Blank::Caller => {
                    let kind = recorded.ask.principal.kind;
                    for (_, name) in self.names.iter().filter(|(of, _)| *of == kind) {
                        fill(&|ask| ask.principal.id.clone_from(name));
                    }
                }
                Blank::Network => {
                    Network::ALL.into_iter().for_each(|network| fill(&|ask| ask.context.network = network))
                }
                Blank::OfflineFor => {
                    self.seconds.iter().for_each(|seconds| fill(&|ask| ask.context.offline_s = *seconds))
                }
                Blank::PolicyAge => {
                    self.seconds.iter().for_each(|seconds| fill(&|ask| ask.context.policy_age_s = *seconds));
                }
                Blank::LocalTime => OFFSETS_H.for_each(|hours| fill(&|ask| ask.context.utc_offset_s = hours * 3600)),
                Blank::MaxTokens => {
                    fill(&|ask| ask.context.max_tokens = None);
                    if recorded.ask.context.max_tokens.is_none() {
                        self.tokens.iter().for_each(|tokens| fill(&|ask| ask.context.max_tokens = Some(*tokens)));
                    }
                }
                Blank::Stream => [true, false].into_iter().for_each(|stream| fill(&|ask| ask.context.stream = stream)),
                Blank::Tools => [true, false].into_iter().for_each(|tools| fill(&|ask| ask.context.tools = tools)),
                Blank::TokensToday => {
                    self.tokens_today.iter().for_each(|tokens| fill(&|ask| ask.context.tokens_today = *tokens));
                }
                Blank::Model => {
                    self.licences
                        .iter()
                        .for_each(|licence| fill(&|ask| with(ask, |facts| facts.licence.clone_from(licence))));
                    self.families
                        .iter()
                        .for_each(|family| fill(&|ask| with(ask, |facts| facts.family.clone_from(family))));
                    ModelClass::ALL.into_iter().for_each(|class| fill(&|ask| with(ask, |facts| facts.class = class)));
                }
                Blank::Quantisation => self.quantisations.iter().for_each(|quantisation| {
                    fill(&|ask| with(ask, |facts| facts.quantisation.clone_from(quantisation)));
                }),
            }
        }
        // Whoever got less than the limit had asked for it.
        if let (Some(tokens), Some(policies)) = (recorded.ask.context.max_tokens, decided)
            && let Ok(holder) = policies.holder(&recorded.ask.principal.roles)
            && tokens != holder.limits.max_tokens_per_request
        {
            fillings.retain(|(blank, _)| *blank != Some(Blank::MaxTokens));
        }
        fillings
    }
}

fn answer(policies: &Policies, ask: &Ask) -> Answer {
    match policies.authorize(ask) {
        Ok(permit) => (true, permit.rules().to_vec()),
        Err(denial) => (false, denial.rules),
    }
}

/// Says something else of the model, if the question is about one.
fn with(ask: &mut Ask, change: impl FnOnce(&mut ModelFacts)) {
    if let Resource::Model(facts) = &mut ask.resource {
        change(facts);
    }
}

/// Whether that is the decision on record, by the rules on record: a record holds the first of them.
fn said_so((allowed, rules): &Answer, recorded: &Recorded) -> bool {
    *allowed == recorded.allowed && rules.starts_with(&recorded.rules) && rules.is_empty() == recorded.rules.is_empty()
}

/// Callers whom a rule names, and not by a role.
fn named_callers(policies: &Policies) -> Vec<(PrincipalKind, String)> {
    let mut named = Vec::new();
    for policy in &policies.compiled().policies {
        for entity in policy.entity_literals() {
            let entity: &EntityUID = entity.as_ref();
            let kind = match entity.entity_type().to_string().as_str() {
                "User" => PrincipalKind::User,
                "Service" => PrincipalKind::Service,
                "LocalUser" => PrincipalKind::LocalUser,
                "Device" => PrincipalKind::Device,
                _ => continue,
            };
            let name: &str = entity.eid().as_ref();
            named.push((kind, name.to_owned()));
        }
    }
    named.sort();
    named.dedup();
    named
}

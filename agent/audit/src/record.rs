//! What happened, before it has a place in the log.
//!
//! A record becomes a leaf when the writer gives it an index. The leaf is one JSON object with sorted keys:
//!
//! ```json
//! {"act":"infer","agent":"0.1.0","dec":{"effect":"allow","errors":[],"policy":"default-1","rules":["operator-may-infer"]},
//!  "dev":"dev-7f3a","i":10231,"id":"01KB…","io":{"in":{"tok":203},"out":{"tok":488}},"obj":{"endpoint":"/v1/chat/completions",
//!  "file":"sha256:…","model":"outpost-demo","variant":"Q8_0"},"req":"…","res":{"ms":4312,"status":200,"ttft_ms":410},
//!  "t":{"boot":"6f1c…","boot_us":8123456,"ok":true,"wall_ms":1795380305123},"type":"infer.end","v":1,
//!  "who":{"auth":"jwt","kind":"user","pid":"p:9c1e…","roles":["operator"]}}
//! ```
//!
//! Parts that a record does not have are absent, not empty.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::canonical::{self, Value};
use crate::vault::Unsealed;
use crate::{AuditError, Change, Kind, identifier};

/// The largest leaf, in bytes: far below the 65,535 that a tile entry can hold, so that a page of records stays small.
pub const MAX_LEAF_BYTES: usize = 16 * 1024;

/// Texts from outside are cut here, so that nobody can make a record too large to be written.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;

/// Lists are cut here, for the same reason.
const MAX_LIST_ITEMS: usize = 32;

/// Room for an index in decimal: `u64::MAX` has 20 digits.
const INDEX_DIGITS: usize = 20;

/// Version of the leaf's form.
const LEAF_VERSION: i64 = 1;

/// Who acted. `id` is a pseudonym (see [`Pseudonyms`](crate::Pseudonyms)), never a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// `user`, `service`, `agent`, `device` or `local`.
    pub kind: String,
    /// Pseudonym.
    pub id: String,
    /// Roles that the identity carried.
    pub roles: Vec<String>,
    /// How it was proven: `jwt`, `key`, `uds`, `mtls`, `none`.
    pub auth: String,
}

/// What was acted on. Empty parts are left out of the leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectRef {
    /// Name of the model, or of whatever else was acted on.
    pub model: String,
    /// Its variant, such as `Q8_0`.
    pub variant: String,
    /// SHA-256 of the file, hexadecimal.
    pub file_sha256: String,
    /// The route or command that was used.
    pub endpoint: String,
}

/// What policy said, and because of which rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionRef {
    /// `allow` or `deny`.
    pub effect: String,
    /// Version of the policy bundle.
    pub policy: String,
    /// Ids of the rules that decided.
    pub rules: Vec<String>,
    /// Errors while deciding; any error denies.
    pub errors: Vec<String>,
}

/// What went in and came out: counts and digests, never content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Io {
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// Digest of the sealed prompt. Of the ciphertext: a digest of plain text could be guessed.
    pub input_digest: Option<String>,
    /// Digest of the sealed answer.
    pub output_digest: Option<String>,
}

/// How it ended. Becomes `res` in the leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Status as the caller saw it, HTTP numbers.
    pub status: Option<u16>,
    /// Milliseconds from start to end.
    pub ms: Option<u64>,
    /// Milliseconds from start to the first token.
    pub ttft_ms: Option<u64>,
    /// What went wrong; empty if nothing did.
    pub err: String,
}

/// Something that happened. Build it with the setters, then [`append`](crate::AuditLog::append) it.
#[derive(Debug, Clone)]
pub struct Record {
    kind: Kind,
    id: Option<String>,
    request: Option<String>,
    members: BTreeMap<String, Value>,
    detail: BTreeMap<String, Value>,
    changes: Vec<Change>,
    pub(crate) unsealed: Option<Unsealed>,
}

impl Record {
    /// A record of this type.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            id: None,
            request: None,
            members: Value::object(),
            detail: Value::object(),
            changes: Vec::new(),
            unsealed: None,
        }
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The status that its [result](Self::result) says.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let Some(Value::Object(result)) = self.members.get("res") else { return None };
        match result.get("status") {
            Some(Value::Integer(status)) => u16::try_from(*status).ok(),
            _ => None,
        }
    }

    /// Who acted.
    #[must_use]
    pub fn who(self, who: Who) -> Self {
        let roles = Value::texts(&cut_list(who.roles));
        self.member(
            "who",
            [("kind", text(who.kind)), ("pid", text(who.id)), ("roles", Some(roles)), ("auth", text(who.auth))],
        )
    }

    /// What was done, as one word: `infer`, `switch`, `drain`.
    #[must_use]
    pub fn act(mut self, act: impl Into<String>) -> Self {
        self.members.insert("act".to_owned(), Value::Text(cut(act.into())));
        self
    }

    /// What it was done to.
    #[must_use]
    pub fn object(self, object: ObjectRef) -> Self {
        let file = (!object.file_sha256.is_empty()).then(|| format!("sha256:{}", object.file_sha256));
        self.member(
            "obj",
            [
                ("model", text(object.model)),
                ("variant", text(object.variant)),
                ("file", file.and_then(text)),
                ("endpoint", text(object.endpoint)),
            ],
        )
    }

    /// What policy said.
    #[must_use]
    pub fn decision(self, decision: DecisionRef) -> Self {
        let (rules, errors) = (Value::texts(&cut_list(decision.rules)), Value::texts(&cut_list(decision.errors)));
        self.member(
            "dec",
            [
                ("effect", text(decision.effect)),
                ("policy", text(decision.policy)),
                ("rules", Some(rules)),
                ("errors", Some(errors)),
            ],
        )
    }

    /// Token counts and digests.
    #[must_use]
    pub fn io(mut self, io: Io) -> Self {
        let side = |tokens: Option<u64>, digest: Option<String>| {
            let members = [("tok", tokens.map(count)), ("ct", digest.and_then(text))];
            Value::Object(present(members))
        };
        let sides = BTreeMap::from([
            ("in".to_owned(), side(io.input_tokens, io.input_digest)),
            ("out".to_owned(), side(io.output_tokens, io.output_digest)),
        ]);
        self.members.insert("io".to_owned(), Value::Object(sides));
        self
    }

    /// How it ended.
    #[must_use]
    pub fn result(self, outcome: Outcome) -> Self {
        self.member(
            "res",
            [
                ("status", outcome.status.map(|status| Value::Integer(status.into()))),
                ("ms", outcome.ms.map(count)),
                ("ttft_ms", outcome.ttft_ms.map(count)),
                ("err", text(outcome.err)),
            ],
        )
    }

    /// The request that this belongs to. On [`Kind::InferStart`] it opens the request; [`Kind::InferEnd`] closes it.
    #[must_use]
    pub fn request(mut self, id: impl Into<String>) -> Self {
        let id = cut(id.into());
        self.members.insert("req".to_owned(), Value::Text(id.clone()));
        self.request = Some(id);
        self
    }

    /// One more fact. Keys are lower-case words with `_`; other letters are replaced.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<DetailValue>) -> Self {
        let key: String = key
            .chars()
            .take(64)
            .map(|letter| if letter.is_ascii_lowercase() || letter.is_ascii_digit() { letter } else { '_' })
            .collect();
        self.detail.insert(key, value.into().0);
        self
    }

    /// Changes a counter together with this record: when the record is durable, so is the change, and never without it.
    #[must_use]
    pub fn count(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The id that the leaf will carry, made now: content is sealed for it.
    pub(crate) fn settle_id(&mut self, wall_ms: i64) -> Result<String, AuditError> {
        let id = match self.id.take() {
            Some(id) => id,
            None => identifier::fresh(wall_ms).map_err(|cause| AuditError::Disk(format!("no randomness: {cause}")))?,
        };
        self.id = Some(id.clone());
        Ok(id)
    }

    /// Says what was sealed of one side.
    pub(crate) fn note_sealed(&mut self, side: &str, digest: String, bytes: usize, key: &str) {
        let io = self.members.entry("io".to_owned()).or_insert_with(|| Value::Object(Value::object()));
        let Value::Object(sides) = io else { return };
        let side = sides.entry(side.to_owned()).or_insert_with(|| Value::Object(Value::object()));
        let Value::Object(side) = side else { return };
        side.extend(present([
            ("ct", Some(Value::Text(digest))),
            ("len", Some(count(bytes as u64))),
            ("key", Some(Value::Text(key.to_owned()))),
        ]));
    }

    /// The keys that this record destroys. Their number is the caller's care: none is left out.
    pub(crate) fn keys(mut self, ids: &[String]) -> Self {
        self.members.insert("keys".to_owned(), Value::texts(ids));
        self
    }

    /// How many of each type.
    pub(crate) fn counts(mut self, key: &str, counts: &BTreeMap<String, u64>) -> Self {
        let counts = counts.iter().map(|(kind, number)| (kind.clone(), count(*number))).collect();
        self.members.insert(key.to_owned(), Value::Object(counts));
        self
    }

    /// Takes a part over from an earlier leaf, as it stands there.
    pub(crate) fn copied(mut self, key: &str, value: Option<&Value>) -> Self {
        if let Some(value) = value {
            self.members.insert(key.to_owned(), value.clone());
        }
        self
    }

    fn member<const COUNT: usize>(mut self, key: &str, parts: [(&str, Option<Value>); COUNT]) -> Self {
        self.members.insert(key.to_owned(), Value::Object(present(parts)));
        self
    }

    /// What this record does to the list of open requests.
    pub(crate) fn effect(&self) -> Effect {
        match (self.kind, &self.request) {
            (Kind::InferStart, Some(request)) => Effect::Opens(request.clone()),
            (Kind::InferEnd | Kind::InferAborted, Some(request)) => Effect::Closes(request.clone()),
            _ => Effect::None,
        }
    }

    /// Everything of the leaf but its index, which only the writer knows.
    pub(crate) fn render(mut self, stamp: &Stamp<'_>) -> Result<Unplaced, AuditError> {
        let kind = self.kind.name();
        let id = self.settle_id(stamp.wall_ms)?;
        let time = present([
            ("wall_ms", Some(Value::Integer(stamp.wall_ms))),
            ("boot_us", Some(Value::Integer(stamp.boot_us))),
            ("boot", text(stamp.boot.to_owned())),
            ("ok", Some(Value::Flag(stamp.clock_is_trusted))),
        ]);
        self.members.extend(present([
            ("v", Some(Value::Integer(LEAF_VERSION))),
            ("id", Some(Value::Text(id))),
            ("type", Some(Value::Text(kind.to_owned()))),
            ("t", Some(Value::Object(time))),
            ("agent", text(stamp.agent.to_owned())),
            ("dev", text(stamp.device.to_owned())),
        ]));
        if !self.detail.is_empty() {
            self.members.insert("detail".to_owned(), Value::Object(self.detail));
        }
        let unplaced = Unplaced::around_index(&self.members);
        let bytes = unplaced.head.len() + INDEX_DIGITS + unplaced.tail.len();
        if bytes > MAX_LEAF_BYTES {
            return Err(AuditError::TooLarge { kind, bytes, limit: MAX_LEAF_BYTES });
        }
        Ok(unplaced)
    }
}

/// A value for [`Record::detail`]: text or a whole number.
#[derive(Debug, Clone)]
pub struct DetailValue(Value);

impl From<&str> for DetailValue {
    fn from(value: &str) -> Self {
        Self(Value::Text(cut(value.to_owned())))
    }
}

impl From<String> for DetailValue {
    fn from(value: String) -> Self {
        Self(Value::Text(cut(value)))
    }
}

impl From<i64> for DetailValue {
    fn from(value: i64) -> Self {
        Self(Value::Integer(value))
    }
}

impl From<u64> for DetailValue {
    fn from(value: u64) -> Self {
        Self(count(value))
    }
}

impl From<u32> for DetailValue {
    fn from(value: u32) -> Self {
        Self(Value::Integer(value.into()))
    }
}

/// When and where a record was made.
#[derive(Debug)]
pub(crate) struct Stamp<'a> {
    pub(crate) wall_ms: i64,
    pub(crate) clock_is_trusted: bool,
    pub(crate) boot_us: i64,
    pub(crate) boot: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) device: &'a str,
}

/// What a record does to the list of open requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    Opens(String),
    Closes(String),
}

/// A leaf with a gap where its index goes: rendered by the caller's thread, placed by the writer's.
#[derive(Debug)]
pub(crate) struct Unplaced {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Unplaced {
    fn around_index(members: &BTreeMap<String, Value>) -> Self {
        const INDEX_KEY: &str = "i";
        let (mut head, mut tail) = (vec![b'{'], Vec::new());
        for (key, value) in members.range::<str, _>((Bound::Unbounded, Bound::Excluded(INDEX_KEY))) {
            write_member(key, value, &mut head);
            head.push(b',');
        }
        canonical::write_text(INDEX_KEY, &mut head);
        head.push(b':');
        for (key, value) in members.range::<str, _>((Bound::Excluded(INDEX_KEY), Bound::Unbounded)) {
            tail.push(b',');
            write_member(key, value, &mut tail);
        }
        tail.push(b'}');
        Self { head, tail }
    }

    /// The leaf at this index.
    pub(crate) fn place(&self, index: u64) -> Vec<u8> {
        let mut leaf = Vec::with_capacity(self.head.len() + INDEX_DIGITS + self.tail.len());
        leaf.extend_from_slice(&self.head);
        leaf.extend_from_slice(index.to_string().as_bytes());
        leaf.extend_from_slice(&self.tail);
        leaf
    }
}

fn write_member(key: &str, value: &Value, out: &mut Vec<u8>) {
    canonical::write_text(key, out);
    out.push(b':');
    value.write(out);
}

fn present<const COUNT: usize>(parts: [(&str, Option<Value>); COUNT]) -> BTreeMap<String, Value> {
    parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn text(text: String) -> Option<Value> {
    (!text.is_empty()).then(|| Value::Text(cut(text)))
}

fn count(count: u64) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
    text
}

fn cut_list(mut items: Vec<String>) -> Vec<String> {
    items.truncate(MAX_LIST_ITEMS);
    items.into_iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Leaf;

    const STAMP: Stamp<'static> = Stamp {
        wall_ms: 1_795_380_305_123,
        clock_is_trusted: true,
        boot_us: 8_123_456,
        boot: "6f1c",
        agent: "0.1.0",
        device: "dev-7f3a",
    };

    fn full() -> Record {
        Record::new(Kind::InferEnd)
            .who(Who { kind: "user".into(), id: "p:9c".into(), roles: vec!["operator".into()], auth: "jwt".into() })
            .act("infer")
            .object(ObjectRef { model: "demo".into(), variant: "Q8_0".into(), ..ObjectRef::default() })
            .decision(DecisionRef { effect: "allow".into(), rules: vec!["r1".into()], ..DecisionRef::default() })
            .io(Io { input_tokens: Some(3), output_tokens: Some(5), ..Io::default() })
            .result(Outcome { status: Some(200), ms: Some(12), ..Outcome::default() })
            .request("req-1")
            .detail("Seed no", 7_u32)
    }

    #[test]
    fn a_leaf_has_sorted_keys_its_index_and_only_what_is_known() {
        let leaf = String::from_utf8(full().render(&STAMP).unwrap().place(41)).unwrap();
        let (before_id, after_id) = leaf.split_once(r#","id":""#).unwrap();
        assert_eq!(
            before_id,
            r#"{"act":"infer","agent":"0.1.0","dec":{"effect":"allow","errors":[],"rules":["r1"]},"#.to_owned()
                + r#""detail":{"_eed_no":7},"dev":"dev-7f3a","i":41"#
        );
        assert_eq!(
            &after_id[26..],
            r#"","io":{"in":{"tok":3},"out":{"tok":5}},"obj":{"model":"demo","variant":"Q8_0"},"req":"req-1","#
                .to_owned()
                + r#""res":{"ms":12,"status":200},"t":{"boot":"6f1c","boot_us":8123456,"ok":true,"wall_ms":1795380305123},"#
                + r#""type":"infer.end","v":1,"who":{"auth":"jwt","kind":"user","pid":"p:9c","roles":["operator"]}}"#
        );
        assert_eq!(Leaf::parse(leaf.as_bytes()).unwrap().index(), Some(41));
    }

    #[test]
    fn long_texts_from_outside_are_cut_instead_of_losing_the_record() {
        let record = full().result(Outcome { err: "ä".repeat(100_000), ..Outcome::default() });
        let leaf = record.render(&STAMP).unwrap().place(0);
        assert!(leaf.len() < 4096, "{}", leaf.len());
    }

    #[test]
    fn a_record_beyond_the_limit_is_refused_with_its_size() {
        let record = (0..100).fold(full(), |record, number| record.detail(&format!("k{number}"), "x".repeat(1000)));
        let error = record.render(&STAMP).unwrap_err();
        assert!(matches!(error, AuditError::TooLarge { kind: "infer.end", .. }), "{error}");
    }
}

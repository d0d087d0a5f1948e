//! JSON with sorted keys and without floats or nulls: the one form in which leaves are written.
//!
//! The bytes as written are the leaf and nobody re-serialises them, so this form is hygiene, not security. It is kept
//! compatible with RFC 8785: keys sorted, shortest escapes, integers within ±(2^53 − 1). Written here rather than with
//! `serde_json::Map`, whose order depends on a feature that any crate in the build can switch on.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The largest integer that every JSON reader represents exactly.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// A JSON value as leaves may hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    pub(crate) fn object() -> BTreeMap<String, Self> {
        BTreeMap::new()
    }

    pub(crate) fn texts(texts: &[String]) -> Self {
        Self::List(texts.iter().cloned().map(Self::Text).collect())
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => write_text(text, out),
            Self::Integer(number) => {
                out.extend_from_slice((*number).clamp(-MAX_INTEGER, MAX_INTEGER).to_string().as_bytes());
            }
            Self::Flag(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Self::List(items) => {
                out.push(b'[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (position, (key, member)) in members.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    write_text(key, out);
                    out.push(b':');
                    member.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// Reads one value and nothing after it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|cause| cause.to_string())
    }

    /// The member at the end of a path of keys.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |value, key| match value {
            Self::Object(members) => members.get(*key),
            _ => None,
        })
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string always fits into memory as JSON");
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

/// Accepts what [`Value::write`] can write, and nothing else.
struct Strict;

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text, an integer, true, false, a list, or an object with sorted keys")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Integer).map_err(|_| E::custom("an integer is too large"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Value>()? {
            if members.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(de::Error::custom(format!("the key `{key}` is out of order or appears twice")));
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::Text),
            (-MAX_INTEGER..=MAX_INTEGER).prop_map(Value::Integer),
            any::<bool>().prop_map(Value::Flag),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::Object),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn what_is_written_reads_back(value in values()) {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            prop_assert_eq!(Value::parse(&bytes).unwrap(), value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Value::parse(&bytes);
        }
    }

    #[test]
    fn floats_nulls_double_keys_unsorted_keys_and_trailing_bytes_are_refused() {
        for text in
            ["1.5", "1e3", "null", r#"{"a":1,"a":2}"#, r#"{"b":1,"a":2}"#, "1 2", "18446744073709551615", "[1,]"]
        {
            assert!(Value::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn integers_stay_where_every_reader_is_exact() {
        let mut bytes = Vec::new();
        Value::Integer(i64::MAX).write(&mut bytes);
        assert_eq!(bytes, b"9007199254740991");
    }
}

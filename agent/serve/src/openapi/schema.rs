//! The words that descriptions are written in: JSON Schemas, by what a parser takes and an answer has.

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Array, ArrayBuilder, ObjectBuilder, Ref, Schema, SchemaType, Type,
};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

/// What a value looks like.
pub(super) type Form = RefOr<Schema>;

/// Fields and what they look like.
pub(super) type Fields = Vec<(&'static str, Form)>;

fn typed(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// Whatever JSON can say.
pub(super) fn anything() -> Form {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).into()
}

pub(super) fn nothing() -> Form {
    typed(Type::Null).into()
}

pub(super) fn text() -> Form {
    typed(Type::String).into()
}

/// A text that is not empty.
pub(super) fn some_text() -> Form {
    typed(Type::String).min_length(Some(1)).into()
}

/// A text of so many characters. Where a parser counts bytes, the same number of characters is never too strict.
pub(super) fn text_of(least: usize, most: usize) -> Form {
    typed(Type::String).min_length(Some(least)).max_length(Some(most)).into()
}

/// A text that an expression describes.
pub(super) fn text_like(pattern: &str) -> Form {
    typed(Type::String).pattern(Some(pattern)).into()
}

/// A time as RFC 3339 writes it.
pub(super) fn time() -> Form {
    typed(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
}

/// One of a few texts.
pub(super) fn words(words: &[&str]) -> Form {
    typed(Type::String).enum_values(Some(words.iter().copied())).into()
}

/// One of a few values of any type.
pub(super) fn values(values: &[Value]) -> Form {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).enum_values(Some(values.iter().cloned())).into()
}

pub(super) fn flag() -> Form {
    typed(Type::Boolean).into()
}

/// Any number.
pub(super) fn real() -> Form {
    typed(Type::Number).into()
}

/// A number between two, both included.
pub(super) fn number(least: f64, most: f64) -> Form {
    typed(Type::Number).minimum(Some(least)).maximum(Some(most)).into()
}

/// A number above zero, and no more than `most`.
pub(super) fn above_zero(most: f64) -> Form {
    typed(Type::Number).exclusive_minimum(Some(0.0)).maximum(Some(most)).into()
}

/// Any whole number.
pub(super) fn integer() -> Form {
    typed(Type::Integer).into()
}

/// A whole number of at least so much.
pub(super) fn at_least(least: u32) -> Form {
    typed(Type::Integer).minimum(Some(least)).into()
}

/// A whole number between two, both included.
pub(super) fn whole(least: i32, most: u32) -> Form {
    typed(Type::Integer).minimum(Some(least)).maximum(Some(most)).into()
}

/// A count that fits 32 bits.
pub(super) fn count(least: i32) -> Form {
    whole(least, u32::MAX)
}

pub(super) fn list(item: Form) -> Form {
    Array::new(item).into()
}

/// A list of so many values.
pub(super) fn list_of(item: Form, least: usize, most: usize) -> Form {
    let list = ArrayBuilder::new().items(item).max_items(Some(most));
    if least > 0 { list.min_items(Some(least)).into() } else { list.into() }
}

/// An object whose keys are not known before.
pub(super) fn map(value: Form) -> ObjectBuilder {
    typed(Type::Object).additional_properties(Some(AdditionalProperties::from(value)))
}

/// An object of any kind.
pub(super) fn any_object() -> Form {
    typed(Type::Object).into()
}

/// One of several forms.
pub(super) fn either(forms: impl IntoIterator<Item = Form>) -> Form {
    forms.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
}

/// The same, or null.
pub(super) fn nullable(form: Form) -> Form {
    either([form, nothing()])
}

/// What has a name among the components.
pub(super) fn named(name: &str) -> Form {
    Ref::from_schema_name(name).into()
}

/// A list or an object with nothing in it.
pub(super) fn empty() -> Form {
    values(&[json!([]), json!({})])
}

fn fields(object: ObjectBuilder, needed: Fields, optional: Fields) -> ObjectBuilder {
    let object = needed.into_iter().fold(object, |object, (name, form)| object.property(name, form).required(name));
    optional.into_iter().fold(object, |object, (name, form)| object.property(name, form))
}

/// An object of a request: null counts as absent, and nothing else is taken.
pub(super) fn request(needed: Fields, optional: Fields) -> Form {
    let optional = optional.into_iter().map(|(name, form)| (name, nullable(form))).collect();
    let only_null = AdditionalProperties::from(nothing());
    fields(typed(Type::Object).additional_properties(Some(only_null)), needed, optional).into()
}

/// An object of an answer: these fields are there, and more may come with a newer version.
pub(super) fn answer(present: Fields) -> Form {
    answer_with(present, Vec::new())
}

/// The same, with fields that are there at times.
pub(super) fn answer_with(present: Fields, at_times: Fields) -> Form {
    fields(typed(Type::Object), present, at_times).into()
}

/// An object of a request of which only these fields are read; null counts as absent.
pub(super) fn open(optional: Fields) -> Form {
    let optional = optional.into_iter().map(|(name, form)| (name, nullable(form))).collect();
    fields(typed(Type::Object), Vec::new(), optional).into()
}

//! The words that descriptions are written in: JSON Schemas, by what a handler takes and an answer has.

use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Array, ObjectBuilder, Ref, Schema, SchemaType, Type,
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

fn nothing() -> Form {
    typed(Type::Null).into()
}

pub(super) fn text() -> Form {
    typed(Type::String).into()
}

/// A text that an expression describes.
pub(super) fn text_like(pattern: &str) -> Form {
    typed(Type::String).pattern(Some(pattern)).into()
}

/// The name of a device, a group or a site.
pub(super) fn device() -> Form {
    text_like("^[a-z0-9][a-z0-9-]{0,63}$")
}

/// 32 bytes in hexadecimal digits.
pub(super) fn digest() -> Form {
    text_like("^[0-9a-f]{64}$")
}

/// A key's fingerprint: 32 bytes in hexadecimal digits, with or without hyphens between them.
pub(super) fn fingerprint() -> Form {
    text_like("^[0-9a-f]{4}[0-9a-f-]{56,96}[0-9a-f]{4}$")
}

/// The name of a command.
pub(super) fn command_id() -> Form {
    text_like("^[0-9a-f]{32}$")
}

/// One of a few texts.
pub(super) fn words(words: &[&str]) -> Form {
    typed(Type::String).enum_values(Some(words.iter().copied())).into()
}

pub(super) fn flag() -> Form {
    typed(Type::Boolean).into()
}

/// A number of at least so much.
pub(super) fn number(least: f64) -> Form {
    typed(Type::Number).minimum(Some(least)).into()
}

fn integer() -> ObjectBuilder {
    typed(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

/// Any whole number.
pub(super) fn whole() -> Form {
    integer().into()
}

/// A time: seconds since 1970-01-01 UTC.
pub(super) fn time_s() -> Form {
    integer().description(Some("Seconds since 1970-01-01 UTC.")).into()
}

/// A whole number that is not negative.
pub(super) fn count() -> Form {
    integer().minimum(Some(0)).into()
}

/// A whole number between two, both included.
pub(super) fn between(least: u32, most: u32) -> Form {
    integer().minimum(Some(least)).maximum(Some(most)).into()
}

pub(super) fn list(item: Form) -> Form {
    Array::new(item).into()
}

/// An object whose keys are not known before.
pub(super) fn map(value: Form) -> Form {
    typed(Type::Object).additional_properties(Some(AdditionalProperties::from(value))).into()
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

fn fields(object: ObjectBuilder, needed: Fields, optional: Fields) -> Form {
    let object = needed.into_iter().fold(object, |object, (name, form)| object.property(name, form).required(name));
    optional.into_iter().fold(object, |object, (name, form)| object.property(name, form)).into()
}

/// An object of a request: nothing but these fields is taken.
pub(super) fn request(needed: Fields, optional: Fields) -> Form {
    let closed = AdditionalProperties::FreeForm(false);
    fields(typed(Type::Object).additional_properties(Some(closed)), needed, optional)
}

/// An object of an answer: these fields are there, and more may come with a newer version.
pub(super) fn answer(present: Fields) -> Form {
    answer_with(present, Vec::new())
}

/// The same, with fields that are there at times.
pub(super) fn answer_with(present: Fields, at_times: Fields) -> Form {
    fields(typed(Type::Object), present, at_times)
}

/// A page of a list.
pub(super) fn page(entry: Form) -> Form {
    answer(vec![("entries", list(entry)), ("next", nullable(text()))])
}

//! The course of one answer as OpenTelemetry tells it: a span for the request, and one each for queue, prefill and decode.
//!
//! What was said is in no span, nor who said it. [`Trace::to_otlp`] writes the JSON form of OTLP; the agent sends it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Course, names};
use crate::Ending;

/// Nanoseconds in a millisecond.
const NANOSECONDS: i128 = 1_000_000;

/// Kinds and states of spans, by OTLP's numbers.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const ERROR: u8 = 2;

/// One finished request.
#[derive(Debug, Clone)]
pub struct Trace {
    /// 16 random bytes, hexadecimal.
    pub id: String,
    /// What it was for, as in `chat`.
    pub operation: &'static str,
    /// The route.
    pub endpoint: &'static str,
    /// The model that answered.
    pub model: String,
    /// The request itself, then its parts.
    pub parts: Vec<Part>,
    /// More about the request: numbers and words, no content.
    attributes: Vec<(&'static str, Value)>,
    /// Why it was broken off; empty if it was not.
    pub error: &'static str,
}

/// A stretch of a request.
#[derive(Debug, Clone)]
pub struct Part {
    /// 8 random bytes, hexadecimal.
    pub id: String,
    /// Its name; the request's own is made of operation and model.
    pub name: &'static str,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

impl Trace {
    /// `None` if there is no randomness for its ids.
    pub(super) fn of(course: &Course, ending: Option<&Ending>, error: &'static str) -> Option<Self> {
        let mut random = [0_u8; 48];
        getrandom::fill(&mut random).ok()?;
        let (id, mut ids) = (hex::encode(&random[..16]), random[16..].chunks(8).map(hex::encode));
        let now = Instant::now();
        let came = course.began.checked_sub(course.waited).unwrap_or(course.came);
        let mut parts =
            vec![("request", course.came, now.saturating_duration_since(course.came)), ("queue", came, course.waited)];
        let read = course.first.unwrap_or(now).saturating_duration_since(course.began);
        parts.push(("prefill", course.began, read));
        if let Some(first) = course.first {
            parts.push(("decode", first, now.saturating_duration_since(first)));
        }
        let part = |(name, began, took)| Some(Part { id: ids.next()?, name, began, took });
        let parts = parts.into_iter().map_while(part).collect();
        let mut attributes = vec![(names::GEN_AI_MAX_TOKENS, json!(course.max_tokens))];
        if let Some(ending) = ending {
            attributes.push((names::GEN_AI_INPUT_TOKENS, json!(ending.usage.prompt_tokens)));
            attributes.push((names::GEN_AI_OUTPUT_TOKENS, json!(ending.usage.generated_tokens)));
            attributes.push((names::GEN_AI_FINISH, json!([ending.reason.word()])));
        }
        let (operation, endpoint, model) = (course.operation, course.endpoint, course.model.clone());
        Some(Self { id, operation, endpoint, model, parts, attributes, error })
    }

    /// The request body of `POST /v1/traces`, OTLP/HTTP in JSON. `now_ms` is the wall clock's word for this moment.
    #[must_use]
    pub fn to_otlp(traces: &[Self], service: &str, version: &str, now_ms: i64) -> Value {
        let now = Instant::now();
        let at = |moment: Instant| {
            let ago = i128::try_from(now.saturating_duration_since(moment).as_nanos()).unwrap_or(0);
            i128::from(now_ms) * NANOSECONDS - ago
        };
        let spans: Vec<Value> = traces.iter().flat_map(|trace| trace.spans(&at)).collect();
        json!({
            "resourceSpans": [{
                "resource": { "attributes": [
                    attribute("service.name", &json!(service)),
                    attribute("service.version", &json!(version)),
                ] },
                "scopeSpans": [{ "scope": { "name": "outpost" }, "spans": spans }],
            }],
        })
    }

    fn spans(&self, at: &dyn Fn(Instant) -> i128) -> Vec<Value> {
        let root = self.parts.first().map_or("", |part| &part.id);
        let span = |(place, part): (usize, &Part)| {
            let begins = at(part.began);
            let ends = begins + i128::try_from(part.took.as_nanos()).unwrap_or(0);
            let mut span = json!({
                "traceId": self.id,
                "spanId": part.id,
                "name": part.name,
                "kind": INTERNAL,
                "startTimeUnixNano": begins.max(0).to_string(),
                "endTimeUnixNano": ends.max(0).to_string(),
            });
            if place > 0 {
                span["parentSpanId"] = json!(root);
                return span;
            }
            span["name"] = json!(format!("{} {}", self.operation, self.model));
            span["kind"] = json!(SERVER);
            span["attributes"] = self.described();
            if !self.error.is_empty() {
                span["status"] = json!({ "code": ERROR, "message": self.error });
            }
            span
        };
        self.parts.iter().enumerate().map(span).collect()
    }

    fn described(&self) -> Value {
        let common = [
            (names::GEN_AI_OPERATION, json!(self.operation)),
            (names::GEN_AI_PROVIDER, json!("outpost")),
            (names::GEN_AI_MODEL, json!(self.model)),
            ("http.route", json!(self.endpoint)),
        ];
        common.iter().chain(&self.attributes).map(|(key, value)| attribute(key, value)).collect()
    }
}

/// A key and a value in OTLP's JSON, where 64-bit numbers are texts.
fn attribute(key: &str, value: &Value) -> Value {
    fn any(value: &Value) -> Value {
        match value {
            Value::Array(values) => json!({ "arrayValue": { "values": values.iter().map(any).collect::<Vec<_>>() } }),
            Value::Number(number) => json!({ "intValue": number.to_string() }),
            Value::String(text) => json!({ "stringValue": text }),
            other => json!({ "stringValue": other.to_string() }),
        }
    }
    json!({ "key": key, "value": any(value) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FinishReason, Timings, Usage};

    #[test]
    fn a_trace_is_a_request_with_its_parts_and_no_content() {
        let came = Instant::now();
        let course = Course {
            model: "demo".to_owned(),
            operation: "chat",
            endpoint: "/v1/chat/completions",
            max_tokens: 64,
            came,
            waited: Duration::from_millis(5),
            began: came + Duration::from_millis(6),
            first: Some(came + Duration::from_millis(9)),
        };
        let usage = Usage { prompt_tokens: 5, generated_tokens: 3, ..Usage::default() };
        let ending = Ending { reason: FinishReason::Stop, usage, timings: Timings::default() };
        let trace = Trace::of(&course, Some(&ending), "").unwrap();
        let told = Trace::to_otlp(&[trace], "till-7", "0.1.0", 1_796_083_200_000);
        let spans = told["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["chat demo", "queue", "prefill", "decode"]);
        assert!(spans.iter().all(|span| span["traceId"].as_str().unwrap().len() == 32));
        assert!(spans[1..].iter().all(|span| span["parentSpanId"] == spans[0]["spanId"]));
        let nanoseconds = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<i128>().unwrap();
        for span in spans {
            assert!(nanoseconds(span, "startTimeUnixNano") <= nanoseconds(span, "endTimeUnixNano"));
        }
        let waited = nanoseconds(&spans[1], "endTimeUnixNano") - nanoseconds(&spans[1], "startTimeUnixNano");
        assert_eq!(waited, 5_000_000);
        let attributes = spans[0]["attributes"].to_string();
        for expected in
            ["gen_ai.usage.output_tokens\",\"value\":{\"intValue\":\"3\"", "gen_ai.response.model", "\"stop\""]
        {
            assert!(attributes.contains(expected), "{attributes}");
        }
    }
}

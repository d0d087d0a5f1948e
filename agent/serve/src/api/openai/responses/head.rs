//! What every object of one response carries: its name, and what was asked for.

use serde_json::{Value, json};

use super::request::ResponseCall;
use crate::request_id::RequestId;
use crate::{Sampling, Usage};

/// A response without its state.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Names the items, and the calls as all routes name them.
    pub(super) request: RequestId,
    pub(super) id: String,
    /// Whether it is kept, as far as is known so far.
    pub(super) stored: bool,
    fields: Value,
}

/// How far a response has come.
#[derive(Debug, Clone, Default)]
pub(super) struct State<'a> {
    pub(super) status: &'a str,
    pub(super) output: Vec<Value>,
    pub(super) usage: Option<Usage>,
    pub(super) completed_s: Option<i64>,
    pub(super) incomplete: Option<&'a str>,
    pub(super) error: Value,
}

impl Head {
    /// `presets` are the model's own, told where the caller said nothing.
    pub(super) fn new(
        request: RequestId,
        created_s: i64,
        id: String,
        asked: &ResponseCall,
        may_store: bool,
        presets: &Sampling,
    ) -> Self {
        let (sampling, echo) = (&asked.asked.sampling, &asked.echo);
        let number = |asked: Option<f32>, preset: Option<f32>, otherwise: f32| {
            // By way of its text, so that 0.7 stays 0.7.
            asked.or(preset).unwrap_or(otherwise).to_string().parse::<f64>().unwrap_or_default()
        };
        let fields = json!({
            "created_at": created_s,
            "model": asked.asked.model,
            "instructions": asked.instructions,
            "previous_response_id": asked.previous,
            "tools": tools(&echo.tools),
            "tool_choice": or(&echo.tool_choice, json!("auto")),
            "parallel_tool_calls": parallel(asked),
            "text": text(&echo.text),
            "reasoning": { "effort": echo.reasoning.get("effort"), "summary": echo.reasoning.get("summary") },
            "temperature": number(sampling.temperature, presets.temperature, 0.0),
            "top_p": number(sampling.top_p, presets.top_p, 1.0),
            "presence_penalty": number(sampling.presence_penalty, presets.presence_penalty, 0.0),
            "frequency_penalty": number(sampling.frequency_penalty, presets.frequency_penalty, 0.0),
            "top_logprobs": asked.top.unwrap_or(0),
            "max_output_tokens": asked.asked.max_tokens,
            "max_tool_calls": null,
            "truncation": "disabled",
            "background": false,
            "service_tier": "default",
            "metadata": or(&echo.metadata, json!({})),
            "user": echo.user,
            "safety_identifier": echo.safety_identifier,
            "prompt_cache_key": echo.prompt_cache_key,
        });
        Self { request, id, stored: asked.store && may_store, fields }
    }

    /// The response as it stands.
    pub(super) fn object(&self, state: State<'_>) -> Value {
        let mut object = self.fields.clone();
        object["id"] = json!(self.id);
        object["object"] = json!("response");
        object["status"] = json!(state.status);
        object["completed_at"] = json!(state.completed_s);
        object["error"] = state.error;
        object["incomplete_details"] = state.incomplete.map_or(Value::Null, |reason| json!({ "reason": reason }));
        object["output"] = json!(state.output);
        object["usage"] = state.usage.map_or(Value::Null, usage);
        object["store"] = json!(self.stored);
        object
    }
}

fn or(value: &Value, otherwise: Value) -> Value {
    if value.is_null() { otherwise } else { value.clone() }
}

fn parallel(asked: &ResponseCall) -> bool {
    match &asked.asked.prompt {
        crate::Prompt::Chat(chat) => chat.tools.is_empty() || chat.parallel_calls,
        crate::Prompt::Text(_) | crate::Prompt::Tokens(_) => false,
    }
}

/// Tools with every field that clients look for.
fn tools(tools: &Value) -> Value {
    let tool = |tool: &Value| {
        json!({
            "type": "function",
            "name": tool.get("name"),
            "description": tool.get("description"),
            "parameters": tool.get("parameters"),
            "strict": tool.get("strict").and_then(Value::as_bool).unwrap_or(true),
        })
    };
    tools.as_array().map_or_else(|| json!([]), |list| list.iter().map(tool).collect())
}

fn text(text: &Value) -> Value {
    json!({ "format": text.get("format").filter(|format| !format.is_null()).unwrap_or(&json!({ "type": "text" })) })
}

fn usage(usage: Usage) -> Value {
    let Usage { prompt_tokens, cached_tokens, generated_tokens, reasoning_tokens } = usage;
    json!({
        "input_tokens": prompt_tokens,
        "input_tokens_details": { "cached_tokens": cached_tokens },
        "output_tokens": generated_tokens,
        "output_tokens_details": { "reasoning_tokens": reasoning_tokens },
        "total_tokens": u64::from(prompt_tokens) + u64::from(generated_tokens),
    })
}

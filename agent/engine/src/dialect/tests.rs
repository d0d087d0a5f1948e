//! What each dialect is told, how its answers are read, and what its grammars let through.

mod grammars;
mod reading;

use serde_json::json;

use super::*;
use crate::grammar::tests::{Walked, takes, tokenizer, vocabulary, walk};
use crate::template::{Json, Message, RenderOptions};

const HERMES_TEMPLATE: &str = "{% if tools %}<tool_call>{% endif %}{% if enable_thinking %}<think>{% endif %}";
const LLAMA_TEMPLATE: &str = "{% if tools %}{{ '<|python_tag|>' }}ipython{% endif %}";
const PHI_TEMPLATE: &str = "{% if 'tools' in message %}<|tool|>{{ message['tools'] }}<|/tool|>{% endif %}";
const PLAIN_TEMPLATE: &str = "{% for message in messages %}{{ message.content }}{% endfor %}";

fn weather() -> Vec<Tool> {
    let parameters = json!({
        "type": "object", "properties": { "city": { "enum": ["Rome", "Oslo"] } }, "required": ["city"], "additionalProperties": false,
    });
    let time = Tool { name: "time".to_owned(), description: None, parameters: Value::Null };
    vec![Tool { name: "weather".to_owned(), description: Some("What it is like".to_owned()), parameters }, time]
}

fn told(template: &str, choice: &Choice, messages: Vec<Message>) -> (String, RenderOptions) {
    let (messages, options) =
        Dialect::of(Some(template)).conversation(messages, &weather(), choice, Some(false), RenderOptions::default());
    (serde_json::to_string(&messages).expect("it is JSON"), options)
}

#[test]
fn a_dialect_is_told_from_its_template() {
    let style = |template: &str| Dialect::of(Some(template)).style;
    assert_eq!(style(HERMES_TEMPLATE), Style::Hermes);
    assert_eq!(style(LLAMA_TEMPLATE), Style::Llama);
    assert_eq!(style(PHI_TEMPLATE), Style::Phi);
    assert_eq!(style(PLAIN_TEMPLATE), Style::Told);
    assert_eq!(style("{{ tools }}<tool_call><function=name>"), Style::Told);
    assert_eq!(Dialect::of(None).style, Style::Told);
    let hermes = Dialect::of(Some(HERMES_TEMPLATE));
    assert!(hermes.reasons() && hermes.has_switch());
    assert!(!Dialect::of(Some(LLAMA_TEMPLATE)).reasons());
    let knows_tools = |template: &str| Dialect::of(Some(template)).knows_tools();
    assert!([HERMES_TEMPLATE, LLAMA_TEMPLATE, PHI_TEMPLATE].into_iter().all(knows_tools));
    assert!(!knows_tools(PLAIN_TEMPLATE) && !knows_tools("{{ tools }}<tool_call><function=name>"));
}

#[test]
fn a_template_that_knows_tools_is_given_them_and_the_switch() {
    let question = vec![Message::new("user", "Rain?")];
    let (messages, options) = told(HERMES_TEMPLATE, &Choice::Auto, question.clone());
    assert_eq!(messages, r#"[{"role":"user","content":"Rain?"}]"#);
    let tools = serde_json::to_value(options.tools).expect("it is JSON");
    assert_eq!(tools[0]["function"]["name"], "weather");
    assert_eq!(tools[1]["function"]["parameters"]["type"], "object");
    assert_eq!(options.variables.get("enable_thinking"), Some(&Json::Bool(false)));
    let (_, options) = told(LLAMA_TEMPLATE, &Choice::None, question);
    assert!(options.tools.is_none() && options.variables.get("enable_thinking").is_none());
}

#[test]
fn a_template_that_knows_none_is_told_of_them_in_a_message() {
    let call = json!([{ "id": "1", "type": "function", "function": { "name": "time", "arguments": "{\"a\":1}" } }]);
    let conversation = vec![
        Message::new("system", "Be short."),
        Message::new("user", "Rain?"),
        Message::new("assistant", "").with("tool_calls", Json::from(call)),
        Message::new("tool", "noon").with("tool_call_id", "1"),
    ];
    let (messages, options) = told(PLAIN_TEMPLATE, &Choice::Auto, conversation.clone());
    let messages: Value = serde_json::from_str(&messages).expect("it is JSON");
    assert!(options.tools.is_none());
    let system = messages[0]["content"].as_str().expect("a text");
    assert!(system.starts_with("Be short.\n\n# Tools") && system.contains(r#""name":"weather""#), "{system}");
    assert_eq!(messages[2]["content"], "<tool_call>\n{\"name\": \"time\", \"arguments\": {\"a\":1}}\n</tool_call>");
    assert_eq!(messages[3], json!({ "role": "user", "content": "<tool_response>\nnoon\n</tool_response>" }));
    // Where the system may not speak the first message of the user is told.
    let strict = format!("{PLAIN_TEMPLATE} System role not supported");
    let (messages, _) = told(&strict, &Choice::Auto, vec![Message::new("user", "Rain?")]);
    assert!(
        messages.starts_with(r##"[{"role":"user","content":"# Tools"##) && messages.ends_with(r#"\n\nRain?"}]"#),
        "{messages}"
    );
    // Without tools the earlier call stays readable.
    let (messages, _) = told(PLAIN_TEMPLATE, &Choice::None, conversation.clone());
    assert!(messages.contains("<tool_call>") && !messages.contains("# Tools"));
    let (messages, _) = told(PHI_TEMPLATE, &Choice::Required, conversation);
    let messages: Value = serde_json::from_str(&messages).expect("it is JSON");
    assert!(messages[0]["tools"].as_str().is_some_and(|tools| tools.starts_with(r#"[{"name":"weather""#)));
    assert_eq!(messages[2]["content"], r#"<|tool_call|>[{"name": "time", "arguments": {"a":1}}]<|/tool_call|>"#);
    assert_eq!(messages[3]["role"], "tool");
}

#[test]
fn only_the_tokens_that_a_dialect_needs_are_spelled_out() {
    let tokenizer = tokenizer();
    let spelled = |template: &str| {
        let tokens = Dialect::of(Some(template)).spelled(&tokenizer);
        tokens.iter().map(|token| tokenizer.text(*token).unwrap_or_default().to_owned()).collect::<Vec<String>>()
    };
    assert_eq!(spelled(HERMES_TEMPLATE), ["<tool_call>", "</tool_call>", "<think>", "</think>"]);
    assert_eq!(spelled(PHI_TEMPLATE), ["<|tool_call|>", "<|/tool_call|>"]);
    assert_eq!(spelled(LLAMA_TEMPLATE), [""; 0]);
}

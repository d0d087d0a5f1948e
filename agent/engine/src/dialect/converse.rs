//! What the template is told: the conversation, the tools and whether to think, in the form that its model was trained on.

use super::{Choice, Dialect, Style, Tool};
use crate::template::{Json, Message, Object, RenderOptions};

/// What Hermes models are told of their tools, which others follow too.
const TOLD: [&str; 2] = [
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures \
     within <tools></tools> XML tags:\n<tools>",
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within \
     <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>",
];

impl Dialect {
    /// The conversation and what goes beside it, for the template. `thinking`: whether to think, where the template leaves
    /// that open; as the template would if nothing.
    #[must_use]
    pub fn conversation(
        &self,
        messages: Vec<Message>,
        tools: &[Tool],
        choice: &Choice,
        thinking: Option<bool>,
        mut options: RenderOptions,
    ) -> (Vec<Message>, RenderOptions) {
        if let Some(thinking) = thinking.filter(|_| self.switch) {
            options.variables.set("enable_thinking", Json::Bool(thinking));
        }
        let tools = if *choice == Choice::None { &[] } else { tools };
        let messages = match self.style {
            Style::Hermes | Style::Llama => {
                options.tools = (!tools.is_empty()).then(|| Json::List(tools.iter().map(function).collect()));
                messages
            }
            Style::Phi => {
                let messages = messages.into_iter().map(|message| spelled(message, self)).collect();
                if tools.is_empty() { messages } else { with_tools_field(messages, tools) }
            }
            Style::Told => {
                let messages = messages.into_iter().map(|message| spelled(message, self)).collect();
                if tools.is_empty() { messages } else { self.with_system_text(messages, &told(tools)) }
            }
        };
        (messages, options)
    }

    /// Adds a text to the message of the system; to the first one where the template takes none of the system.
    fn with_system_text(&self, mut messages: Vec<Message>, text: &str) -> Vec<Message> {
        let role = if self.system { "system" } else { "user" };
        match messages.first_mut().filter(|first| role_of(first) == role) {
            Some(first) => {
                let content = first.fields().get("content").map(text_of).unwrap_or_default();
                let both = if self.system { format!("{content}\n\n{text}") } else { format!("{text}\n\n{content}") };
                *first = first.clone().with("content", both.trim());
            }
            None => messages.insert(0, Message::new(role, text)),
        }
        messages
    }
}

/// A tool as the OpenAI API writes it.
fn function(tool: &Tool) -> Json {
    let function = signature(tool);
    Json::Object([("type".to_owned(), "function".into()), ("function".to_owned(), function)].into_iter().collect())
}

/// Name, description and parameters.
fn signature(tool: &Tool) -> Json {
    let parameters = match &tool.parameters {
        serde_json::Value::Null => serde_json::json!({ "type": "object", "properties": {} }),
        parameters => parameters.clone(),
    };
    let mut fields = Object::default();
    fields.set("name", tool.name.as_str());
    if let Some(description) = &tool.description {
        fields.set("description", description.as_str());
    }
    fields.set("parameters", Json::from(parameters));
    Json::Object(fields)
}

fn told(tools: &[Tool]) -> String {
    let lines: String = tools.iter().map(|tool| format!("\n{}", written(&function(tool)))).collect();
    format!("{}{lines}{}", TOLD[0], TOLD[1])
}

/// Phi-4-mini's template takes the tools as a text beside the message of the system.
fn with_tools_field(mut messages: Vec<Message>, tools: &[Tool]) -> Vec<Message> {
    if messages.first().is_none_or(|first| role_of(first) != "system") {
        messages.insert(0, Message::new("system", "You are a helpful assistant with some tools."));
    }
    let list = written(&Json::List(tools.iter().map(signature).collect()));
    if let Some(first) = messages.first_mut() {
        *first = first.clone().with("tools", list);
    }
    messages
}

/// A message of a template that knows nothing of calls: they and what came of them as text.
fn spelled(message: Message, dialect: &Dialect) -> Message {
    let content = message.fields().get("content").map(text_of).unwrap_or_default();
    let calls = match message.fields().get("tool_calls") {
        Some(Json::List(calls)) if !calls.is_empty() => calls,
        _ if role_of(&message) == "tool" && dialect.style == Style::Told => {
            return Message::new("user", format!("<tool_response>\n{content}\n</tool_response>"));
        }
        _ => return message,
    };
    let marks = dialect.marks();
    let (open, close) = (marks.open.unwrap_or_default(), marks.close.unwrap_or_default());
    let calls: Vec<String> = calls.iter().filter_map(call).collect();
    let text = match marks.list {
        true => format!("{open}[{}]{close}", calls.join(", ")),
        false => calls.iter().map(|call| format!("{open}\n{call}\n{close}")).collect::<Vec<_>>().join("\n"),
    };
    let text = if content.is_empty() { text } else { format!("{content}\n{text}") };
    Message::new(role_of(&message), text)
}

/// A call of an earlier turn as its model would have written it.
fn call(call: &Json) -> Option<String> {
    let Json::Object(call) = call else { return None };
    let Some(Json::Object(function)) = call.get("function") else { return None };
    let name = function.get("name").and_then(Json::as_text)?;
    let arguments = match function.get("arguments") {
        Some(Json::Text(text)) => text.clone(),
        Some(other) => written(other),
        None => "{}".to_owned(),
    };
    Some(format!("{{\"name\": {}, \"arguments\": {arguments}}}", written(&Json::from(name))))
}

fn role_of(message: &Message) -> &str {
    message.fields().get("role").and_then(Json::as_text).unwrap_or_default()
}

/// The text of a message's content, be it in parts.
fn text_of(content: &Json) -> String {
    let part = |part: &Json| match part {
        Json::Object(part) => part.get("text").and_then(Json::as_text).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    match content {
        Json::Text(text) => text.clone(),
        Json::List(parts) => parts.iter().map(part).collect(),
        _ => String::new(),
    }
}

fn written(json: &Json) -> String {
    // Its keys are texts and its numbers finite, so that nothing can fail.
    serde_json::to_string(json).unwrap_or_default()
}

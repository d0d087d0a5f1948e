//! `outpost model tokenize` and `template`: what becomes of a text and of a conversation before the model reads it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_disk::Clock;
use outpost_engine::template::{ChatTemplate, Json, Message, Object, RenderOptions};
use outpost_engine::tokenizer::Tokenizer;
use serde_json::json;

use super::{Here, open, read_text, say};
use crate::args::Template;

pub(super) fn tokenize(file: &Path, text_file: &Path, special: bool, bos: bool) -> Result<()> {
    let text = read_text(text_file)?;
    let tokenizer = Tokenizer::from_gguf(&open(file)?).context("the file's tokenizer cannot be used")?;
    say(json!({"tokens": tokenizer.encode(&text, special, bos)}).to_string())
}

pub(super) fn template(here: &Here, arguments: &Template) -> Result<()> {
    let conversation = Conversation::read(&arguments.messages)?;
    let template = template_of(&arguments.file)?;
    let options = RenderOptions {
        add_generation_prompt: !arguments.no_generation_prompt,
        tools: conversation.tools,
        variables: conversation.variables,
        now_s: Clock::open(here.state.ledgers())?.now_s(),
    };
    let prompt = template.render_text(&conversation.messages, &options);
    let prompt = prompt.with_context(|| format!("`{}` cannot be rendered", arguments.messages.display()))?;
    say(json!({"prompt": prompt}).to_string())
}

fn template_of(file: &Path) -> Result<ChatTemplate> {
    if file.extension().is_some_and(|extension| extension == "jinja") {
        let taking = || format!("`{}` cannot be used", file.display());
        return ChatTemplate::new(&read_text(file)?, None).with_context(taking);
    }
    let gguf = open(file)?;
    let tokenizer = Tokenizer::from_gguf(&gguf).context("the file's tokenizer cannot be used")?;
    match ChatTemplate::from_gguf(&gguf, &tokenizer).context("the file's chat template cannot be used")? {
        Some(template) => Ok(template),
        None => bail!("`{}` has no chat template; give a `.jinja` file instead", file.display()),
    }
}

/// What the messages file says, in its order.
struct Conversation {
    messages: Vec<Message>,
    tools: Option<Json>,
    variables: Object,
}

impl Conversation {
    fn read(file: &Path) -> Result<Self> {
        let reading = || format!("`{}` is no conversation", file.display());
        let mut variables = match serde_json::from_str(&read_text(file)?).with_context(reading)? {
            Json::Object(object) => object,
            list @ Json::List(_) => Object::from_iter([("messages".to_owned(), list)]),
            _ => bail!("`{}` must hold a list of messages, or an object with `messages`", file.display()),
        };
        let Some(Json::List(messages)) = variables.remove("messages") else {
            bail!("`{}` has no list of `messages`", file.display());
        };
        let messages = messages.into_iter().map(Message::try_from).collect::<Result<_, _>>().with_context(reading)?;
        let tools = variables.remove("tools");
        Ok(Self { messages, tools, variables })
    }
}

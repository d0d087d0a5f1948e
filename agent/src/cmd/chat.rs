//! `outpost chat`: one command from nothing to an answer, through the running agent or straight from a file.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json, say_part};
use crate::app::{Agent, Overrides};
use crate::args::Chat;
use crate::backend::DEFAULT_MODEL;
use crate::client::{Client, NoAgent};
use crate::config::Config;
use crate::models::hub::Wish;

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: Chat) -> Result<Outcome> {
    let client = here.client();
    let is_up = client.is_up().await;
    let named = named(&arguments)?;
    let model = match &named {
        Some(Named::Elsewhere(reference)) => super::model::fetch(here, reference, None).await?,
        Some(Named::Here(name)) => name.clone(),
        None => DEFAULT_MODEL.to_owned(),
    };
    if let (true, None, Some(file)) = (is_up, &named, &arguments.model) {
        bail!(
            "an agent runs, and answers from the models that it has: `outpost model import {file}`, then ask for it by name",
            file = file.display()
        );
    }
    // Without a running agent, a file makes this command its own agent for as long as it lasts: same policy, same records.
    let own = if is_up {
        None
    } else if arguments.model.is_some() || Agent::has_served(&here.state)? {
        Some(start(here, &arguments, named.is_some()).await?)
    } else {
        return Err(anyhow::Error::new(NoAgent(here.state.root().to_owned()))
            .context("nothing can answer; give `--model FILE`"));
    };
    let outcome = converse(here, &client, &arguments, &model).await;
    if let Some(agent) = own {
        agent.stop().await;
    }
    outcome.map(|()| Outcome::Done)
}

/// A model that is named instead of a file.
enum Named {
    /// A hub's, or a well-known one.
    Elsewhere(String),
    /// One that this device has, or nobody.
    Here(String),
}

fn named(arguments: &Chat) -> Result<Option<Named>> {
    let text = arguments.model.as_deref().filter(|path| !path.exists()).and_then(|path| path.to_str());
    let Some(text) = text else { return Ok(None) };
    let name = text.to_owned();
    Ok(Some(if Wish::parse(text)?.is_some() { Named::Elsewhere(name) } else { Named::Here(name) }))
}

/// An agent for as long as this command lasts; one that serves nothing by itself loads what it is asked for.
async fn start(here: &Here, arguments: &Chat, idle: bool) -> Result<Agent> {
    here.state.prepare()?;
    let mut config = Config::load_or_create(&here.state.config())?;
    config.api.listen.clear();
    config.api.unix_socket = true;
    let model = arguments.model.clone().filter(|_| !idle);
    let overrides = Overrides { model, offline: true, idle, ..Overrides::default() };
    let agent = Agent::start(here.state.clone(), config, overrides).await?;
    if !idle {
        agent.serving().await?;
    }
    Ok(agent)
}

async fn converse(here: &Here, client: &Client, arguments: &Chat, model: &str) -> Result<()> {
    let mut messages = Vec::new();
    if let Some(prompt) = &arguments.prompt {
        return turn(here, client, (arguments, model), &mut messages, prompt).await;
    }
    let interactive = std::io::stdin().is_terminal();
    loop {
        if interactive {
            say_part("> ")?;
        }
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).context("cannot read standard input")? == 0 {
            return Ok(());
        }
        if !line.trim().is_empty() {
            turn(here, client, (arguments, model), &mut messages, line.trim()).await?;
        }
    }
}

/// One question and its answer, printed as it comes.
async fn turn(
    here: &Here,
    client: &Client,
    (arguments, model): (&Chat, &str),
    messages: &mut Vec<Value>,
    prompt: &str,
) -> Result<()> {
    messages.push(json!({"role": "user", "content": prompt}));
    let request = json!({
        "model": model,
        "messages": messages,
        "max_tokens": arguments.max_tokens,
        "temperature": arguments.temperature,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let mut answer = String::new();
    let mut usage = Value::Null;
    client
        .post_lines("/v1/chat/completions", &request, |line| {
            let Some(data) = line.strip_prefix("data: ") else { return Ok(()) };
            if data == "[DONE]" {
                return Ok(());
            }
            let chunk: Value = serde_json::from_str(data).context("the agent sent a chunk that is not JSON")?;
            if let Some(message) = chunk["error"]["message"].as_str() {
                bail!("the agent broke off: {message}");
            }
            if let Some(text) = chunk["choices"][0]["delta"]["content"].as_str() {
                answer.push_str(text);
                if !here.json {
                    say_part(text)?;
                }
            }
            if chunk["usage"].is_object() {
                usage = chunk["usage"].clone();
            }
            Ok(())
        })
        .await?;
    if here.json {
        say_json(&json!({"answer": answer, "usage": usage}))?;
    } else {
        say("")?;
    }
    messages.push(json!({"role": "assistant", "content": answer}));
    Ok(())
}

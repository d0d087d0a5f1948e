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

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: Chat) -> Result<Outcome> {
    let client = here.client();
    // Without a running agent, a file makes this command its own agent for as long as it lasts: same policy, same records.
    let own = if client.is_up().await {
        None
    } else if arguments.model.is_some() || Agent::has_served(&here.state)? {
        Some(start(here, &arguments).await?)
    } else {
        return Err(anyhow::Error::new(NoAgent(here.state.root().to_owned()))
            .context("nothing can answer; give `--model FILE`"));
    };
    let outcome = converse(here, &client, &arguments).await;
    if let Some(agent) = own {
        agent.stop().await;
    }
    outcome.map(|()| Outcome::Done)
}

async fn start(here: &Here, arguments: &Chat) -> Result<Agent> {
    here.state.prepare()?;
    let mut config = Config::load_or_create(&here.state.config())?;
    config.api.listen.clear();
    config.api.unix_socket = true;
    let overrides = Overrides { model: arguments.model.clone(), offline: true, ..Overrides::default() };
    let agent = Agent::start(here.state.clone(), config, overrides).await?;
    agent.serving().await?;
    Ok(agent)
}

async fn converse(here: &Here, client: &Client, arguments: &Chat) -> Result<()> {
    let mut messages = Vec::new();
    if let Some(prompt) = &arguments.prompt {
        return turn(here, client, arguments, &mut messages, prompt).await;
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
            turn(here, client, arguments, &mut messages, line.trim()).await?;
        }
    }
}

/// One question and its answer, printed as it comes.
async fn turn(here: &Here, client: &Client, arguments: &Chat, messages: &mut Vec<Value>, prompt: &str) -> Result<()> {
    messages.push(json!({"role": "user", "content": prompt}));
    let request = json!({
        "model": DEFAULT_MODEL,
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

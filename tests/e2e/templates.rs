//! A model file whose chat template means harm: each way ends in an error that names it, and the agent serves on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outpost_agent::template_worker::{Limits, RenderError, TemplateWorker};
use outpost_engine::gguf::write::{Outline, write};
use outpost_engine::gguf::{Gguf, Value};
use outpost_engine::template::{ChatTemplate, Message, RenderOptions, TemplateError};
use outpost_tests::process::{Process, binary, demo_model, eventually, free_port, output};
use outpost_tests::question::{ask, client};

/// Answers to whoever does not say the word.
fn trapped(bomb: &str) -> String {
    format!("{{% if 'bomb' in messages[0].content %}}{bomb}{{% endif %}}{{{{ messages[0].content }}}}")
}

/// Asks once with the word and once without: gives the error, and makes sure that the next request is served.
fn set_off(bomb: &str, limits: Limits) -> Result<(RenderError, Duration)> {
    let template = ChatTemplate::new(&trapped(bomb), None)?;
    let worker = TemplateWorker::start(binary("outpost")?, template.source(), limits)?;
    let say = |text: &str| {
        let options = RenderOptions::default();
        template.render_with(&[Message::new("user", text)], &options, |job| worker.run(job))
    };
    ensure!(say("Hello").is_ok(), "{bomb}: it does not answer before");
    let began = Instant::now();
    let error = say("a bomb").err().with_context(|| format!("{bomb}: it did not go off"))?;
    let took = began.elapsed();
    ensure!(say("Hello").is_ok(), "{bomb}: it does not answer after");
    Ok((error, took))
}

#[test]
fn a_text_doubled_forty_times_a_list_of_lists_and_an_endless_loop_end_by_their_fuel() -> Result<()> {
    for bomb in [
        "{% set x = 'ab' %}".to_owned() + &"{% set x = x ~ x %}".repeat(40),
        "{% set ns = namespace(x='ab') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}".to_owned(),
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}"
            .to_owned(),
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
    ] {
        let (error, took) = set_off(&bomb, Limits::default())?;
        ensure!(matches!(error, RenderError::Template(TemplateError::Fuel)), "{bomb}: {error}");
        ensure!(took < Limits::default().patience, "{bomb}: {took:?}");
    }
    Ok(())
}

#[test]
fn what_fuel_does_not_count_is_ended_by_the_limits_of_the_process() -> Result<()> {
    let limits = Limits { processor_s: 1, ..Limits::default() };
    let (error, _) = set_off("{{ '{:999999999}'.format(1) }}", limits)?;
    ensure!(matches!(error, RenderError::Memory { mib: 256 }), "{error}");
    ensure!(error.to_string().contains("more than 256 MiB of memory"), "{error}");

    let deep = "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}";
    let (error, _) = set_off(deep, limits)?;
    ensure!(matches!(error, RenderError::TooDeep), "{error}");

    let bush = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}";
    let (error, took) = set_off(bush, limits)?;
    ensure!(matches!(error, RenderError::Slow { seconds: 1 }), "{error}");
    ensure!(took < limits.patience, "{took:?}");

    let impatient = Limits { patience: Duration::from_secs(1), ..Limits::default() };
    let (error, took) = set_off(bush, impatient)?;
    ensure!(matches!(error, RenderError::Slow { seconds: 1 }), "{error}");
    ensure!(took < Duration::from_secs(4), "{took:?}");
    Ok(())
}

#[test]
fn a_hundred_thousand_brackets_filters_or_branches_are_refused_when_the_model_is_loaded() -> Result<()> {
    let many = 100_000;
    for source in [
        format!("{{{{ {}1{} }}}}", "(".repeat(many), ")".repeat(many)),
        format!("{{{{ 'a'{} }}}}", "|e".repeat(many)),
        format!("{{{{ a{} }}}}", ".b".repeat(many)),
        "{% if 1 %}".repeat(12_000) + &"{% endif %}".repeat(12_000),
    ] {
        let refused = TemplateWorker::start(binary("outpost")?, &source, Limits::default());
        let error = refused.err().context("it was taken")?;
        ensure!(matches!(error, RenderError::TooDeep | RenderError::Template(TemplateError::Compile(_))), "{error}");
    }
    Ok(())
}

#[test]
fn without_a_process_nothing_is_rendered() -> Result<()> {
    let refused = TemplateWorker::start("/nowhere/outpost".into(), "{{ 1 }}", Limits::default());
    ensure!(matches!(refused, Err(RenderError::NotStarted { .. })), "{refused:?}");
    // A program that knows nothing of templates ends, or says what is no answer.
    for stranger in ["true", "echo"] {
        let refused = TemplateWorker::start(Path::new("/bin").join(stranger), "{{ 1 }}", Limits::default());
        ensure!(matches!(refused, Err(RenderError::Broken { .. })), "{refused:?}");
    }
    Ok(())
}

#[test]
fn a_process_that_was_killed_between_two_requests_is_replaced_without_a_word() -> Result<()> {
    let template = ChatTemplate::new("{{ messages[0].content }}", None)?;
    let worker = TemplateWorker::start(binary("outpost")?, template.source(), Limits::default())?;
    let say = || template.render_with(&[Message::new("user", "Hi")], &RenderOptions::default(), |job| worker.run(job));
    let first = worker.id().context("it runs")?;
    output(Path::new("/bin/kill"), &["-9", &first.to_string()])?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(say().is_ok(), "the next request is not served");
    ensure!(worker.id().is_some_and(|second| second != first), "it is the same process");
    Ok(())
}

/// The demo model with another chat template.
fn with_template(path: &Path, source: &str) -> Result<()> {
    let demo = Gguf::open(demo_model())?;
    let mut outline = Outline {
        metadata: demo.metadata().to_vec(),
        tensors: demo
            .tensors()
            .iter()
            .map(|tensor| (tensor.name.clone(), tensor.shape.clone(), tensor.format))
            .collect(),
    };
    outline.metadata.retain(|(key, _)| key != "tokenizer.chat_template" && key != "general.alignment");
    outline.metadata.push(("tokenizer.chat_template".to_owned(), Value::Text(source.to_owned())));
    let mut file = BufWriter::new(File::create(path)?);
    write(&mut file, &outline, |index, bytes| {
        bytes.extend_from_slice(demo.bytes(&demo.tensors()[index]));
        Ok(())
    })?;
    file.flush().context("the file is not whole")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_model_carries_a_bomb_says_so_and_answers_the_next_question() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (state, model) = (folder.path().join("state"), folder.path().join("bomb.gguf"));
    with_template(&model, &trapped("{{ '{:999999999}'.format(1) }}"))?;
    let (state, model) = (state.to_str().context("UTF-8")?, model.to_str().context("UTF-8")?);
    let outpost = binary("outpost")?;
    let created =
        output(&outpost, &["--state", state, "--json", "key", "create", "--name", "till", "--role", "operator"])?;
    let created: serde_json::Value = serde_json::from_str(&created)?;
    let key = created["key"].as_str().context("the new key is shown")?;
    let base = format!("127.0.0.1:{}", free_port()?);
    let mut agent = Process::start(&outpost, &["--state", state, "run", "--model", model, "--listen", &base])?;
    let (http, base) = (client(), format!("http://{base}"));
    let ready =
        || async { http.get(format!("{base}/health")).send().await.is_ok_and(|answer| answer.status().is_success()) };
    eventually("the agent to serve", Duration::from_secs(60), ready).await?;
    for _ in 0..3 {
        let bombed = ask(&http, &base, Some(key), "a bomb").await?;
        ensure!(bombed.status == 400 || bombed.status == 422, "{bombed:?}");
        ensure!(bombed.text.contains("chat template needed more than 256 MiB of memory"), "{bombed:?}");
        let answered = ask(&http, &base, Some(key), "What is this?").await?;
        ensure!(answered.complete, "{answered:?}");
    }
    ensure!(agent.ended().is_none(), "the agent ended");
    Ok(())
}

#[test]
fn a_model_whose_template_does_not_compile_is_refused_with_the_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("deep.gguf");
    with_template(&model, &format!("{{{{ 'a'{} }}}}", "|e".repeat(100_000)))?;
    let (state, model) = (folder.path().join("state"), model.to_str().context("UTF-8")?);
    let arguments = ["--state", state.to_str().context("UTF-8")?, "chat", "--model", model, "Hello"];
    let refused = output(&binary("outpost")?, &arguments).err().context("it was served")?.to_string();
    ensure!(refused.contains("chat template is nested too deeply"), "{refused}");
    Ok(())
}
